"""Copies of the finished pipeline: made again they are the same, and what is added or altered is noticed."""

import json
import shutil
import sys

SMOKE = "studies/smoke/dvc.yaml"
PARAMS = "studies/smoke/params.yaml"
REPORT = ["claims", "explorer", "figures", "overview", "paper"]


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
