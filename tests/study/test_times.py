"""What is said when a study has ended."""

import dataclasses

from lens.study import times
from lens.study.hosts import write_record
from lens.study.params import Study


def test_a_study_with_a_notebook_of_its_own_ends_with_that_notebook(tmp_path, monkeypatch):
    study = dataclasses.replace(Study.load("quick-headroom"), out=tmp_path / "tried")
    monkeypatch.setattr(times.checkout, "root", lambda: tmp_path)
    for stage in ("01_extract", "09_headroom_layer_8"):
        path = study.results / "runs" / f"{stage}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_record(path, stage, {"study": "x", "out": "y"}, 61.0)
    said = times.text(study)
    assert said.count("1m01s") == 2 and "2m02s" in said
    assert said.splitlines()[-1] == "09_headroom_layer_8  not made yet"
