"""What the pipeline makes, what makes it run again, and what does not."""

import json
import sys
from pathlib import Path

import nbformat
import pytest

from lens import checkout

SMOKE = "studies/smoke/dvc.yaml"
PARAMS = "studies/smoke/params.yaml"
PIPELINES = {  # of studies that don't share dvc.yaml: whose stages they have
    **{study: study for study in ("rivals", "headroom", "dark_position", "leak")},
    "quick-headroom": "headroom", "quick-rivals": "rivals",
}  # fmt: skip
REPORT = ["claims", "explorer", "figures", "overview", "paper"]


def test_the_pipeline_makes_everything_it_promises(made):
    notebooks = {
        "00_overview", "01_extract", "02_train_layer_embedding", "02_train_layer_1", "02_train_layer_2",
        "03_ablations_layer_1", "04_analysis_layer_embedding", "04_analysis_layer_1", "04_analysis_layer_2",
        "05_figures", "07_calibration",
    }  # fmt: skip
    results = made.root / "results" / "smoke"
    assert {p.stem for p in (results / "notebooks").glob("*.ipynb")} == notebooks
    assert {p.stem for p in (results / "runs").glob("*.json")} == notebooks
    assert (results / "paper.pdf").read_bytes().startswith(b"%PDF")
    assert json.loads((results / "claims.json").read_text())["study"] == "smoke"
    assert list((results / "figures").iterdir()) and (results / "explorer.html").is_file()
    assert not list((made.root / "scratch").glob("*/*.ipynb"))
    changed = made.run("git", "diff", "--name-only", "HEAD~1").split()
    assert changed and all(name.startswith(("results/smoke/", "studies/smoke/dvc.lock")) for name in changed)
    assert made.repro() == []
    assert not made.run("git", "status", "--porcelain")
    times = made.lens("times")
    assert "02_train_layer_2" in times and "results/smoke/paper.pdf" in times and "not made yet" not in times


def test_executed_notebooks_are_valid_and_name_no_machine(made):
    for content in made.files("notebooks").values():
        text = content.decode()
        assert str(made.root) not in text and str(Path.home()) + "/" not in text
        nbformat.validate(nbformat.reads(text, as_version=4))


def test_edits_of_code_and_new_recipes_run_nothing(clone):
    """Comments, moves, new figures, re-saved notebooks: nothing of it calls for training. Nor does a clone have to
    hold what is too large for git."""
    clone.edit("lens/training/train.py", "CHECKPOINT_EVERY = 100", "# said differently\nCHECKPOINT_EVERY = 101")
    clone.run("git", "mv", "lens/figures/style.py", "lens/figures/styles.py")
    clone.run("git", "mv", "lens/measure/bands.py", "lens/measure/belts.py")
    path = clone.root / "notebooks" / "02_train.ipynb"
    notebook = nbformat.read(path, as_version=4)
    for index, cell in enumerate(notebook.cells):
        cell.id = f"new{index}"
    nbformat.write(notebook, path)
    clone.edit("paper/recipes.yaml", "temporallens: {}", "another: {lr: 1.0}\ntemporallens: {}")
    clone.edit(PARAMS, "log_every: 5", "log_every: 5  # why")
    assert not (clone.root / "artifacts").exists()
    assert clone.repro("--allow-missing") == []
    clone.restore()


TRAINED = {"train@embedding", "train@1", "train@2", "ablate@1"}
EDITS = {  # of a file: what to replace, by what, the parameter that DVC then names, and the stages that read it
    "lens/versions.yaml": [("train: 1", "train: 2", "train", {*TRAINED, "calibrate"})],
    "paper/recipes.yaml": [("temporallens: {}", "temporallens: {lr: 1}", "temporallens", {*TRAINED, "calibrate"})],
    PARAMS: [
        ("steps: 60", "steps: 61", "training", TRAINED),
        ("fidelity: 8", "fidelity: 9", "windows.fidelity", {"ablate@1", "analyse@embedding", "analyse@1", "analyse@2"}),
        ("train: 96", "train: 97", "windows.train", {"extract", *TRAINED}),
        ("variants: [uniform_weights, ", "variants: [", "ablations.variants", {"ablate@1"}),
        ("steps: [30]", "steps: [31]", "calibration", {"calibrate"}),
    ],
}  # fmt: skip


def test_a_parameter_concerns_only_the_stages_that_read_it(clone):
    """Directly: what follows from their outputs is decided by those outputs."""
    for file, edits in EDITS.items():
        for old, new, *_ in edits:
            clone.edit(file, old, new)
    status = json.loads(clone.run(sys.executable, "-m", "dvc", "status", "--json", SMOKE))
    clone.restore()
    found: dict[tuple[str, str], set[str]] = {}
    for stage, changes in status.items():
        for change in changes:
            for file, names in change.get("changed deps", {}).items() if isinstance(change, dict) else ():
                for name in names if isinstance(names, dict) else ():
                    found.setdefault((file, name), set()).add(stage.split(":")[-1])
    read = {(file, name): stages for file, edits in EDITS.items() for _, _, name, stages in edits}
    assert {key: stages - set(REPORT) for key, stages in found.items() if stages - set(REPORT)} == read


@pytest.mark.full
def test_a_clone_without_artifacts_rebuilds_the_report_from_committed_tables(made, clone):
    assert not (clone.root / "artifacts").exists()
    cheap = ["claims", "figures", "overview", "paper"]
    assert clone.repro("--force", "--single-item", *(f"{SMOKE}:{stage}" for stage in cheap)) == cheap
    for part in ("claims.json", "figures", "notebooks", "paper.pdf"):
        assert clone.files(part) == made.files(part), part
    assert clone.lens("verify").endswith("outputs that git does not hold are not here\n")
    clone.restore()


def test_every_study_is_a_pipeline_of_its_own():
    for params in checkout.root().glob("studies/*/params.yaml"):
        link, text, name = params.with_name("dvc.yaml"), params.read_text(), params.parent.name
        stages = checkout.root() / (f"studies/{PIPELINES[name]}/dvc.yaml" if name in PIPELINES else "dvc.yaml")
        assert link.resolve() == stages.resolve() and link.is_symlink() == (PIPELINES.get(name) != name)
        assert f"study: {name}\n" in text and f"params_file: studies/{name}/params.yaml" in text
        assert "root: ../..\n" in text


def test_a_lock_of_an_older_pipeline_is_carried_over_without_artifacts(clone):
    script, lock = (sys.executable, "scripts/carry_locks.py", "smoke"), clone.root / "studies" / "smoke" / "dvc.lock"
    new = lock.read_bytes()
    clone.edit(str(lock), "      lens/versions.yaml:\n        extract: 1\n", "")
    clone.edit(str(lock), "        windows.seed: 0\n", "        windows.seed: 0\n        windows.starts: random\n")
    clone.edit(str(lock), "          expansion: 1\n", "          expansion: 1\n          preset: paper\n")
    clone.edit(str(lock), "stages:\n", "stages:\n  digests:\n    cmd: gone\n")
    assert "smoke: carried over; 0 small results" in clone.run(*script)
    assert lock.read_bytes() == new
    clone.edit(PARAMS, "steps: 60", "steps: 61")
    refused = clone.run(*script, rc=1)
    assert "train@1: training.steps was 60, and is 61" in refused and "extract" not in refused
    assert lock.read_bytes() == new
    clone.restore()
