"""Verdicts: rules that turn an estimate and its interval into a word. No verdict is ever typed.

Four kinds of rule, all registered in `claims.yaml`:

- `band` {low, high, no_effect}: the paper's value with its tolerance. The claim's direction is above
  `no_effect`; with `no_effect: none` only the band counts. `high: none` leaves the band open above.
  `only_another_reading` is the verdict when the first reading misses the band and another definition hits it;
  `if_positive` is the verdict of a claim that cannot fail, once its direction is found.
- `ceiling` {reproduced, partly}: a claim that something stays small; judged by the upper end of the interval.
- `tolerance` {target, max}: a property of the implementation; no sampling, so no interval.
- `conditions` {reproduced: [...], partly: [...]}: several measures, each against a threshold. A condition holds when
  the whole interval is on its side of the threshold, fails when it is on the other, and is open otherwise. A band
  (`in`) holds when the estimate lies in it, as for the rule `band`, and fails when the whole interval lies outside.

A rule says something only where what it needs is there: `inert` is the outcome where what was to be changed was not
(weights that hardly vary), `no sensitivity` where the instrument cannot tell what differs for certain (a trained
dictionary from a random one). What the controls show as well is `present without the method`. A claim that is judged at
each layer has the verdict of its layers, or `depends on the layer`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

REPRODUCED = "reproduced"
PARTLY = "partly"
NOT_REPRODUCED = "not reproduced"
CONTRADICTED = "contradicted"
INCONCLUSIVE = "inconclusive"
IMPLEMENTED = "implemented"
BY_CONSTRUCTION = "holds by construction"
UNDERSPECIFIED = "underspecified"
WITHOUT_THE_METHOD = "present without the method"
BY_LAYER = "depends on the layer"
INERT = "inert"
NO_SENSITIVITY = "no sensitivity"
NOT_IN_STUDY = "not measured in this study"
NOT_TESTABLE = "not testable here"
WORDS = (
    REPRODUCED, PARTLY, WITHOUT_THE_METHOD, BY_LAYER, NOT_REPRODUCED, CONTRADICTED, INERT, NO_SENSITIVITY, INCONCLUSIVE,
    IMPLEMENTED, BY_CONSTRUCTION, UNDERSPECIFIED, NOT_IN_STUDY, NOT_TESTABLE,
)  # fmt: skip
FOUND = (REPRODUCED, PARTLY)
OTHERWISE = (INERT, NO_SENSITIVITY)
"""outcomes of a claim whose needs are not met"""

ALPHA = 0.05
OPERATORS = ("above", "below", "at_least", "equals", "in")
"""of conditions: m > x, m < x, m >= x, m = x (true and false are 1 and 0), low <= m <= high"""

MEASURES = {
    "adjusted_rand_index": "adjusted Rand index between seeds",
    "clusters_with_jaccard_075": "groups with a Jaccard index of 0.75 or more",
    "drift_in_initial_sd": "drift of the logits over their initial spread",
    "ev_loss": "loss of explained variance",
    "ev_loss_beyond_all_ones": "loss of explained variance beyond all-ones masks",
    "fvu_difference": "difference of FVU",
    "fvu_rise": "rise of FVU",
    "fvu_rise_when_shuffled": "rise of FVU when masks are shuffled",
    "largest_weight_with_bos": "largest weight with BOS",
    "largest_weight_without_bos": "largest weight without BOS",
    "overlap_p": "p of the overlap",
    "r2_beyond_embedding_from_1": "R² beyond the embedding layer from position 1",
    "r2_beyond_embedding_from_8": "R² beyond the embedding layer from position 8",
    "regret": "rise of FVU under one schedule for all layers",
    "seed_mask_correlation": "correlation of masks between seeds",
    "share_beyond_null_from_1": "share beyond the null from position 1",
    "share_beyond_null_from_8": "share beyond the null from position 8",
    "trend_p": "p of the trend",
}
"""what the measures of rules are called where their own name, without underscores, is not plain words"""


class Measure(NamedTuple):
    """A number that a condition reads, with its 95 % interval: equal where nothing is sampled, nan where unknown."""

    estimate: float
    low: float
    high: float


class Verdict(NamedTuple):
    """A word of `WORDS` and the sentence that says why."""

    word: str
    why: str


def judge(rule: dict, estimate: float, low: float, high: float, p: float | None = None) -> Verdict:
    """Verdict of one reading under one rule.

    Args:
        rule: `kind` and its thresholds.
        estimate, low, high: the estimate and its 95 % interval; nan where nothing replicates it.
        p: where the claim registers a test beside its interval, that test's p; both must exclude the null.
    """
    if rule["kind"] == "tolerance":
        return _tolerance(estimate, rule)
    if math.isnan(low) or math.isnan(high):
        return Verdict(INCONCLUSIVE, "no interval: the estimate is not replicated")
    return _ceiling(high, low, rule) if rule["kind"] == "ceiling" else _band(estimate, low, high, p, rule)


def _tolerance(estimate: float, rule: dict) -> Verdict:
    distance = abs(estimate - rule["target"])
    if distance <= rule["max"]:
        return Verdict(IMPLEMENTED, f"within {rule['max']:g} of {rule['target']:g}")
    return Verdict(NOT_REPRODUCED, f"{distance:.3g} away from {rule['target']:g}, tolerance {rule['max']:g}")


def _ceiling(high: float, low: float, rule: dict) -> Verdict:
    if high < rule["reproduced"]:
        return Verdict(REPRODUCED, f"the whole interval is below {rule['reproduced']:g}")
    if high < rule["partly"]:
        return Verdict(PARTLY, f"the whole interval is below {rule['partly']:g} but not below {rule['reproduced']:g}")
    if low >= rule["partly"]:
        return Verdict(NOT_REPRODUCED, f"the whole interval is at or above {rule['partly']:g}")
    return Verdict(INCONCLUSIVE, f"the interval reaches both sides of {rule['partly']:g}")


def _band(estimate: float, low: float, high: float, p: float | None, rule: dict) -> Verdict:
    bottom, top, null = rule["low"], _open(rule["high"]), rule["no_effect"]
    band = f"[{bottom:g}, {top:g}]" if math.isfinite(top) else f"at least {bottom:g}"
    inside = bottom <= estimate <= top
    if null == "none":
        if inside:
            return Verdict(REPRODUCED, f"the estimate lies in the band {band}")
        if high < bottom or low > top:
            return Verdict(NOT_REPRODUCED, f"the whole interval lies outside the band {band}")
        return Verdict(INCONCLUSIVE, f"the estimate is outside the band {band}, the interval reaches into it")
    if high < null:
        return Verdict(CONTRADICTED, f"the whole interval is below {null:g}, the opposite direction")
    if low > null and p is not None and p > ALPHA:
        return Verdict(INCONCLUSIVE, f"the interval excludes {null:g}, the registered test does not (p = {p:.2g})")
    if low > null:
        if inside:
            return Verdict(REPRODUCED, f"the interval excludes {null:g} and the estimate lies in the band {band}")
        return Verdict(PARTLY, f"the interval excludes {null:g}, the estimate is outside the band {band}")
    if high < bottom:
        return Verdict(NOT_REPRODUCED, f"the interval includes {null:g} and excludes the band {band}")
    return Verdict(INCONCLUSIVE, f"the interval includes {null:g} and reaches the band {band}: too wide to tell")


def judge_conditions(rule: dict, measures: Mapping[str, Measure]) -> Verdict:
    """Verdict of a claim whose rule asks for several measures at once.

    `reproduced` or `partly` where all conditions of that list hold. Else, as for a band, `not reproduced` where the
    claim as stated is excluded (a condition of `reproduced` fails), and `inconclusive` where it is not.

    Args:
        rule: `reproduced` and `partly`, each a list of {measure, and one of OPERATORS}.
        measures: by the names that the rule uses; true and false are 1 and 0.

    Raises:
        KeyError: a measure of the rule is not there.
    """
    said: list[str] = []
    excluded = False
    for word in (REPRODUCED, PARTLY):
        results = [(condition, _holds(condition, measures[condition["measure"]])) for condition in rule[word]]
        said += [line for line in (_said(c, measures[c["measure"]], r) for c, r in results) if line not in said]
        if all(holds for _, holds in results):
            return Verdict(word, "; ".join(said))
        excluded |= word == REPRODUCED and any(holds is False for _, holds in results)
    return Verdict(NOT_REPRODUCED if excluded else INCONCLUSIVE, "; ".join(said))


def unmet(needs: Sequence[dict], measures: Mapping[str, Measure]) -> Verdict | None:
    """The outcome where something that a rule needs is not shown to be there; None: the rule can be asked.

    An interval that reaches both sides shows it as little as one on the wrong side (assay sensitivity, ICH E10 section
    1.5, has to be shown); without an interval the outcome is inconclusive.

    Args:
        needs: conditions as of `judge_conditions`, each with the outcome `otherwise`.

    Raises:
        KeyError: a measure of the needs is not there.
    """
    for need in needs:
        m = measures[need["measure"]]
        holds = _holds(need, m)
        if not holds:
            return Verdict(INCONCLUSIVE if math.isnan(m.low) else need["otherwise"], _said(need, m, holds))
    return None


def over_layers(verdicts: Mapping[str, Verdict]) -> Verdict:
    """The verdict of a claim from those of its layers: theirs if it is the same, `partly` where some layers reproduce
    the claim and the others do in part, `inconclusive` where some layers say one thing and the others cannot tell, and
    else `depends on the layer`."""
    words = {verdict.word for verdict in verdicts.values()}
    why = "; ".join(f"layer {layer}: {word} ({said})" for layer, (word, said) in verdicts.items())
    if len(words) == 1:
        return Verdict(words.pop(), why)
    if words == set(FOUND):
        return Verdict(PARTLY, why)
    return Verdict(INCONCLUSIVE if INCONCLUSIVE in words and len(words) == 2 else BY_LAYER, why)


def _holds(condition: dict, m: Measure) -> bool | None:
    """Three-valued: None where the interval is unknown or lies on both sides of the threshold."""
    if math.isnan(m.low) or math.isnan(m.high):
        return None
    how, value = _operator(condition)
    if how == "equals":
        return abs(m.estimate - float(value)) < 1e-9
    if how == "in":
        low, high = value
        if low <= m.estimate <= high:
            return True
        return False if m.high < low or m.low > high else None
    if how == "below":
        return True if m.high < value else False if m.low >= value else None
    if how == "at_least":
        return True if m.low >= value else False if m.high < value else None
    return True if m.low > value else False if m.high <= value else None


def _said(condition: dict, m: Measure, holds: bool | None) -> str:
    how, value = _operator(condition)
    name = MEASURES.get(condition["measure"], condition["measure"].replace("_", " "))
    if math.isnan(m.estimate):
        return f"{name}: unknown"
    if isinstance(value, bool):
        return f"{name}: {'yes' if m.estimate else 'no'}"
    outcome = {True: "holds", False: "fails", None: "is open"}[holds]
    wanted = f"in [{value[0]:g}, {value[1]:g}]" if how == "in" else f"{how.replace('_', ' ')} {value:g}"
    around = " (no interval)" if math.isnan(m.low) else "" if m.low == m.high else f" [{m.low:.3g}, {m.high:.3g}]"
    return f"{name} {m.estimate:.3g}{around}: {wanted} {outcome}"


def _operator(condition: dict) -> tuple[str, Any]:
    """(name, threshold) of a condition."""
    return next((how, condition[how]) for how in OPERATORS if how in condition)


def _open(high: float | str) -> float:
    return math.inf if isinstance(high, str) else high


def attribute_by_contrast(
    differences: Mapping[str, tuple[float, float]],
    controls: Mapping[str, Verdict],
    without_position: tuple[float, float] | None = None,
) -> tuple[str, str]:
    """Is an effect due to the method? From 95 % intervals of paired differences, method minus control.

    Yes, if every difference exceeds 0, and what is left without position information does not. No, if one difference is
    at or below 0, or a control that is not exceeded meets the claim's own rule, or some is left without position
    information. Otherwise the intervals are too wide to tell.

    Args:
        differences: control -> (low, high); nan where unknown.
        controls: control -> what the claim's own rule says of it, where it can be asked.
        without_position: interval of `shuffled_positions - standard`, the gain that is left when the method is trained
            without position information; None: the claim does not ask for it.
    """
    left_low = without_position[0] if without_position else -math.inf
    if all(low > 0 for low, _ in differences.values()) and left_low <= 0:
        also = ", and training on shuffled positions does not show it" if without_position else ""
        return "yes", f"exceeds {' and '.join(differences)}{also}"
    not_exceeded = {name: high for name, (low, high) in differences.items() if not low > 0}
    for name, high in not_exceeded.items():
        if high <= 0:
            return "no", f"{name} has as much of it: the difference does not exceed 0"
        if name in controls and controls[name].word in (REPRODUCED, PARTLY):
            return "no", f"{name} shows it too: {controls[name].why}"
    if left_low > 0:
        return "no", "part of it is there without position information: shuffled_positions - standard exceeds 0"
    unclear = [f"method - {name}" for name in not_exceeded] or ["shuffled_positions - standard"]
    return "not assessed", f"the interval of {' and '.join(unclear)} is too wide or unknown"


def attribute_by_control(
    controls: Mapping[str, Verdict], differences: Mapping[str, tuple[float, float]]
) -> tuple[str, str]:
    """Is a value particular to the method? No, if a control meets the claim's own rule as well; yes, if none does and
    the value differs from every control's.

    Args:
        controls: control -> what the claim's own rule says of it.
        differences: control -> 95 % interval of the paired difference, method minus control; nan where unknown.
    """
    for name, verdict in controls.items():
        if verdict.word in (REPRODUCED, PARTLY):
            return "no", f"{name} shows it too: {verdict.why}"
    for name, verdict in controls.items():
        if verdict.word not in (NOT_REPRODUCED, CONTRADICTED):
            return "not assessed", f"{name}: {verdict.why}"
    for name in controls:
        low, high = differences[name]
        if math.isnan(low) or math.isnan(high):
            return "not assessed", f"{name}: the paired difference has no interval"
        if low <= 0 <= high:
            return "not assessed", f"{name}: misses the rule, but the paired difference does not exclude 0"
    return "yes", f"not shown by {' or '.join(controls)}"
