"""The finished pipeline where something is added, left out or altered, and made again."""

import json
import re
import shutil
import sys

import pytest

SMOKE = "studies/smoke/dvc.yaml"
PARAMS = "studies/smoke/params.yaml"
REPORT = ["claims", "explorer", "figures", "overview", "paper"]


@pytest.mark.slow
def test_a_new_layer_and_a_new_variant_run_only_what_they_add(copy):
    """A new recipe concerns no other stage; what is finished comes from the pool."""
    before = {path.name for path in (copy.root / "artifacts" / "pool").glob("trained-*")}
    copy.edit(PARAMS, "layers: [embedding, 1, 2]", "layers: [embedding, 1, 2, 3]")
    copy.edit(PARAMS, "  recipes:\n", "  recipes:\n    mine: {l1_coef: 0.05}\n")
    path = copy.root / PARAMS
    path.write_text(
        re.sub(r"variants: \[uniform_weights,[^]]*\]", "variants: [mine, uniform_weights]", path.read_text())
    )
    assert copy.repro(f"{SMOKE}:train", f"{SMOKE}:ablate@1") == ["ablate@1", "extract", "train@3"]
    new = {path for path in (copy.root / "artifacts" / "pool").glob("trained-*") if path.name not in before}
    trained = sorted(folder.name for path in new for folder in path.glob("*-seed*"))
    main = [
        f"{variant}-seed{seed}" for variant in ("shuffled_positions", "standard", "temporallens") for seed in (0, 1)
    ]
    assert trained == ["mine-seed0", "mine-seed1", *main]
    assert copy.repro("--dry") == sorted(["analyse@3", *REPORT])


@pytest.mark.slow
def test_a_study_without_ablations_is_judged_like_any_other_and_without_git(clone):
    """As in an archive of the project, which has no .git folder."""
    hidden = (clone.root / ".git").rename(clone.root.with_name("git"))
    clone.run(sys.executable, "-m", "dvc", "config", "--local", "--quiet", "core.no_scm", "true")
    clone.edit(PARAMS, "ablations:\n  layers: [1]", "ablations:\n  layers: []")
    shutil.rmtree(clone.root / "results" / "smoke" / "tables" / "ablations")
    assert clone.repro("--single-item", f"{SMOKE}:claims") == ["claims"]
    claims = json.loads((clone.root / "results" / "smoke" / "claims.json").read_text())["claims"]
    hidden.rename(clone.root / ".git")
    (clone.root / ".dvc" / "config.local").unlink()
    clone.restore()
    tuning = next(claim for claim in claims if claim["id"] == "C23")
    assert tuning["status"] == "not measured in this study" and tuning["reason"]


def test_verify_names_an_altered_file(made, clone):
    assert " 0 differ" in made.lens("verify")
    claims = clone.root / "results" / "smoke" / "claims.json"
    claims.write_text(claims.read_text().replace("smoke", "smoked", 1))
    table = next((clone.root / "results" / "smoke" / "tables" / "measures").glob("*"))
    table.write_bytes(table.read_bytes() + b" ")
    output = clone.run(sys.executable, "-m", "lens", "verify", rc=1)
    clone.restore()
    assert "results/smoke/claims.json" in output and table.name in output
    assert "study smoke: " in output and "2 differ" in output


@pytest.mark.full
def test_stages_made_again_without_a_pool_give_the_same_bytes(made, copy):
    """Only run times and hosts differ, and they are kept apart."""
    shutil.rmtree(copy.root / "artifacts" / "pool")
    stages = ["analyse@1", "explorer", "extract", "train@1"]  # the others: see the clone
    assert copy.repro("--force", "--single-item", *(f"{SMOKE}:{stage}" for stage in stages)) == stages
    for part in ("tables", "notebooks", "explorer.html"):
        assert copy.files(part) and copy.files(part) == made.files(part), part


@pytest.mark.full
def test_a_layer_that_no_study_has_is_tried_out_with_papermill(copy):
    papermill = ["papermill", "notebooks/02_train.ipynb", "scratch/out.ipynb", "--no-progress-bar"]
    copy.run(sys.executable, "-m", *papermill, "-p", "study", "smoke", "-p", "layer", "0")
    assert (copy.root / "scratch" / "02_train" / "dictionaries" / "layer_0" / "standard-seed1").is_dir()
