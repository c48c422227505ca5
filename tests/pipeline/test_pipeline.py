"""What the pipeline makes, what makes it run again, and what does not."""

import json
import shutil
import sys
from pathlib import Path

import nbformat
import pytest

from lens import checkout

SMOKE = "studies/smoke/dvc.yaml"
PARAMS = "studies/smoke/params.yaml"
REPORT = ["claims", "explorer", "figures", "overview", "paper"]


def concerned(project, file: str) -> set[str]:
    """The stages that are directly changed by an edit of a file of parameters."""
    status = json.loads(project.run(sys.executable, "-m", "dvc", "status", "--json", SMOKE))
    return {
        name.split(":")[-1]
        for name, changes in status.items()
        for change in changes
        if isinstance(change, dict) and file in change.get("changed deps", {})
    }


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


def test_executed_notebooks_are_valid_and_name_no_machine(made):
    for content in made.files("notebooks").values():
        text = content.decode()
        assert str(made.root) not in text and str(Path.home()) + "/" not in text
        nbformat.validate(nbformat.reads(text, as_version=4))


def test_stages_made_again_without_git_and_without_a_pool_give_the_same_bytes(made, copy):
    """Only run times and hosts differ, and they are kept apart."""
    shutil.rmtree(copy.root / ".git")
    shutil.rmtree(copy.root / "artifacts" / "pool")
    copy.run(sys.executable, "-m", "dvc", "config", "--local", "--quiet", "core.no_scm", "true")
    stages = ["analyse@1", "explorer", "extract", "train@1"]  # the others: see the clone
    assert copy.repro("--force", "--single-item", *(f"{SMOKE}:{stage}" for stage in stages)) == stages
    for part in ("tables", "notebooks", "explorer.html"):
        assert copy.files(part) and copy.files(part) == made.files(part), part
    output = copy.lens("times")
    assert "02_train_layer_2" in output and "results/smoke/paper.pdf" in output and "not made yet" not in output


def test_a_new_layer_runs_only_that_layer(copy):
    copy.edit(PARAMS, "layers: [embedding, 1, 2]", "layers: [embedding, 1, 2, 3]")
    assert copy.repro(f"{SMOKE}:train") == ["extract", "train@3"]
    assert copy.repro("--dry") == sorted(["analyse@3", *REPORT])

    papermill = ["papermill", "notebooks/02_train.ipynb", "scratch/out.ipynb", "--no-progress-bar"]
    copy.run(
        sys.executable, "-m", *papermill, "-p", "study", "smoke", "-p", "layer", "0"
    )  # tried out, not in the study
    assert (copy.root / "scratch" / "02_train" / "dictionaries" / "layer_0" / "standard-seed1").is_dir()


def test_a_new_variant_trains_only_that_variant(copy):
    """Its recipe concerns no other stage; what is finished comes from the pool."""
    before = {path.name for path in (copy.root / "artifacts" / "pool").glob("trained-*")}
    copy.edit(PARAMS, "  recipes:\n", "  recipes:\n    mine: {l1_coef: 0.05}\n")
    copy.edit(PARAMS, "variants: [uniform_weights, ", "variants: [mine, uniform_weights, ")
    assert copy.repro(f"{SMOKE}:ablate@1") == ["ablate@1"]
    new = {path for path in (copy.root / "artifacts" / "pool").glob("trained-*") if path.name not in before}
    assert sorted(next(path.glob("mine-*")).name for path in new) == ["mine-seed0", "mine-seed1"]
    assert copy.repro("--dry") == REPORT


