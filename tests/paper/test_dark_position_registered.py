"""The registered questions of the study of dark position: locked, and answered with every outcome."""

import numpy as np
import pandas as pd
import pytest

from lens.measure.headroom import crossed
from lens.study.headroom import variants_at
from lens.study.params import Study
from paper import dark_position
from paper.dark_position import CONTROLS_FAIL, NO, QUESTIONS, YES
from paper.registered import CANT_TELL, NOT_YET

DOCUMENT = QUESTIONS.load()
SEEDS, PLAYS = 4, 38
NULL = {"fvu": 0.2, "path left": 0.2, "r2 code 0.4 all": 0.3, "r2 error 0.4 all": 0.3}
NULL |= {"r2 code 0.4 permuted": 0.0, "r2 error 0.4 permuted": 0.0}
NULL |= {f"delta_ce {arm} all": 0.1 for arm in ("another taken away", "reconstruction", "given back", "another given")}
NULL |= {"delta_ce taken away all": 0.3}


def table(spread: float = 0.001, only: tuple[float, ...] = (16, 32, 64), **changed) -> pd.DataFrame:
    """Measures at every L0, of which those at `only` are changed (spaces are underscores, `_0_4_` is 0.4)."""
    rng, rows = np.random.default_rng(0), []
    for l0 in (16, 32, 64):
        values = NULL | (changed["to"] if l0 in only else {})
        for seed in range(SEEDS):
            for name, value in values.items():
                own = value + spread * rng.normal()
                for document in ("", *(f"play {p % PLAYS}" for p in range(seed * 9, seed * 9 + 11))):
                    noise = spread / 10 * rng.normal() if document else 0.0
                    rows.append(("blind", seed, float(l0), name, document, own + noise))
    return pd.DataFrame(rows, columns=["variant", "seed", "target", "measure", "document", "value"])


def answer(name: str, spread: float = 0.001, only: tuple[float, ...] = (16, 32, 64), **to) -> str:
    made = table(spread, only, to=to["to"])
    return {a.id: a for a in dark_position.answers(DOCUMENT, {"8": made})}[name].outcome


@pytest.mark.parametrize(
    ("name", "to", "only", "spread", "outcome"),
    [
        ("D01", {"path left": 0.3}, (16, 32, 64), 0.001, YES),
        ("D01", {"path left": 0.3}, (16, 32), 0.001, YES),
        ("D01", {"path left": 0.4}, (16,), 0.001, NO),  # at one of three, and certainly not at the others
        ("D01", {}, (), 0.001, NO),
        ("D01", {"path left": 0.1}, (16, 32, 64), 0.001, NO),
        ("D01", {"path left": 0.26}, (16, 32, 64), 0.1, CANT_TELL),
        ("D04", {"r2 error 0.4 all": 0.5}, (16, 32, 64), 0.001, YES),
        ("D04", {"r2 error 0.4 all": 0.5, "r2 error 0.4 permuted": 0.1}, (32,), 0.001, CONTROLS_FAIL),
        ("D04", {"r2 code 0.4 all": 0.5}, (16, 32, 64), 0.001, NO),
        ("D05", {"delta_ce given back all": 0.08}, (32,), 0.0005, YES),
        ("D05", {}, (), 0.0005, NO),
        ("D05", {"delta_ce taken away all": 0.1}, (32,), 0.0005, CONTROLS_FAIL),
        ("D05", {}, (), 0.01, CANT_TELL),
    ],
)
def test_every_outcome(name, to, only, spread, outcome):
    assert answer(name, spread, only, to=to) == outcome


def test_what_is_lacking_is_not_measured_yet():
    assert {a.outcome for a in dark_position.answers(DOCUMENT, {})} == {NOT_YET}
    made = table(to={})
    said = {a.id: a for a in dark_position.answers(DOCUMENT, {"8": made[made["target"] != 64]})}
    assert said["D01"].why == "no blind at layer 8, L0 64" and said["D02"].why == "no table of layer 3"
    fewer = made[made["measure"] != "delta_ce given back all"]
    assert {a.id: a for a in dark_position.answers(DOCUMENT, {"8": fewer})}["D05"].why == "no delta_ce given back all"


def test_the_study_measures_all_that_is_asked_for():
    study = Study.load("dark_position")
    for claim in DOCUMENT["claims"]:
        there = variants_at(study, claim["layer"])
        assert all(study.roles.baseline in there["", l0] for l0 in claim["l0"])


@pytest.mark.parametrize("claim", [DOCUMENT["claims"][0], DOCUMENT["claims"][-1]], ids=["D01", "D05"])
def test_the_power_is_that_of_the_spread_that_is_assumed(claim):
    seeds, plays = claim["power"]["assumed"]["sd_seeds"], claim["power"]["assumed"]["sd_plays"]
    means = seeds * np.array([-1, -1, 1, 1]) * 0.75**0.5
    found = crossed(means, plays * np.array([-1, 1] * 19) * (37 / 38) ** 0.5 / 37)
    numbers = (found.se, found.high - found.estimate, found.minimum_detectable_effect())
    said = [f"{number:.3f}" if number > 0.01 else f"{number:.4f}" for number in numbers]
    assert found.df == 3 and all(number.lstrip("0") in claim["power"]["found"] for number in said), said
