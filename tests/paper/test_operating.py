"""Operating characteristics of rules, and the power of designs, on numbers of known spread."""

import numpy as np
import pytest

from benchmarks import power
from lens.measure.stats import Component, interval
from paper import operating
from paper.evidence.readings import Evidence, Reading
from paper.verdicts import Measure
from tests.paper.planted import REGISTRY

BAND = {"rule": {"kind": "band", "low": 0.11, "high": "none", "no_effect": 0}}
TRUTH = {False: 0, True: 0.15}


def evidence(se: float, df: float = 4, **measures) -> Evidence:
    return Evidence((Reading("", interval(0.1, Component(se**2, df))),), measures=measures)


def test_a_t_interval_passes_a_false_claim_in_one_of_forty_and_a_true_one_as_its_spread_allows(monkeypatch):
    monkeypatch.setattr(operating, "DRAWS", 4000)
    sharp = operating.of_claim(BAND, TRUTH, [evidence(0.01)], 5)
    assert sharp["passes_if_false"] == pytest.approx(0.025, abs=0.01) and sharp["fails_if_true"] == 0
    blunt = operating.of_claim(BAND, TRUTH, [evidence(0.1)], 5)
    assert blunt["open_if_true"] > 0.5  # the interval is 0.28 wide to either side
    layers = operating.of_claim(BAND, TRUTH, [evidence(0.01)] * 3, 5)
    assert layers["passes_if_false"] < 0.002  # it has to pass at all of them


def test_conditions_are_drawn_with_the_spread_of_their_measures_and_unknown_ones_give_no_rates():
    claim = {"rule": {"kind": "conditions", "reproduced": [{"measure": "m", "above": 1}],
                      "partly": [{"measure": "m", "above": 1}]}}  # fmt: skip
    truth = {False: {"m": 0}, True: {"m": 2}}
    rates = operating.of_claim(claim, truth, [evidence(0.1, m=Measure(1, 0.9, 1.1))], 5)
    assert rates == {"passes_if_false": 0, "fails_if_true": 0, "open_if_true": 0}
    assert operating.of_claim(claim, truth, [evidence(0.1, m=Measure(1, np.nan, np.nan))], 5) is None


def test_every_truth_is_of_a_claim_and_of_what_its_rule_reads():
    claims = {claim["id"]: claim["rule"] for claim in REGISTRY}
    for name, truth in operating.truths().items():
        rule = claims[name]
        conditions = rule["kind"] == "conditions"
        read = {c["measure"] for word in ("reproduced", "partly") for c in (rule[word] if conditions else ())}
        for value in truth.values():
            assert set(value) == read if conditions else isinstance(value, int | float), name


def test_variance_components_by_hand():
    """Seeds differ by 2, plays by 4, and nothing else: variances of 2 and 8 over two of each."""
    found = power.spread(np.array([[0.0, 4.0], [2.0, 6.0]]))
    assert found == pytest.approx((2, 8, 0))
    assert power.standard_error(found, 2, 2, folds=False) == pytest.approx(np.sqrt(2 / 2 + 8 / 2))
    assert power.standard_error(power.Spread(0, 0, 11), 1, 38, folds=True) == pytest.approx(1)  # 11 plays per seed