def test_edits_of_code_run_nothing_and_a_raised_version_runs_its_stage(clone):
    """Comments, moves, new figures, re-saved notebooks: nothing of it calls for training."""
    clone.edit("lens/training/train.py", "CHECKPOINT_EVERY = 100", "# said differently\nCHECKPOINT_EVERY = 101")
    clone.run("git", "mv", "lens/figures/style.py", "lens/figures/styles.py")
    clone.run("git", "mv", "lens/measure/bands.py", "lens/measure/belts.py")
    path = clone.root / "notebooks" / "02_train.ipynb"
    notebook = nbformat.read(path, as_version=4)
    for index, cell in enumerate(notebook.cells):
        cell.id = f"new{index}"
    nbformat.write(notebook, path)
    assert clone.repro("--allow-missing") == []
    clone.restore()
    clone.edit("lens/versions.yaml", "train: 1", "train: 2")
    training = {"ablate@1", "calibrate", "train@1", "train@2", "train@embedding"}
    assert concerned(clone, "lens/versions.yaml") == training
    clone.restore()
    clone.edit("paper/recipes.yaml", "temporallens: {}", "temporallens: {lr: 1.0}")
    assert concerned(clone, "paper/recipes.yaml") == training
    clone.restore()
    clone.edit("paper/recipes.yaml", "temporallens: {}", "another: {lr: 1.0}\ntemporallens: {}")
    assert clone.repro("--allow-missing") == []
    clone.restore()


@pytest.mark.parametrize(
    ("old", "new", "stages"),
    [("steps: 60", "steps: 61", {"train@embedding", "train@1", "train@2", "ablate@1"}),
     ("fidelity: 8", "fidelity: 9", {"ablate@1", "analyse@embedding", "analyse@1", "analyse@2"}),
     ("train: 96", "train: 97", {"extract"}),
     ("log_every: 5", "log_every: 5  # why", set()),
     ("variants: [uniform_weights, ", "variants: [", {"ablate@1"}),
     ("steps: [30]", "steps: [31]", {"calibrate"})],
)  # fmt: skip
def test_a_parameter_concerns_only_the_stages_that_read_it(clone, old, new, stages):
    """Directly: what follows from their outputs is decided by those outputs."""
    clone.edit(PARAMS, old, new)
    directly = concerned(clone, PARAMS)
    clone.restore()
    assert directly - set(REPORT) == stages


def test_a_clone_without_artifacts_rebuilds_the_report_from_committed_tables(made, clone):
    assert not (clone.root / "artifacts").exists()
    assert clone.repro("--allow-missing") == []
    cheap = ["claims", "figures", "overview", "paper"]
    assert clone.repro("--force", "--single-item", *(f"{SMOKE}:{stage}" for stage in cheap)) == cheap
    for part in ("claims.json", "figures", "notebooks", "paper.pdf"):
        assert clone.files(part) == made.files(part), part
    assert clone.lens("verify").endswith("outputs that git does not hold are not here\n")
    clone.restore()


def test_a_study_without_ablations_is_reported_like_any_other(copy):
    copy.edit(PARAMS, "ablations:\n  layers: [1]", "ablations:\n  layers: []")
    shutil.rmtree(copy.root / "results" / "smoke" / "tables" / "ablations")
    assert copy.repro(f"{SMOKE}:figures") == ["claims", "figures"]
    claims = json.loads((copy.root / "results" / "smoke" / "claims.json").read_text())["claims"]
    tuning = next(claim for claim in claims if claim["id"] == "C23")
    assert tuning["status"] == "not measured in this study" and tuning["reason"]


def test_verify_names_an_altered_file(copy):
    assert " 0 differ" in copy.lens("verify")
    claims = copy.root / "results" / "smoke" / "claims.json"
    claims.write_text(claims.read_text().replace("smoke", "smoked", 1))
    table = next(
        path for path in (copy.root / "results" / "smoke" / "tables" / "measures").rglob("*") if path.is_file()
    )
    table.write_bytes(table.read_bytes() + b" ")
    output = copy.lens("verify", rc=1)
    assert "results/smoke/claims.json" in output and table.name in output and "2 differ" in output
    assert "study smoke: " in copy.run(sys.executable, "-m", "lens", "verify", rc=1)


def test_every_study_is_a_pipeline_of_its_own():
    for params in checkout.root().glob("studies/*/params.yaml"):
        link, text, name = params.with_name("dvc.yaml"), params.read_text(), params.parent.name
        assert link.is_symlink() and link.resolve() == checkout.root() / "dvc.yaml"
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
