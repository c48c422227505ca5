"""A small study of leak: verdicts on features of several dictionaries, and a toy whose truth is known."""

import dataclasses

import pytest

from lens.figures.leak import leak
from lens.measure.verdicts import INHERITS, NONE, RARE, SPECIALISED, VERDICTS
from lens.study import extraction
from lens.study.layer_data import open_layer_data
from lens.study.leak import THEIRS, leak_table, theirs_in
from lens.study.leak_toy import toy_verdicts
from lens.study.params import EqualL0, Study


@pytest.fixture
def study(tmp_path, monkeypatch) -> Study:
    whole = Study.load("leak", tmp_path / "out")
    monkeypatch.setattr(Study, "pool", tmp_path / "pool")
    monkeypatch.setattr(Study, "artifacts", tmp_path / "artifacts")
    training = dataclasses.replace(whole.training, steps=30)
    training.overrides.update(batch_windows=8, precision="fp32")
    return dataclasses.replace(
        whole,
        model="random:gemma-3-tiny",
        layers=(1,),
        windows=dataclasses.replace(whole.windows, length=40, train=64, test=66),
        training=training,
        seeds=(0,),
        equal_l0=(EqualL0(8, ("batch_topk",)),),
    )


def test_a_small_study_counts_verdicts_of_ours_and_theirs(study):
    for part in study.parts:
        extraction.extract_for_trial(part, 1)
    ours = leak_table(study, 1)
    assert len(ours) == 1 and set(VERDICTS) <= set(ours)
    assert (ours[[v for v in VERDICTS if v != RARE]].sum(axis=1) == ours["tested"]).all()
    assert (ours["usual"] <= ours["tested"]).all()

    data = open_layer_data(study.of_seed(0), 1)
    assert data.layer == 1
    trained = next((study.out / "equal_l0").rglob("batch_topk-seed0/sae.safetensors")).parent
    theirs = theirs_in(study, 1) / "somebody"
    theirs.parent.mkdir(parents=True)
    theirs.symlink_to(trained)
    both = leak_table(study, 1).set_index(["variant", "seed"])
    assert both.loc[("somebody", THEIRS), list(VERDICTS)].equals(both.loc[("batch_topk", 0), list(VERDICTS)])
    means = both.groupby("variant")[["tested", "usual", *VERDICTS]].mean()
    drawn = leak(means, {"somebody": "theirs", "batch_topk": "BatchTopK"})
    assert "theirs: usual test" in drawn.alt


def test_the_verdict_tells_what_the_usual_test_cannot():
    told = toy_verdicts()
    assert told["usual"].to_dict() == {"tuned": True, "content": False, "opening": True, "mixed": True}
    assert told["verdict"]["tuned"] == SPECIALISED and told["verdict"]["content"] == NONE
    assert told["verdict"]["opening"] not in (SPECIALISED, INHERITS) and told["verdict"]["mixed"] == INHERITS
