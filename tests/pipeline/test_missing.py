"""A clone that has no activations and dictionaries makes the layers whose tables are missing, and no others."""

import re
import shutil

import pytest

from tests.pipeline.conftest import Project

PARAMS = "studies/smoke/params.yaml"
PAGE = "results/smoke/explorer.html"


@pytest.fixture
def own_clone(made, tmp_path) -> Project:
    """A clone of the finished project that keeps the explorer in git, as that of `full` is."""
    clone = Project(tmp_path / "clone")
    made.run("git", "clone", "--quiet", str(made.root), str(clone.root))
    shutil.copy(made.root / PAGE, clone.root / PAGE)
    rules = clone.root / ".gitignore"
    rules.write_text(f"{rules.read_text()}!/{PAGE}\n")
    return clone


def ran(output: str) -> list[str]:
    return re.findall(r"Running stage '(?:.*:)?([\w@-]+)'", output)


@pytest.mark.slow
def test_only_what_is_missing_is_made_and_with_the_same_bytes(made, own_clone):
    assert "0 of 3 layers to make" in own_clone.lens("missing")
    (own_clone.root / "results" / "smoke" / "tables" / "measures" / "layer_2.parquet").unlink()
    output = own_clone.lens("missing")
    assert "1 of 3 layers to make" in output and "layer 2 is made: commit" in output
    assert ran(output) == ["train@2", "analyse@2"]
    large = own_clone.root / "artifacts" / "smoke"
    assert [path.name for path in (large / "dictionaries").iterdir()] == ["layer_2"]
    assert not (large / "activations").exists()

    page = own_clone.root / PAGE  # as after a run that was killed before it had put the layer there
    page.write_text(re.sub(r'<script[^>]*data-layer="2">[^<]*</script>', "", page.read_text()))
    output = own_clone.lens("missing")
    assert f"layer 2: {PAGE} lacks it" in output and ran(output) == []
    for part in ("tables", "notebooks", "explorer.html", "claims.json"):
        assert own_clone.files(part) and own_clone.files(part) == made.files(part), part
    assert " 0 differ" in own_clone.lens("verify") and " 0 stages stale" in own_clone.lens("verify", "--stale")

    own_clone.edit(PARAMS, "steps: 60", "steps: 61")
    assert "3 of 3 layers to make" in own_clone.lens("missing", "--list")


@pytest.mark.slow
def test_large_files_that_are_here_stay(copy):
    (copy.root / "results" / "smoke" / "tables" / "measures" / "layer_2.parquet").unlink()
    assert ran(copy.lens("missing")) == ["analyse@2"]
    activations = copy.root / "artifacts" / "smoke" / "activations"
    assert {path.name for path in activations.iterdir()} == {"tokens", "layer_embedding", "layer_1", "layer_2"}
    assert " 0 differ, 0 outputs" in copy.lens("verify")
