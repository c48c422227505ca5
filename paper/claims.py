"""`claims.json`: every claim of the paper with what a study measured and the verdict its own rule gives.

`claims.yaml` says what is claimed and by which rule it is judged, `paper.evidence` measures, and
`paper.verdicts` judges. A claim that a study cannot judge stays in the file with the reason.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import numpy as np

from lens import files
from lens.measure.stats import holm
from lens.study.params import Study
from paper import verdicts
from paper.evidence.measured import METHOD, Measured, Missing
from paper.evidence.readings import SCALES, Evidence, Reading
from paper.registry import REGISTRY, evidence_of, load_registry
from paper.verdicts import Verdict, attribute_by_contrast, attribute_by_control, judge, judge_conditions

PAPER_MODEL, PAPER_LAYERS = "google/gemma-2-2b", (5, 12, 19)
WITHOUT_POSITION = "shuffled_positions - standard"  # the difference that is left without position information
SHOWN = ("id", "title", "quote", "where", "kind", "quantity", "unit", "test", "family", "rule")  # as registered


def build(study: Study) -> Path:
    """Judge every claim on a study's tables and write `results/<study>/claims.json`; the path written."""
    registry = load_registry()
    claims = judge_all(registry, Measured.load(study), on_paper_model=is_paper_model(study))
    for claim in claims:
        claim["evidence"] |= evidence_files(study, claim["evidence"])
    document = {
        "study": study.name,
        "model": study.model,
        "scope": scope(study),
        "claims_sha256": hashlib.sha256(REGISTRY.read_bytes()).hexdigest(),
        "claims": claims,
    }
    path = study.results / "claims.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(files.with_digest(document), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    files.write(path, f"{text}\n".encode())
    return path


def evidence_files(study: Study, evidence: dict) -> dict[str, str | None]:
    """Where a claim's executed notebook and figure lie in the results of a study; of a notebook per layer, the middle
    main layer's, or the first one's with ablations."""
    notebook, figure = evidence["notebook"], evidence["figure"]
    if notebook in ("02_train", "04_analysis"):
        notebook = f"{notebook}_layer_{study.main[len(study.main) // 2]}"
    if notebook == "03_ablations":
        notebook = f"{notebook}_layer_{study.ablations.layers[0]}" if study.ablations.layers else None
    return {
        "notebook_file": notebook and f"notebooks/{notebook}.ipynb",
        "figure_file": figure and f"figures/{figure}.png",
    }


def scope(study: Study) -> str:
    """What a verdict of this study is about, in one sentence."""
    layers, n = ", ".join(map(str, study.main)), len(study.seeds)
    what = f"{study.model}, layers {layers}, windows of {study.windows.length} tokens"
    what += f", {study.training.steps} steps, {n} training seed{'s'[: n != 1]}"
    if is_paper_model(study):
        return f"The paper's model: {what}."
    random = " with random weights" if study.model.startswith("random:") else ""
    return f"A stand-in{random} for the paper's Gemma-2-2B: {what}. No verdict here is one about Gemma-2-2B."


def is_paper_model(study: Study) -> bool:
    """Whether the study runs on the paper's own model and layers."""
    return study.model == PAPER_MODEL and study.main == PAPER_LAYERS


def judge_all(registry: list[dict], data: Measured, *, on_paper_model: bool) -> list[dict]:
    """One entry of `claims.json` per claim of the registry, in order."""
    entries = [_entry(claim, data, on_paper_model) for claim in registry]
    family = [e for e in entries if e["family"] is not None and e["p"] is not None]
    if family:
        adjusted = holm(np.array([e["p"] for e in family]))
        for entry, p in zip(family, adjusted, strict=True):
            entry["p_holm"] = _number(p)
    return entries


def _entry(claim: dict, data: Measured, on_paper_model: bool) -> dict:
    entry = {
        **{key: _or_null(claim[key]) for key in (*SHOWN, "paper_value", "prediction")},
        "evidence": {key: _or_null(claim["evidence"][key]) for key in ("notebook", "figure", "table")},
        "readings": [], "controls": [], "differences": [], "context": [], "measures": {},
        "p": None, "p_holm": None, "minimum_detectable_effect": None,
        "attributable": "not applicable", "attributable_reason": "nothing was measured",
    }  # fmt: skip
    try:
        evidence = evidence_of(claim)(data)
        entry |= _judged(claim, evidence)
    except Missing as missing:
        entry |= {"status": verdicts.NOT_IN_STUDY, "verdict": verdicts.NOT_IN_STUDY, "reason": str(missing)}
    judged = entry["status"] == "measured"
    entry["verdict_on_paper_model"] = entry["verdict"] if on_paper_model or not judged else verdicts.NOT_TESTABLE
    return entry


