"""`claims.json`: every claim of the paper with what a study measured and the verdict its own rule gives.

`claims.yaml` says what is claimed and by which rule it is judged, `lens.report.evidence` measures, and
`lens.measure.verdicts` judges. A claim that a study cannot judge stays in the file with the reason.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import Counter
from pathlib import Path

from ruamel.yaml import YAML, YAMLError
from statsmodels.stats.multitest import multipletests

from lens.config import ROOT, ConfigError, Study
from lens.measure import verdicts
from lens.measure.verdicts import Verdict, attribute_by_contrast, attribute_by_control, judge
from lens.report.evidence.measures import MEASURES
from lens.report.evidence.readings import SCALES, Evidence, Measured, Missing, Reading

REGISTRY = ROOT / "claims.yaml"
PAPER_MODEL, PAPER_LAYERS = "google/gemma-2-2b", (5, 12, 19)
KINDS = {"numeric", "direction", "ordinal", "existence", "tautology", "definitional", "untestable"}
RULES = {
    "band": {"low", "high", "no_effect"},
    "ceiling": {"reproduced", "partly"},
    "tolerance": {"target", "max"},
    "conditions": {"reproduced", "partly"},
}
FIELDS = {
    "id", "title", "quote", "where", "kind", "paper_value", "quantity", "unit", "readings", "design", "test",
    "family", "rule", "attribution", "prediction", "evidence",
}  # fmt: skip
SHOWN = (
    "id",
    "title",
    "quote",
    "where",
    "kind",
    "quantity",
    "unit",
    "test",
    "family",
    "rule",
)  # as registered


def build(study: Study) -> Path:
    """Judge every claim on a study's tables and write `results/<study>/claims.json`; the path written."""
    registry = load_registry()
    document = {
        "study": study.name,
        "model": study.model,
        "scope": scope(study),
        "claims_sha256": hashlib.sha256(REGISTRY.read_bytes()).hexdigest(),
        "claims": judge_all(registry, Measured.load(study), on_paper_model=is_paper_model(study)),
    }
    path = study.results / "claims.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".json.partial")
    text = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    partial.write_text(text + "\n", encoding="utf-8")
    os.replace(partial, path)
    return path


def load_registry(path: Path = REGISTRY) -> list[dict]:
    """The claims as registered, in order.

    Raises:
        ConfigError: not readable, or a claim lacks a field, repeats an id, or has an unknown kind or rule.
    """
    try:
        claims = YAML(typ="safe").load(path.read_text(encoding="utf-8"))["claims"]
    except (YAMLError, KeyError, TypeError) as error:
        raise ConfigError(f"{path.name}: expected a list `claims`: {error!r}") from None
    for claim in claims:
        where = f"{path.name}, claim {claim.get('id', '?')}"
        if wrong := sorted(FIELDS ^ set(claim)):
            raise ConfigError(f"{where}: missing or unknown fields {wrong}")
        if claim["kind"] not in KINDS:
            raise ConfigError(f"{where}: kind {claim['kind']!r} is none of {sorted(KINDS)}")
        kind = claim["rule"].get("kind")
        if kind not in RULES or not RULES[kind] <= set(claim["rule"]):
            raise ConfigError(f"{where}: rule {claim['rule']} is none of {RULES}")
    if twice := [name for name, count in Counter(claim["id"] for claim in claims).items() if count > 1]:
        raise ConfigError(f"{path.name}: claim ids {twice} stand there twice")
    return claims


def scope(study: Study) -> str:
    """What a verdict of this study is about, in one sentence."""
    layers, n = ", ".join(map(str, study.layers)), len(study.seeds)
    what = f"{study.model}, layers {layers}, windows of {study.windows.length} tokens"
    what += f", {study.training.steps} steps, {n} training seed{'s'[: n != 1]}"
    if is_paper_model(study):
        return f"The paper's model: {what}."
    random = " with random weights" if study.model.startswith("random:") else ""
    return f"A stand-in{random} for the paper's Gemma-2-2B: {what}. No verdict here is one about Gemma-2-2B."


