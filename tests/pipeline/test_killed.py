"""The pipeline, killed in the middle of a stage: the next run goes on to the same results."""

import shutil
import sys

import pytest

SMOKE = "studies/smoke/dvc.yaml"
STAGES = {  # what of the pool the stage would only link, and what is there once it is under way
    "extract": ("activations-*", "artifacts/pool/activations-*-unfinished/layer_2"),
    "train@1": ("trained-*", "scratch/running/smoke-02_train_layer_1-*.ipynb"),
    "analyse@1": ("", "scratch/running/smoke-04_analysis_layer_1-*.ipynb"),
}


@pytest.mark.full
def test_a_pipeline_that_is_killed_in_a_stage_goes_on_to_the_same_results(made, copy):
    """By SIGKILL to the whole group of processes; the kernel is in one of its own, and ends by itself."""
    for stage, (finished, under_way) in STAGES.items():
        for folder in (copy.root / "artifacts" / "pool").glob(finished) if finished else ():
            shutil.rmtree(folder)
        copy.kill([sys.executable, "-m", "dvc", "repro", "--force", "--single-item", f"{SMOKE}:{stage}"], under_way)
        assert stage in copy.repro()
    assert copy.repro() == []
    for part in ("tables", "notebooks", "claims.json", "explorer.html", "figures"):
        assert copy.files(part) and copy.files(part) == made.files(part), part
    assert not list((copy.root / "scratch").glob("*/*.ipynb"))
    assert not list((copy.root / "artifacts" / "pool").glob("*unfinished*"))
