"""A small study of headroom: windows per seed, arms beside twins, rows that are kept."""

import dataclasses
import shutil

import numpy as np
import pytest

from lens.activations import corpus
from lens.errors import ConfigError
from lens.figures.headroom import headroom_by_position
from lens.figures.looks import Looks
from lens.measure.headroom import estimates
from lens.study import equal_l0, extraction
from lens.study.equal_l0 import trained_at
from lens.study.headroom import headroom_tables, twins_of, variants_at
from lens.study.headroom_toy import toy_errors
from lens.study.layer_data import open_layer_data
from lens.study.params import EqualL0, Planted, Study, _check

ARMS = ("blind", "oracle", "oracle_permuted")


@pytest.fixture
def study(tmp_path, monkeypatch) -> Study:
    whole = Study.load("headroom", tmp_path / "out")
    monkeypatch.setattr(Study, "pool", tmp_path / "pool")
    monkeypatch.setattr(Study, "artifacts", tmp_path / "artifacts")
    training = dataclasses.replace(whole.training, steps=8)
    training.overrides.update(batch_windows=8, precision="fp32")
    windows = dataclasses.replace(whole.windows, length=70, train=24, test=44)
    return dataclasses.replace(
        whole,
        model="random:gemma-3-tiny",
        layers=(1,),
        windows=windows,
        training=training,
        variants=ARMS,
        seeds=(0, 1),
        equal_l0=(
            EqualL0(4, ARMS),
            EqualL0(8, ARMS[:2]),
            EqualL0(8, ARMS[2:], (1,)),
            EqualL0(4, ARMS, planted=Planted(0.1)),
        ),
    )


def test_every_arm_of_the_study_has_a_twin_and_every_recipe_is_one():
    whole = Study.load("headroom")
    whole.check_recipes()
    twins = twins_of(whole, whole.variants)
    assert twins == {arm: f"{arm}_permuted" for arm in twins} and len(twins) == 7
    with pytest.raises(ConfigError, match="oracle has no twin"):
        twins_of(whole, whole.variants[:-1])
    with pytest.raises(ConfigError, match="roles.baseline, is not among centred"):
        twins_of(whole, whole.variants[1:])


def test_each_layer_has_arms_with_twins_and_the_oracle_at_every_l0():
    whole = Study.load("headroom")
    for layer in whole.layers:
        at = variants_at(whole, layer)
        assert {l0 for planted, l0 in at if not planted} == ({32} if layer == "embedding" else {16, 32, 64})
        assert (("0.005 of depth 1", 32) in at) == (layer == 8)
        assert all("oracle" in twins_of(whole, variants) for variants in at.values())
    assert set(variants_at(whole, 8)["", 32]) == set(whole.variants)
    with pytest.raises(ConfigError, match="nothing that is trained at layer 5"):
        trained_at(whole, 5)
    with pytest.raises(ConfigError, match="names blind twice for layer 3"):
        trained_at(dataclasses.replace(whole, equal_l0=2 * whole.equal_l0[:1]), 3)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (EqualL0(32, ("blind", "orcale")), "equal_l0: variants .'orcale'. are not among"),
        (EqualL0(32, ("blind",), (4,)), "equal_l0: layers .4. are not among"),
        (EqualL0(32, ("blind",), planted=Planted(2.0)), "share and depth lie between 0 and 1"),
        (EqualL0(0.5, ("blind",)), "l0 must be at least 1, found 0.5"),
    ],
)
def test_what_cannot_be_trained_is_named(part, message):
    with pytest.raises(ConfigError, match=message):
        _check(dataclasses.replace(Study.load("headroom"), equal_l0=(part,)), "params.yaml")


def test_seeds_have_texts_windows_and_order_of_their_own():
    whole = Study.load("headroom")
    parts = whole.parts
    assert [part.seeds for part in parts] == [(0,), (1,), (2,), (3,)]
    assert len({part.windows.seed for part in parts}) == len({part.store for part in parts}) == 4
    assert parts[1].parts == [parts[1]] and parts[1].windows.seed == whole.windows.seed + 1000
    held_out = [set(corpus.load(part.corpus.test)["document"]) for part in parts]
    trained = [set(corpus.load(part.corpus.train)["document"]) for part in parts]
    assert len(set.union(*held_out)) == 38 and all(not a & b for a, b in zip(held_out, trained, strict=True))
    once = Study.load("smoke")
    assert once.parts == [once] and once.of_seed(1) is once