def is_paper_model(study: Study) -> bool:
    """Whether the study runs on the paper's own model and layers."""
    return study.model == PAPER_MODEL and study.layers == PAPER_LAYERS


def judge_all(registry: list[dict], data: Measured, *, on_paper_model: bool) -> list[dict]:
    """One entry of `claims.json` per claim of the registry, in order."""
    entries = [_entry(claim, data, on_paper_model) for claim in registry]
    family = [e for e in entries if e["family"] is not None and e["p"] is not None]
    if family:
        adjusted = multipletests([e["p"] for e in family], method="holm")[1]
        for entry, p in zip(family, adjusted, strict=True):
            entry["p_holm"] = _number(p)
    return entries


def _entry(claim: dict, data: Measured, on_paper_model: bool) -> dict:
    entry = {
        **{key: _or_null(claim[key]) for key in (*SHOWN, "paper_value", "prediction")},
        "evidence": {key: _or_null(value) for key, value in claim["evidence"].items()},
        "readings": [], "controls": [], "differences": [], "context": [],
        "p": None, "p_holm": None, "minimum_detectable_effect": None,
        "attributable": "not applicable", "attributable_reason": "nothing was measured",
    }  # fmt: skip
    if claim["id"] not in MEASURES:
        entry |= {
            "status": verdicts.NOT_YET,
            "verdict": verdicts.NOT_YET,
            "reason": "no measurement is written yet",
        }
    else:
        try:
            evidence = MEASURES[claim["id"]](data)
        except Missing as missing:
            entry |= {
                "status": verdicts.NOT_IN_STUDY,
                "verdict": verdicts.NOT_IN_STUDY,
                "reason": str(missing),
            }
        else:
            entry |= _judged(claim, evidence)
    judged = entry["status"] == "measured"
    entry["verdict_on_paper_model"] = entry["verdict"] if on_paper_model or not judged else verdicts.NOT_TESTABLE
    return entry


def _judged(claim: dict, evidence: Evidence) -> dict:
    rule, first = claim["rule"], evidence.readings[0]
    verdict_of = {reading.name: _verdict(rule, reading) for reading in evidence.readings}
    verdict = _overall(claim, first, verdict_of)
    attributable, why = _attribution(claim, verdict, evidence)
    no_effect = rule.get("no_effect", "none")
    has_test = no_effect != "none" and math.isfinite(first.interval.se)
    return {
        "status": "measured",
        "verdict": verdict.word,
        "reason": verdict.why,
        "readings": [_shown(r) | {"verdict": verdict_of[r.name].word} for r in evidence.readings],
        "controls": [_shown(r) for r in evidence.controls.values()],
        "differences": [_shown(r) for r in evidence.differences.values()],
        "context": [_shown(r) for r in evidence.context],
        "p": _number(_p(first, no_effect)) if has_test else None,
        "minimum_detectable_effect": _number(first.minimum_detectable_effect(no_effect)) if has_test else None,
        "attributable": attributable,
        "attributable_reason": why,
    }


def _verdict(rule: dict, reading: Reading) -> Verdict:
    if reading.interval is None:
        return Verdict(verdicts.NOT_IN_STUDY, reading.detail)
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
        p = first.interval.equivalence_p(*sorted((forward(rule["low"]), forward(rule["high"]))))
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
    compared = evidence.differences if how["kind"] == "contrast" else evidence.controls
    for name, reading in compared.items():
        if reading.interval is None:
            return "not assessed", f"{name}: {reading.detail}"
    if how["kind"] == "contrast":
        return attribute_by_contrast({name: reading.shown[1:] for name, reading in compared.items()})
    return attribute_by_control({name: _verdict(claim["rule"], reading) for name, reading in compared.items()})


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
    return reading.interval.p_value(SCALES[reading.scale].forward(no_effect))


def _number(x: float | None) -> float | None:
    """Six significant digits; null where there is no number."""
    return None if x is None or not math.isfinite(x) else float(f"{x:.6g}")


def _or_null(value):
    return None if value == "none" else value
