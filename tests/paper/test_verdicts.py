"""Rules: every kind of rule gives every word it can, and attribution needs its controls."""

import numpy as np
import pytest

from paper.verdicts import (
    OPERATORS,
    WORDS,
    Measure,
    Verdict,
    attribute_by_contrast,
    attribute_by_control,
    judge,
    judge_conditions,
)

BAND = {"kind": "band", "low": 0.11, "high": 0.19, "no_effect": 0}
SHARE = {"kind": "band", "low": 0.68, "high": 0.78, "no_effect": "none"}
OPEN = {"kind": "band", "low": 0.77, "high": "none", "no_effect": 0}
CEILING = {"kind": "ceiling", "reproduced": 0.05, "partly": 0.15}


@pytest.mark.parametrize(
    ("rule", "estimate", "low", "high", "word"),
    [
        (BAND, 0.15, 0.13, 0.17, "reproduced"),
        (BAND, 0.15, 0.01, 0.29, "reproduced"),
        (BAND, 0.11, 0.10, 0.12, "reproduced"),
        (BAND, 0.30, 0.28, 0.32, "partly"),
        (BAND, 0.05, 0.04, 0.06, "partly"),
        (BAND, 0.01, -0.02, 0.04, "not reproduced"),
        (BAND, -0.20, -0.22, -0.18, "contradicted"),
        (BAND, 0.15, -0.05, 0.35, "inconclusive"),
        (BAND, 0.02, -0.20, 0.24, "inconclusive"),
        (BAND, 0.15, np.nan, np.nan, "inconclusive"),
        (SHARE, 0.73, 0.72, 0.74, "reproduced"),
        (SHARE, 0.90, 0.89, 0.91, "not reproduced"),
        (SHARE, 0.80, 0.77, 0.83, "inconclusive"),
        (OPEN, 0.95, 0.90, 0.98, "reproduced"),
        (OPEN, 0.40, 0.30, 0.50, "partly"),
        (CEILING, 0.02, 0.01, 0.03, "reproduced"),
        (CEILING, 0.02, -0.02, 0.06, "partly"),
        (CEILING, 0.20, 0.16, 0.24, "not reproduced"),
        (CEILING, 0.10, 0.03, 0.17, "inconclusive"),
        ({"kind": "tolerance", "target": 0, "max": 1e-4}, 9e-5, np.nan, np.nan, "implemented"),
        ({"kind": "tolerance", "target": 0, "max": 1e-4}, 2e-4, np.nan, np.nan, "not reproduced"),
        ({"kind": "tolerance", "target": 0, "max": 1e-4}, np.nan, np.nan, np.nan, "not reproduced"),
    ],
)
def test_rules(rule, estimate, low, high, word):
    assert judge(rule, estimate, low, high).word == word
    assert word in WORDS


def test_a_registered_test_has_to_agree_with_the_interval():
    assert judge(OPEN, 0.9, 0.5, 0.98, p=0.01).word == "reproduced"
    assert judge(OPEN, 0.9, 0.5, 0.98, p=0.2) == Verdict(
        "inconclusive", "the interval excludes 0, the registered test does not (p = 0.2)"
    )


UNKNOWN = Measure(0.7, np.nan, np.nan)
HOLDS, FAILS, OPEN_ = "reproduced", "not reproduced", "inconclusive"


def one(condition: dict, m: Measure) -> str:
    """The verdict of a rule that asks for one condition, which says whether it holds."""
    condition = {"measure": "m", **condition}
    return judge_conditions({"reproduced": [condition], "partly": [condition]}, {"m": m}).word


@pytest.mark.parametrize(
    ("condition", "low", "high", "word"),
    [
        ({"above": 0.5}, 0.6, 0.8, HOLDS),
        ({"above": 0.5}, 0.5, 0.8, OPEN_),  # strictly above
        ({"above": 0.5}, 0.3, 0.5, FAILS),
        ({"above": 0.5}, 0.4, 0.6, OPEN_),
        ({"below": 0.5}, 0.3, 0.4, HOLDS),
        ({"below": 0.5}, 0.3, 0.5, OPEN_),
        ({"below": 0.5}, 0.5, 0.7, FAILS),
        ({"at_least": 0.5}, 0.5, 0.7, HOLDS),
        ({"at_least": 0.5}, 0.3, 0.4, FAILS),
        ({"at_least": 0.5}, 0.4, 0.5, OPEN_),
        ({"equals": 0.5}, 0.5, 0.5, HOLDS),
        ({"equals": 0.5}, 0.6, 0.6, FAILS),
        ({"equals": True}, 1, 1, HOLDS),
        ({"equals": True}, 0, 0, FAILS),
        ({"equals": False}, 0, 0, HOLDS),
        ({"in": [12, 20]}, 11, 19, HOLDS),  # the estimate decides, as in a band
        ({"in": [12, 20]}, 20.5, 22, FAILS),
        ({"in": [12, 20]}, 8, 11, FAILS),
        ({"in": [12, 20]}, 19, 29, OPEN_),
        ({"in": [12, 20]}, 3, 13, OPEN_),
    ],
)
def test_a_condition_holds_fails_or_is_open(condition, low, high, word):
    assert one(condition, Measure((low + high) / 2, low, high)) == word


@pytest.mark.parametrize("how", OPERATORS)
def test_without_an_interval_every_condition_is_open(how):
    condition = {"measure": "m", how: [0, 1] if how == "in" else 0.7}
    verdict = judge_conditions({"reproduced": [condition], "partly": [condition]}, {"m": UNKNOWN})
    assert verdict.word == "inconclusive" and "(no interval)" in verdict.why
    unknown = judge_conditions({"reproduced": [condition], "partly": [condition]}, {"m": MAYBE})
    assert unknown == Verdict("inconclusive", "m: unknown")