def test_a_name_with_a_seed_needs_windows_per_seed(tmp_path):
    text = (Study.load("headroom").params_file).read_text()
    (tmp_path / "params.yaml").write_text(
        text.replace("study: headroom", "study: mine")
        .replace("draw: per_seed", "draw: once")
        .replace("params_file", "#")
    )
    with pytest.raises(ConfigError, match="windows.draw: per_seed"):
        Study.load(tmp_path / "params.yaml")


def test_a_small_study_goes_on_where_it_was_stopped(study, monkeypatch):
    with pytest.raises(ConfigError, match="windows.draw is per_seed"):
        open_layer_data(study, 1)
    for part in study.parts:
        extraction.extract_for_trial(part, 1)
    stores = [open_layer_data(part, 1) for part in study.parts]
    assert not np.array_equal(stores[0].train.tokens, stores[1].train.tokens)

    trained, seen = equal_l0._trained, []

    def stops(study, data, variant, seed, *rest):
        if (variant, seed) == ("oracle", 1):
            raise KeyboardInterrupt
        seen.append((variant, seed))
        return trained(study, data, variant, seed, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(equal_l0, "_trained", stops)
        with pytest.raises(KeyboardInterrupt):
            headroom_tables(study, 1)
    assert seen == [(v, 0) for v in ARMS] + [("blind", 1)]  # all seeds of a part, then the next
    again = []
    monkeypatch.setattr(equal_l0, "_trained", lambda *a: (again.append(a[2:4]), trained(*a))[1])
    tables = headroom_tables(study, 1)
    at_8 = [(v, seed) for part in (ARMS[:2], ARMS[2:]) for seed in (0, 1) for v in part]
    assert again == [(v, 1) for v in ARMS[1:]] + at_8 + [(v, seed) for seed in (0, 1) for v in ARMS]

    for part in study.parts:  # a row that is kept needs no activations
        shutil.rmtree(part.results / part.store)
    with monkeypatch.context() as patched:
        patched.setattr(equal_l0, "_searched", lambda *_: pytest.fail("made again"))
        assert headroom_tables(study, 1)["errors"].equals(tables["errors"])

    rows = {path.relative_to(study.results / "rows").as_posix() for path in study.results.rglob("rows/**/*.json")}
    settings = ("l0_4", "l0_8", "planted-10-100/l0_4")
    assert rows == {f"layer_1/{setting}/{v}-seed{seed}.json" for setting in settings for v in ARMS for seed in (0, 1)}
    errors = tables["errors"]
    assert set(errors.query("variant == 'blind'")["arrangement"]) == {"text", "permuted"}
    assert set(errors.query("variant == 'oracle'")["arrangement"]) == {"text"}
    assert set(errors.query("variant == 'oracle_permuted'")["arrangement"]) == {"permuted"}
    found = tables["headroom"]
    assert len(found) == 3 * 2 * (6 + 3) and np.isfinite(found["headroom"]).all()
    assert tables["dictionaries"].eval("l0 == target and tries == 1").all()
    means = estimates(errors.query("target == 4 and planted == ''"), "blind", twins_of(study, ARMS)).assign(target=4)
    drawn = headroom_by_position(means, {arm: Looks()[arm] for arm in twins_of(study, ARMS)}, 0.01)
    assert "Means over 2 seeds" in drawn.caption and "64-69" in drawn.alt


def test_the_toy_has_headroom_where_position_has_a_share_and_none_where_it_has_not():
    def late(share: float) -> float:
        found = estimates(toy_errors(share, seeds=1), "blind", {"centred": "centred_permuted"})
        return float(found.set_index("where").loc["late", "estimate"])

    assert abs(late(0.0)) < 0.08 < 0.2 < late(0.3)