def _judged(claim: dict, evidence: Evidence) -> dict:
    rule, first = claim["rule"], evidence.readings[0]
    verdict_of = {r.name: _verdict(rule, r) for r in evidence.readings}
    if evidence.untestable:
        verdict = Verdict(verdicts.NOT_TESTABLE, evidence.untestable)
    elif rule["kind"] == "conditions":
        verdict = judge_conditions(rule, evidence.measures)
    else:
        verdict = _overall(claim, first, verdict_of)
    attributable, why = _attribution(claim, verdict, evidence)
    no_effect = rule.get("no_effect", "none") if evidence.null is None else evidence.null
    has_test = no_effect != "none" and first.interval is not None and math.isfinite(first.interval.se)
    null = float(no_effect) if has_test else math.nan
    return {
        "status": verdicts.NOT_TESTABLE if evidence.untestable else "measured",
        "verdict": verdict.word,
        "reason": verdict.why,
        "readings": [_shown(r) | {"verdict": verdict_of[r.name].word} for r in evidence.readings],
        "controls": [_shown(r) for r in evidence.controls.values()],
        "differences": [_shown(r) for r in evidence.differences.values()],
        "context": [_shown(r) for r in evidence.context],
        "measures": {name: {k: _number(v) for k, v in m._asdict().items()} for name, m in evidence.measures.items()},
        "p": _number(_p(first, null)) if has_test else None,
        "minimum_detectable_effect": _number(first.minimum_detectable_effect(null)) if has_test else None,
        "attributable": attributable,
        "attributable_reason": why,
    }


def _verdict(rule: dict, reading: Reading) -> Verdict:
    """Of one reading alone; none where the rule reads several measures at once."""
    if reading.interval is None:
        return Verdict(verdicts.NOT_IN_STUDY, reading.detail)
    if rule["kind"] == "conditions":
        return Verdict("", "")
    verdict = judge(rule, *reading.shown, p=reading.p)
    if verdict.word == verdicts.INCONCLUSIVE and math.isnan(reading.interval.se):
        return Verdict(verdict.word, reading.detail or verdict.why)
    return verdict


def _overall(claim: dict, first: Reading, verdict_of: dict[str, Verdict]) -> Verdict:
    """The first reading's verdict, unless the rule gives the outcome another name; names what differs."""
    rule, (word, why) = claim["rule"], verdict_of[first.name]
    others = {name: verdict_of[name].word for name in claim["readings"][1:] if verdict_of[name].word != word}
    if word == verdicts.REPRODUCED and rule["kind"] == "band" and rule["high"] != "none":
        forward = SCALES[first.scale].forward
        p = first.known.equivalence_p(*sorted((forward(rule["low"]), forward(rule["high"]))))
        why += f"; equivalence to the band is {'' if p <= verdicts.ALPHA else 'not '}shown (TOST p = {p:.2g})"
    if "if_positive" in rule and word in (verdicts.REPRODUCED, verdicts.PARTLY):
        word, why = rule["if_positive"], f"true by definition of the weights, whatever the data; {why}"
    if "only_another_reading" in rule and word != verdicts.REPRODUCED:
        hits = [name for name in others if others[name] == verdicts.REPRODUCED]
        if hits:
            why = f"only {', '.join(hits)} lies in the band; {first.name}: {why}"
            word = rule["only_another_reading"]
    if others:
        why += "; other readings: " + ", ".join(f"{name}: {other}" for name, other in others.items())
    return Verdict(word, why)


def _attribution(claim: dict, verdict: Verdict, evidence: Evidence) -> tuple[str, str]:
    how = claim["attribution"]
    if how == "none":
        return "not applicable", "the claim is not about an advantage of the method over another"
    if verdict.word == verdicts.INCONCLUSIVE:
        return "not assessed", "the verdict is inconclusive"
    if verdict.word not in (verdicts.REPRODUCED, verdicts.PARTLY):
        return "not applicable", f"there is nothing to attribute: {verdict.word}"
    if how["kind"] == "contrast":
        return _by_contrast(claim, evidence)
    for name, reading in evidence.controls.items():
        if reading.interval is None:
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
    return {name: _verdict(rule, reading) for name, reading in readings.items() if reading.interval is not None}


def _shown(reading: Reading) -> dict:
    estimate, low, high = (_number(x) for x in reading.shown)
    return {
        "name": reading.name, "estimate": estimate, "low": low, "high": high, "n_seeds": reading.n_seeds,
        "n_blocks": reading.n_blocks, "p": _number(reading.p), "detail": reading.detail,
    }  # fmt: skip


def _p(reading: Reading, no_effect: float) -> float:
    """The registered test's p, or that of the interval's own t test."""
    if reading.p is not None:
        return reading.p
    return reading.known.p_value(SCALES[reading.scale].forward(no_effect))


def _number(x: float | None) -> float | None:
    """Six significant digits; null where there is no number."""
    return None if x is None or not math.isfinite(x) else float(f"{x:.6g}")


def _or_null(value):
    return None if value == "none" else value
