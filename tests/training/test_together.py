"""Runs that share their batches: each is as it is alone, and one that fails leaves the others as they are."""

from pathlib import Path

import pytest

from lens.dictionaries.dictionary import Dictionary
from lens.training import train as lens_train
from lens.training.recipe import build
from lens.training.run import TrainingError
from lens.training.train import train_layer
from tests.training.test_train import activations, same

FEW = {"position": "none", "k": 1, "expansion": 2}  # of 32 features: the gradients are those of the kept alone
KINDS = {
    "masked": {"l1_coef": 0.02},
    "topk": {"architecture": "topk", **FEW},
    "batch_topk": {"architecture": "batch_topk", **FEW, "input_centre": "mean"},
    "jumprelu": {"architecture": "jumprelu", "position": "none", "target_l0": 3.0},
}
EXPLODES = {"lr": 1e30}


def train(folder: Path, recipes: dict[str, dict], seeds=(0, 1)):
    built = {name: build({"steps": 12, "batch_windows": 4, "lr": 1e-3, **fields}) for name, fields in recipes.items()}
    return train_layer(
        activations(), built, seeds, folder / "out", folder / "pool", data_digest="test", layer=3, log_every=4
    )


def test_every_architecture_is_the_same_alone_and_in_company(tmp_path):
    together = train(tmp_path / "together", KINDS)
    for name, fields in KINDS.items():
        alone = train(tmp_path / name, {name: fields}, seeds=(1,))
        assert same(alone.folders[name, 1], together.folders[name, 1])


@pytest.mark.parametrize("name", KINDS)
def test_a_run_that_explodes_stops_by_name_and_the_others_go_on(name, tmp_path):
    recipes = {"good": KINDS[name], "bad": KINDS[name] | EXPLODES}
    with pytest.raises(TrainingError) as raised:
        train(tmp_path / "both", recipes)
    lines = str(raised.value).splitlines()
    assert [line.partition(",")[0] for line in lines[:2]] == ["bad-seed0", "bad-seed1"]
    assert all("not finite at step" in line for line in lines[:2])
    kept = train(tmp_path / "both", {"good": KINDS[name]})
    assert same(
        kept.folders["good", 0].parent, train(tmp_path / "alone", {"good": KINDS[name]}).folders["good", 0].parent
    )


def test_a_killed_training_remembers_which_runs_had_failed(tmp_path, monkeypatch):
    recipes = {"good": KINDS["topk"], "bad": KINDS["topk"] | EXPLODES}
    with monkeypatch.context() as patch:
        patch.setattr(lens_train, "CHECKPOINT_EVERY", 10)
        patch.setattr(lens_train, "_finish", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path, recipes, seeds=(0,))
    taken = []
    step = lens_train.Run.step
    monkeypatch.setattr(lens_train.Run, "step", lambda run, *a, **k: (taken.append(run.steps_done), step(run, *a, **k)))
    with pytest.raises(TrainingError, match="bad-seed0.*not finite at step"):
        train(tmp_path, recipes, seeds=(0,))
    assert len(taken) == 4 and min(taken) < 10  # the last two steps, of which the failed run takes none
    good = train(tmp_path, {"good": KINDS["topk"]}, seeds=(0,)).folders["good", 0]
    Dictionary.load(good)
