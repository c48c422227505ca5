"""Whether what a claim says is due to the method: from the readings of controls and the paired differences to them."""

from __future__ import annotations

import math

from paper import verdicts
from paper.evidence.measured import METHOD
from paper.evidence.readings import Evidence, Reading
from paper.verdicts import Verdict, attribute_by_contrast, attribute_by_control, judge, judge_conditions

WITHOUT_POSITION = "shuffled_positions - standard"  # the difference that is left without position information


def attribution(claim: dict, verdict: Verdict, evidence: Evidence) -> tuple[str, str]:
    how = claim["attribution"]
    if how == "none":
        return "not applicable", "the claim is not about an advantage of the method over another"
    if verdict.word == verdicts.INCONCLUSIVE:
        return "not assessed", "the verdict is inconclusive"
    if verdict.word not in verdicts.FOUND:
        return "not applicable", f"there is nothing to attribute: {verdict.word}"
    if how["kind"] == "contrast":
        return _by_contrast(claim, evidence)
    for name in how["controls"]:
        if (reading := evidence.controls[name]).interval is None:
            return "not assessed", f"{name}: {reading.detail}"
    controls = _control_verdicts(claim, evidence)
    if unmeasured := [name for name in how["controls"] if name not in controls]:
        return "not assessed", f"{', '.join(unmeasured)}: not everything that the rule reads was measured"
    return attribute_by_control(controls, _differences(claim, evidence))


def _by_contrast(claim: dict, evidence: Evidence) -> tuple[str, str]:
    left = evidence.differences.get(WITHOUT_POSITION)
    answer, why = attribute_by_contrast(
        _differences(claim, evidence), _control_verdicts(claim, evidence), left and left.shown[1:]
    )
    unknown = [f"{name}: {r.detail}" for name, r in evidence.differences.items() if r.interval is None]
    return (answer, "; ".join(unknown)) if unknown and answer == "not assessed" else (answer, why)


def _differences(claim: dict, evidence: Evidence) -> dict[str, tuple[float, float]]:
    """Control -> interval of the paired difference to it, nan where it is unknown."""
    unknown = Reading("")
    named = {name: f"{METHOD} - {name}" for name in claim["attribution"]["controls"]}
    return {name: evidence.differences.get(key, unknown).shown[1:] for name, key in named.items()}


def _control_verdicts(claim: dict, evidence: Evidence) -> dict[str, Verdict]:
    """What the claim's own rule says of each control for which everything that it reads was measured."""
    rule, names = claim["rule"], claim["attribution"]["controls"]
    if rule["kind"] == "conditions":
        measures = evidence.control_measures
        return {name: judge_conditions(rule, measures[name]) for name in names if name in measures}
    readings = {name: evidence.controls[name] for name in names}
    return {name: of_reading(rule, reading) for name, reading in readings.items() if reading.interval is not None}


def of_reading(rule: dict, reading: Reading) -> Verdict:
    """Of one reading alone; none where the rule reads several measures at once."""
    if reading.interval is None:
        return Verdict(verdicts.NOT_IN_STUDY, reading.detail)
    if rule["kind"] == "conditions":
        return Verdict("", "")
    verdict = judge(rule, *reading.shown, p=reading.p)
    if verdict.word == verdicts.INCONCLUSIVE and math.isnan(reading.interval.se):
        return Verdict(verdict.word, reading.detail or verdict.why)
    return verdict
