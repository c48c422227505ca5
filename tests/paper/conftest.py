import json

import pytest

from lens import checkout


@pytest.fixture
def record(tmp_path, monkeypatch):
    """Write what a benchmark would have recorded, in a checkout of its own that holds nothing else."""
    monkeypatch.setattr(checkout, "root", lambda: tmp_path)
    folder = tmp_path / "results" / "benchmarks"
    folder.mkdir(parents=True)
    return lambda name, found: (folder / f"{name}.json").write_text(json.dumps(found), encoding="utf-8")