YES, NO, MAYBE = Measure(1, 1, 1), Measure(0, 0, 0), Measure(np.nan, np.nan, np.nan)


@pytest.mark.parametrize(
    ("a", "b", "word"),
    [
        (YES, YES, "reproduced"),
        (YES, NO, "not reproduced"),  # reproduced asks for both, partly for b
        (NO, YES, "partly"),
        (NO, NO, "not reproduced"),
        (MAYBE, YES, "partly"),  # at least that
        (MAYBE, NO, "not reproduced"),
        (NO, MAYBE, "not reproduced"),  # the claim as stated is excluded, a part of it is not shown
        (YES, MAYBE, "inconclusive"),
        (MAYBE, MAYBE, "inconclusive"),
    ],
)
def test_conditions_are_joined_with_three_values(a, b, word):
    rule = {
        "reproduced": [{"measure": "a", "equals": True}, {"measure": "b", "equals": True}],
        "partly": [{"measure": "b", "equals": True}],
    }
    assert judge_conditions(rule, {"a": a, "b": b}).word == word


def test_an_open_way_to_reproduced_is_not_closed_by_a_failed_partly():
    rule = {"reproduced": [{"measure": "rate", "at_least": 2}], "partly": [{"measure": "fvu", "above": 0}]}
    no_rise = Measure(-0.1, -0.2, -0.05)
    assert judge_conditions(rule, {"rate": Measure(2, 1, 4), "fvu": no_rise}).word == "inconclusive"
    assert judge_conditions(rule, {"rate": Measure(1, 1, 1), "fvu": no_rise}).word == "not reproduced"


def test_the_reason_names_every_measure_once_with_its_outcome():
    rule = {
        "reproduced": [{"measure": "median_span", "in": [12, 20]}, {"measure": "differs_from_nulls", "equals": True}],
        "partly": [{"measure": "differs_from_nulls", "equals": True}],
    }
    verdict = judge_conditions(rule, {"median_span": Measure(30, 28, 32), "differs_from_nulls": YES})
    assert verdict == Verdict("partly", "median span 30 [28, 32]: in [12, 20] fails; differs from nulls: yes")
    assert judge_conditions(rule, {"median_span": Measure(16, 16, 16), "differs_from_nulls": MAYBE}).why == (
        "median span 16: in [12, 20] holds; differs from nulls: unknown"
    )
    with pytest.raises(KeyError, match="differs_from_nulls"):
        judge_conditions(rule, {"median_span": YES})


CLEAR, WIDE, BELOW, NOTHING_KNOWN = (0.1, 0.2), (-0.01, 0.02), (-0.3, -0.1), (np.nan, np.nan)
SAID = {word: Verdict(word, "why") for word in WORDS}


@pytest.mark.parametrize(
    ("standard", "shuffled", "left", "answer"),
    [
        (CLEAR, CLEAR, WIDE, "yes"),
        (CLEAR, CLEAR, BELOW, "yes"),
        (CLEAR, CLEAR, None, "yes"),  # not asked
        (CLEAR, CLEAR, CLEAR, "no"),  # a part is there without position information
        (CLEAR, CLEAR, NOTHING_KNOWN, "not assessed"),
        (WIDE, CLEAR, WIDE, "not assessed"),  # too wide to tell is no "no"
        (CLEAR, WIDE, None, "not assessed"),
        (BELOW, CLEAR, WIDE, "no"),
        (CLEAR, (-0.1, 0.0), None, "no"),
        (CLEAR, NOTHING_KNOWN, WIDE, "not assessed"),
        (NOTHING_KNOWN, BELOW, WIDE, "no"),
        (WIDE, WIDE, CLEAR, "no"),
    ],
)
def test_attribution_by_contrast(standard, shuffled, left, answer):
    found, why = attribute_by_contrast({"standard": standard, "shuffled": shuffled}, {}, left)
    assert found == answer and why


def test_a_control_that_meets_the_claim_itself_decides_where_the_difference_does_not():
    met = {"standard": SAID["not reproduced"], "shuffled": SAID["partly"]}
    assert attribute_by_contrast({"standard": CLEAR, "shuffled": WIDE}, met) == ("no", "shuffled shows it too: why")
    assert attribute_by_contrast({"standard": CLEAR, "shuffled": CLEAR}, met)[0] == "yes"  # the method has more of it
    assert attribute_by_contrast({"standard": WIDE, "shuffled": CLEAR}, met)[0] == "not assessed"  # and here it has too
    unmet = {"standard": SAID["inconclusive"], "shuffled": SAID["not reproduced"]}
    answer, why = attribute_by_contrast({"standard": CLEAR, "shuffled": WIDE}, unmet)
    assert answer == "not assessed" and "method - shuffled is too wide" in why


def test_attribution_by_control_needs_every_control_to_miss_the_rule_and_to_differ():
    def by(differences, **controls):
        said = {name: SAID[word.replace("_", " ")] for name, word in controls.items()}
        return attribute_by_control(said, differences)

    assert by({"a": CLEAR}, a="not_reproduced")[0] == "yes"
    assert by({"a": BELOW, "b": CLEAR}, a="not_reproduced", b="contradicted")[0] == "yes"  # a difference has two sides
    assert by({"a": WIDE}, a="not_reproduced")[0] == "not assessed"  # misses the rule by as little as nothing
    assert by({"a": CLEAR, "b": NOTHING_KNOWN}, a="not_reproduced", b="not_reproduced")[0] == "not assessed"
    assert by({"a": CLEAR, "b": CLEAR}, a="inconclusive", b="partly") == ("no", "b shows it too: why")
    assert by({"a": CLEAR, "b": CLEAR}, a="inconclusive", b="not_reproduced")[0] == "not assessed"
