"""What the pipeline makes, what makes it run again, and what does not."""

import json
import shutil
import sys
from pathlib import Path

import nbformat
import pytest

from lens import checkout

SMOKE = "studies/smoke/dvc.yaml"

REPORT = ["claims", "explorer", "figures", "index", "overview", "pages", "paper"]


def test_the_pipeline_makes_everything_it_promises(made):
    notebooks = {
        "00_overview", "01_extract", "02_train_layer_embedding", "02_train_layer_1", "02_train_layer_2",
        "03_ablations_layer_1", "04_analysis_layer_embedding", "04_analysis_layer_1", "04_analysis_layer_2",
        "05_figures", "07_calibration",
    }  # fmt: skip
    results = made.root / "results" / "smoke"
    assert {p.stem for p in (results / "notebooks").glob("*.ipynb")} == notebooks
    assert {p.stem for p in (results / "runs").glob("*.json")} == notebooks
    assert {p.stem for p in (results / "html").glob("*.html")} == notebooks
    front = (results / "index.html").read_text()
    assert 'href="paper.pdf"' in front and 'href="explorer.html"' in front
    assert (results / "paper.pdf").read_bytes().startswith(b"%PDF")
    assert json.loads((results / "claims.json").read_text())["study"] == "smoke"
    assert list((results / "figures").iterdir())
    assert not list((made.root / "scratch").glob("*/*.ipynb"))


def test_nothing_is_written_outside_results_and_ignored_folders(made):
    changed = made.run("git", "diff", "--name-only", "HEAD~1").split()
    assert changed and all(name.startswith(("results/smoke/", "studies/smoke/dvc.lock")) for name in changed)
    assert not made.run("git", "status", "--porcelain")


def test_a_second_run_does_nothing(made):
    assert made.repro() == []


def test_executed_notebooks_are_valid_and_name_no_machine(made):
    for name, content in made.files("notebooks", "html").items():
        text = content.decode()
        assert str(made.root) not in text and str(Path.home()) + "/" not in text
        if name.endswith(".ipynb"):
            nbformat.validate(nbformat.reads(text, as_version=4))


def test_pages_need_no_network_and_run_no_script(made):
    for text in made.files("html").values():
        assert b"<script" not in text and b'src="http' not in text and b'href="http' not in text


def test_two_runs_give_the_same_bytes(made, archive):
    """In two places, with and without git; only run times and hosts differ, and they are kept apart."""
    assert not (archive.root / ".git").exists()
    for part in ("tables", "claims.json", "figures", "notebooks", "html", "digests", "explorer.html", "index.html"):
        assert archive.files(part) and archive.files(part) == made.files(part), part


def test_an_archive_without_git_is_not_run_again_either(archive):
    output = archive.run("make", "study", "STUDY=smoke")
    assert "Running stage" not in output
    assert "results/smoke/paper.pdf" in output and "results/smoke/html/00_overview.html" in output


def test_a_new_layer_runs_only_that_layer(copy):
    copy.edit("studies/smoke/params.yaml", "layers: [embedding, 1, 2]", "layers: [embedding, 1, 2, 3]")
    assert copy.repro(f"{SMOKE}:train") == ["extract", "train@3"]
    assert copy.repro("--dry") == sorted(["analyse@3", *REPORT])


def test_comments_and_saved_notebooks_run_nothing_but_constants_do(copy):
    copy.edit("lens/sae/train.py", "CHECKPOINT_EVERY = 100", "# said differently\n\nCHECKPOINT_EVERY   =  100")
    path = copy.root / "notebooks" / "02_train.ipynb"
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.id = f"new{notebook.cells.index(cell)}"
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [nbformat.v4.new_output("stream", text="left over")], 5
    nbformat.write(notebook, path)
    assert copy.repro() == ["digests"]

    copy.edit("lens/sae/train.py", "CHECKPOINT_EVERY   =  100", "CHECKPOINT_EVERY = 101")
    assert copy.repro(f"{SMOKE}:digests") == ["digests"]
    would_run = copy.repro("--dry")
    assert {"train@1", "train@2", "ablate@1", "calibrate"} <= set(would_run) and "extract" not in would_run


