"""Rules: every kind of rule gives every word it can, and attribution needs its controls."""

import numpy as np
import pytest

from lens.measure.verdicts import WORDS, Verdict, attribute_by_contrast, attribute_by_control, judge

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


def test_attribution_needs_every_control_to_fall_short():
    left = "shuffled_positions - standard"
    clear, none, unknown = (0.1, 0.2), (-0.01, 0.02), (np.nan, np.nan)
    assert attribute_by_contrast({"a - standard": clear, "a - shuffled": clear, left: none})[0] == "yes"
    assert attribute_by_contrast({"a - standard": none, "a - shuffled": clear, left: none})[0] == "no"
    assert attribute_by_contrast({"a - standard": clear, "a - shuffled": none, left: none})[0] == "no"
    assert attribute_by_contrast({"a - standard": clear, "a - shuffled": clear, left: clear})[0] == "no"
    assert attribute_by_contrast({"a - standard": clear, "a - shuffled": unknown, left: none})[0] == "not assessed"
    words = {word: Verdict(word, "") for word in WORDS}
    assert attribute_by_control({"standard": words["not reproduced"]})[0] == "yes"
    assert attribute_by_control({"standard": words["inconclusive"], "b": words["partly"]})[0] == "no"
    assert attribute_by_control({"standard": words["inconclusive"], "b": words["not reproduced"]})[0] == "not assessed"
