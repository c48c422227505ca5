"""The registered questions of the headroom study: locked, and answered from planted tables with every outcome."""

import copy

import numpy as np
import pandas as pd
import pytest

from lens.errors import ConfigError
from lens.measure.headroom import crossed
from lens.study.headroom import twins_of, variants_at
from lens.study.params import Study
from paper import headroom
from paper.commands import registered as command
from paper.registered import CANT_TELL, NOT_YET, Answer, Questions

DOCUMENT = headroom.QUESTIONS.load()
ARMS = list(DOCUMENT["twins"])
PLANTED = ("0.02 of depth 1", "0.005 of depth 1", "0.02 of depth 0.25")
SEEDS, PLAYS = 4, 38


def errors(gains: dict[str, float], twins: dict[str, float] | None = None, spread: float = 0.001) -> pd.DataFrame:
    """Of arms with these gains over the blind dictionary, whose twins gain what is said of them, else nothing."""
    rng, rows = np.random.default_rng(0), []
    twins = {arm: (twins or {}).get(arm, 0.0) for arm in gains}
    parts = [("blind", "text", 0.0), ("blind", "permuted", 0.0)]
    parts += [(arm, "text", gain) for arm, gain in gains.items()]
    parts += [(f"{arm}_permuted", "permuted", gain) for arm, gain in twins.items()]
    for variant, arrangement, gain in parts:
        for seed in range(SEEDS):
            off = spread * (rng.normal() if variant != "blind" else 0)
            for play in range(seed * 9, seed * 9 + 11):
                for bucket, first in (("1-15", 1), ("16-127", 16)):
                    noise = spread * (rng.normal() if variant != "blind" else 0)
                    told = (variant, arrangement, seed, f"play {play % PLAYS}", bucket, first)
                    rows.append((*told, 100 * (1 - gain - off - noise), 50))
    columns = ["variant", "arrangement", "seed", "document", "bucket", "first", "sq_error", "n"]
    return pd.DataFrame(rows, columns=columns)


def layer(by_l0: dict[float, float], twins: float = 0.0, planted: float | None = 0.02, **others) -> pd.DataFrame:
    """Errors where the oracle gains this at each L0, other arms what is said at L0 32, and planted features so much."""
    parts = []
    for l0, gain in by_l0.items():
        gains = {"oracle": gain} | (dict.fromkeys(ARMS[:-1], 0.0) | others if l0 == 32 else {})
        parts.append(errors(gains, {"oracle": twins}).assign(target=l0, planted=""))
    if planted is not None:
        rises = zip(PLANTED, (planted, planted / 8, 0.0), strict=True)
        parts += [errors({"oracle": by_l0[32] + rise}).assign(target=32, planted=name) for name, rise in rises]
    return pd.concat(parts, ignore_index=True)


def same(late: float, **said) -> pd.DataFrame:
    return layer(dict.fromkeys((16, 32, 64), late), **said)


def answers(at: pd.DataFrame, embedding: float = 0.0) -> dict[str, Answer]:
    tables = {"8": at, "embedding": layer({32: embedding}, planted=None)}
    return {answer.id: answer for answer in headroom.answers(DOCUMENT, tables)}


@pytest.mark.parametrize(
    ("table", "embedding", "outcome"),
    [
        (same(0.02), 0.0, headroom.USABLE),
        (layer({16: 0.0, 32: 0.02, 64: 0.02}), 0.0, headroom.USABLE),
        (layer({16: 0.01, 32: 0.02, 64: 0.01}), 0.0, CANT_TELL),  # at one of three
        (same(0.0), 0.0, headroom.NONE),
        (layer({16: 0.02, 32: 0.0, 64: 0.0}), 0.0, headroom.NONE),
        (same(0.01), 0.0, CANT_TELL),
        (same(0.0085), 0.0, CANT_TELL),  # an estimate below the margin, and an upper bound above it
        (same(0.0, planted=0.0), 0.0, CANT_TELL),  # it would not have been found
        (same(0.02), 0.01, headroom.CONTROLS_FAIL),
        (same(0.0), -0.01, headroom.CONTROLS_FAIL),
        (same(0.04, twins=0.02), 0.0, headroom.CONTROLS_FAIL),
        (same(-0.01, twins=-0.04), 0.0, CANT_TELL),  # better than its twin, and worse than the blind one
        (same(0.01, twins=-0.02), 0.0, headroom.USABLE),
    ],
)
def test_every_outcome_of_a_layer(table, embedding, outcome):
    assert answers(table, embedding)["H01"].outcome == outcome