@pytest.mark.parametrize(
    ("old", "new", "stages"),
    [("steps: 60", "steps: 61", {"train@embedding", "train@1", "train@2", "ablate@1"}),
     ("fidelity: 8", "fidelity: 9", {"ablate@1", "analyse@embedding", "analyse@1", "analyse@2"}),
     ("train: 96", "train: 97", {"extract"}),
     ("end_tau_1]", "end_tau_1] # why", set()),
     ("variants: [uniform_weights, ", "variants: [", {"ablate@1"}),
     ("steps: [30]", "steps: [31]", {"calibrate"})],
)  # fmt: skip
def test_a_parameter_concerns_only_the_stages_that_read_it(clone, old, new, stages):
    """Directly: what follows from their outputs is decided by those outputs."""
    clone.edit("studies/smoke/params.yaml", old, new)
    status = json.loads(clone.run(sys.executable, "-m", "dvc", "status", "--json", SMOKE))
    directly = {
        name.split(":")[-1]
        for name, changes in status.items()
        for change in changes
        if isinstance(change, dict) and "studies/smoke/params.yaml" in change.get("changed deps", {})
    }
    assert directly - set(REPORT) == stages


def test_a_clone_without_artifacts_rebuilds_the_report_from_committed_tables(clone):
    assert not (clone.root / "artifacts").exists()
    assert clone.repro("--allow-missing") == []
    style = clone.root / "lens" / "report" / "figures" / "style.py"
    style.write_text(style.read_text() + "\nADDED = 1\n")
    ran = set(clone.repro("--allow-missing"))
    assert ran - {"index"} == {"digests", "figures", "overview", "paper"}  # the paper may tell new run times, or not
    assert clone.lens("verify").endswith("large outputs not on this machine\n")


def test_a_study_without_ablations_is_reported_like_any_other(copy):
    copy.edit("studies/smoke/params.yaml", "ablations:\n  layers: [1]", "ablations:\n  layers: []")
    shutil.rmtree(copy.root / "results" / "smoke" / "tables" / "ablations")
    assert set(REPORT) <= set(copy.repro())
    claims = json.loads((copy.root / "results" / "smoke" / "claims.json").read_text())["claims"]
    tuning = next(claim for claim in claims if claim["id"] == "C23")
    assert tuning["status"] == "not measured in this study" and tuning["reason"]


def test_results_of_another_layer_are_refused(copy):
    tables = copy.root / "results" / "smoke" / "tables" / "measures"
    shutil.copytree(tables / "layer_1", tables / "layer_9")
    output = copy.lens("claims", rc=1)
    assert "layer_9" in output and "Traceback" not in output


def test_verify_names_an_altered_file(copy):
    assert " 0 differ" in copy.lens("verify")
    claims = copy.root / "results" / "smoke" / "claims.json"
    claims.write_text(claims.read_text().replace("smoke", "smoked", 1))
    table = next((copy.root / "results" / "smoke" / "tables" / "measures" / "layer_1").glob("*.csv"))
    table.write_text(table.read_text().replace("1", "2", 1))
    output = copy.lens("verify", rc=1)
    assert "results/smoke/claims.json" in output and table.name in output
    assert "2 differ" in output


def test_verify_names_what_other_code_has_made(copy):
    assert "other code" not in copy.lens("verify")
    copy.edit("lens/report/figures/style.py", "PAGE_WIDTH = ", "PAGE_WIDTH = 1.01 * ")
    told = next(line for line in copy.lens("verify").splitlines() if "other code" in line)
    assert "05_figures" in told
    assert "04_analysis" not in told  # it draws, and decides nothing by it


def test_times_lists_stages_and_results(made):
    output = made.lens("times")
    assert "02_train_layer_2" in output and "results/smoke/paper.pdf" in output and "not made yet" not in output


def test_every_study_is_a_pipeline_of_its_own():
    for params in checkout.root().glob("studies/*/params.yaml"):
        link = params.with_name("dvc.yaml")
        assert link.is_symlink() and link.resolve() == checkout.root() / "dvc.yaml"
        text = params.read_text()
        assert (
            f"study: {params.parent.name}\n" in text
            and f"params_file: studies/{params.parent.name}/params.yaml" in text
        )
        assert "root: ../..\n" in text
