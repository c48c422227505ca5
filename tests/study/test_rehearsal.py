"""A study is tried out whole, small, before its weights are at hand; what the whole takes is counted from it."""

import dataclasses

import pytest

from lens.errors import ConfigError
from lens.study import rehearsal
from lens.study.params import Study


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory):
    study = Study.load("smoke", tmp_path_factory.mktemp("rehearsal"))
    return study, rehearsal.rehearse(dataclasses.replace(study, model="someone/gemma-3-tiny"), 1)


@pytest.mark.slow
def test_every_stage_runs_on_the_shapes_of_the_model(rehearsed):
    study, found = rehearsed
    assert [stage.name for stage in found.stages] == ["extraction", "training", "analysis"]
    assert all(stage.seconds > 0 for stage in found.stages)
    made = {path.parent.name for path in study.out.glob("dictionaries/layer_*/*/cfg.json")}
    assert made == {f"{variant}-seed{study.seeds[0]}" for variant in study.variants}


@pytest.mark.slow
def test_what_the_whole_keeps_is_counted(rehearsed):
    study, found = rehearsed
    w, d = study.windows, 32
    tokens = w.length * (w.train + w.test + w.contrast)
    assert found.sizes["activations on disk"] == tokens * d * 2 * len(study.layers)
    runs = [study.train_recipe(variant).expansion for layer in study.layers for variant, _ in study.runs_at(layer)]
    assert f"{len(runs)} runs of {study.training.steps} steps" in str(found)
    here = 2 * sum(study.train_recipe(variant).expansion for variant in study.variants)
    by_hand = found.stages[1].seconds / (here * rehearsal.STEPS) * sum(runs) * study.training.steps
    assert found.stages[1].whole_seconds == pytest.approx(by_hand)
    [(_, model)] = [(k, v) for k, v in found.sizes.items() if "language model" in k]
    block = 32 * 32 + 2 * 32 * 16 + 32 * 32 + 3 * 32 * 64 + 4 * 32 + 2 * 16  # attention, MLP, norms
    assert model == 2 * (257 * 32 + 32 + 4 * block)


def test_a_folder_that_holds_something_else_is_left(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds something else than a rehearsal"):
        rehearsal.rehearse(Study.load("smoke", tmp_path))
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_shapes_that_are_not_known_are_named(tmp_path):
    study = dataclasses.replace(Study.load("smoke", tmp_path / "x"), model="someone/gemma-5")
    with pytest.raises(ConfigError, match=r"the shapes of someone/gemma-5 are not known here .*: pass model=random:"):
        rehearsal.rehearse(study)