def test_what_is_lacking_is_not_measured_yet():
    assert {answer.outcome for answer in headroom.answers(DOCUMENT, {})} == {NOT_YET}
    alone = {a.id: a for a in headroom.answers(DOCUMENT, {"8": same(0.02)})}
    assert alone["H01"].outcome == NOT_YET and "no table of layer embedding" in alone["H01"].why
    assert alone["H02"].why == "no table of layer 3" and alone["H05"].outcome == headroom.FOUND
    table = same(0.02)
    missing = answers(table[~((table["target"] == 64) & (table["variant"] == "oracle_permuted"))])["H01"]
    assert missing.outcome == NOT_YET and missing.why == "no oracle_permuted at layer 8, L0 64"
    unplanted = answers(same(0.0, planted=None))
    assert unplanted["H01"].outcome == unplanted["H05"].outcome == NOT_YET
    assert answers(same(0.02, planted=None))["H01"].outcome == headroom.USABLE  # which needs no planted truth


def test_arms_help_that_have_a_share_of_the_oracle_and_others_gain_too_little():
    said = answers(same(0.04, centred=0.02, gain=0.005))["H04"]
    assert said.outcome == headroom.HELPS
    assert f"centred {headroom.HELPS}" in said.why and f"gain {headroom.LITTLE}" in said.why
    assert f"mask {headroom.NO_GAIN}" in said.why and "49% of the oracle's" in said.why
    assert answers(same(0.04))["H04"].outcome == headroom.NO_GAIN
    assert answers(same(0.0, centred=0.02))["H04"].outcome == CANT_TELL
    assert answers(same(0.04, centred=0.02), 0.01)["H04"].outcome == headroom.CONTROLS_FAIL


def test_planted_headroom_is_found_or_not():
    found = answers(same(0.01, planted=0.02))["H05"]
    assert found.outcome == headroom.FOUND and "0.005 of depth 1: 0.33 % [0.13, 0.53]" in found.why
    assert answers(same(0.01, planted=0.0))["H05"].outcome == headroom.NOT_FOUND


def test_questions_and_parameters_are_locked(tmp_path, monkeypatch):
    changed = copy.deepcopy(DOCUMENT)
    changed["claims"][1]["rule"]["margin"] = 0.02
    monkeypatch.setattr(Questions, "read", lambda self: changed)
    with pytest.raises(ConfigError, match="headroom.yaml: the claims have the digest"):
        headroom.QUESTIONS.load()
    amended = headroom.QUESTIONS.digest(changed)
    changed["amendments"] = [{"date": "2026-12-01", "claims": ["H02"], "reason": "a pilot", "sha256": amended}]
    assert headroom.QUESTIONS.load()["claims"][1]["rule"]["margin"] == 0.02
    monkeypatch.setattr(Questions, "params_digest", lambda self: "other")
    with pytest.raises(ConfigError, match="studies/headroom/params.yaml is not as it was registered"):
        headroom.QUESTIONS.load()
    del changed["claims"][0]["reason"]
    with pytest.raises(ConfigError, match="H01: missing or unknown fields .'reason'."):
        headroom.QUESTIONS.load()


def test_the_study_trains_all_that_is_asked_for():
    study = Study.load("headroom")
    assert study.roles.baseline == DOCUMENT["blind"] and twins_of(study, study.variants) == DOCUMENT["twins"]
    for claim in DOCUMENT["claims"]:
        there = variants_at(study, claim["layer"])
        for l0 in claim["l0"]:
            assert {claim["arm"], *claim.get("arms", ())} <= set(there["", l0])
            assert all(claim["arm"] in there[name, l0] for name in claim.get("planted", ()))
        if control := claim["controls"].get("planted"):
            assert claim["arm"] in variants_at(study, control["layer"])[control["name"], control["l0"]]
        assert claim["arm"] in variants_at(study, "embedding")["", 32]


def test_the_power_is_that_of_the_spread_that_is_assumed():
    power = DOCUMENT["claims"][0]["power"]
    seeds, plays = power["assumed"]["sd_seeds"], power["assumed"]["sd_plays"]
    spread = (seeds**2 + plays**2 / 11) ** 0.5  # of a fold's mean
    means = spread * np.array([-1, -1, 1, 1]) * 0.75**0.5
    left_out = plays * np.array([-1, 1] * 19) * (37 / 38) ** 0.5 / 37
    found = crossed(means, left_out)
    assert (100 * found.se, found.df) == (pytest.approx(0.186, abs=0.002), 3) and "error .19 %" in power["found"]
    assert 100 * (found.high - found.estimate) == pytest.approx(0.6, abs=0.01)
    assert 100 * found.minimum_detectable_effect() == pytest.approx(0.8, abs=0.02)  # 1 + .8 and 1 - .8


def test_the_command_says_what_is_asked_and_answered(capsys):
    command.callback()
    said = capsys.readouterr().out
    assert all(claim["statement"] in said for claim in DOCUMENT["claims"]) and "predicted: none" in said
