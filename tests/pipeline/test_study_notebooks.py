"""Notebooks of one layer, each on a small study and a layer that it doesn't name; 02 and 03 are like 04 in this."""

import sys
from pathlib import Path

import pytest
import yaml

from tests.pipeline.conftest import Project, copy_sources

LAYER = 0
SMALL = {"model": "random:gemma-3-tiny", "layers": [1], "seeds": [0, 1]}
NOTEBOOKS = {  # with the study whose parameters it takes, and the name of its tables
    "04_analysis": ("smoke", "measures", []),
    "08_rivals": ("rivals", "rivals", ["-p", "l0", "4"]),
    "09_headroom": ("headroom", "headroom", []),
    "10_dark_position": ("dark_position", "dark_position", []),
    "11_leak": ("leak", "leak", []),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    made = copy_sources(tmp_path_factory.mktemp("small") / "project")
    (made.root / "scratch").mkdir()
    return made


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_a_layer_that_the_study_does_not_name_is_tried_out_with_papermill(project, notebook):
    name, kind, more = NOTEBOOKS[notebook]
    if name != "smoke":
        shrink(project.root / "studies" / name / "params.yaml")
    out = f"scratch/{notebook}"
    command = ["papermill", f"notebooks/{notebook}.ipynb", f"{out}.ipynb", "--no-progress-bar"]
    project.run(sys.executable, "-m", *command, "-p", "study", name, "-p", "layer", str(LAYER), "-p", "out", out, *more)
    tables = [table.parent.name for table in (project.root / out / "tables").rglob(f"layer_{LAYER}.parquet")]
    assert tables == [kind]
    assert not (project.root / "results" / name).exists()


def shrink(path: Path) -> None:
    """Make a study small, and its first three variants all that is trained at one L0."""
    params = yaml.safe_load(path.read_text())
    params |= SMALL
    params["windows"] |= {"length": 70, "train": 24, "test": 44, "fidelity": 2}
    params["training"] |= {"steps": 8}
    params["training"]["overrides"] |= {"batch_windows": 8}
    if "equal_l0" in params:
        params["equal_l0"] = [{**params["equal_l0"][0], "l0": 4}]
    else:
        params["variants"] = params["variants"][:3]
    path.write_text(yaml.safe_dump(params))
