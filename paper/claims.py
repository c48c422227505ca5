"""`claims.json`: every claim of the paper with what a study measured and the verdict its own rule gives.

`claims.yaml` says what is claimed and by which rule it is judged, `paper.evidence` measures, and
`paper.verdicts` judges. A claim that a study cannot judge stays in the file with the reason.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lens import files
from lens.measure.stats import holm
from lens.study.params import Study
from paper import operating, verdicts
from paper.attribution import attribution, of_reading
from paper.evidence.measured import Measured, Missing
from paper.evidence.readings import SCALES, Evidence, Reading
from paper.registry import REGISTRY, as_before, evidence_of, load_registry
from paper.verdicts import Verdict, judge_conditions

PAPER_MODEL, PAPER_LAYERS = "google/gemma-2-2b", (5, 12, 19)
SIGNIFICANT = (*verdicts.FOUND, verdicts.CONTRADICTED, verdicts.WITHOUT_THE_METHOD)  # what has to be, to be said
Measure = Callable[[dict, tuple[str, ...]], Evidence]  # of a claim at layers
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
    """One entry of `claims.json` per claim of the registry, in order.

    What a claim of a family says it has found has to be significant among all claims of the study (Holm, 1979). Where
    it is found at some layers alone, each layer's verdict stands on an interval of its own, unadjusted.
    """
    measured = functools.cache(lambda function, layers: function(data.at(*layers)))
    entries = [_entry(claim, data, lambda c, layers: measured(evidence_of(c), layers)) for claim in registry]
    _adjust([e for e in entries if e["family"] is not None and e["p"] is not None])
    for entry in entries:
        judged = entry["status"] == "measured"
        entry["verdict_on_paper_model"] = entry["verdict"] if on_paper_model or not judged else verdicts.NOT_TESTABLE
    return entries


def _adjust(family: list[dict]) -> None:
    """Put the adjusted p into the entries that have one; what is not significant by it is inconclusive."""
    adjusted = holm(np.array([e["p"] for e in family])) if family else []
    for entry, p in zip(family, adjusted, strict=True):
        entry["p_holm"] = _number(p)
        said = {entry["verdict"]}
        if said == {verdicts.BY_LAYER}:
            said = {row["verdict"] for row in entry["layers"]}
        if p <= verdicts.ALPHA or not said <= set(SIGNIFICANT):
            continue
        why = f"not significant among the {len(family)} claims tested (Holm-adjusted p = {p:.2g}); by itself "
        entry |= {"verdict": verdicts.INCONCLUSIVE, "reason": f"{why}{entry['verdict']}: {entry['reason']}"}
        if entry["attributable"] != "not applicable":
            entry |= {"attributable": "not assessed", "attributable_reason": "the verdict is inconclusive"}


def _entry(claim: dict, data: Measured, measure: Measure) -> dict:
    entry = {
        **{key: _or_null(claim[key]) for key in (*SHOWN, "paper_value", "prediction")},
        "evidence": {key: _or_null(claim["evidence"][key]) for key in ("notebook", "figure", "table")},
        "needs": claim.get("needs", []), "before": None, "layers": [], "operating": None,
        "readings": [], "controls": [], "differences": [], "context": [], "measures": {},
        "p": None, "p_holm": None, "minimum_detectable_effect": None,
        "attributable": "not applicable", "attributable_reason": "nothing was measured",
    }  # fmt: skip
    if "before" in claim:
        entry["before"] = _before(claim, data, measure)
    try:
        entry |= _judged(claim, measure(claim, data.layers))
    except Missing as missing:
        return entry | _not_in_study(missing)
    each = claim.get("layers") == "each" and len(data.layers) > 1
    entry["operating"] = _operating(
        claim, data, [(layer,) for layer in data.layers] if each else [data.layers], measure
    )
    return entry | (_of_layers(claim, data, measure) if each else _without_the_method(entry))


def _operating(claim: dict, data: Measured, judged: list[tuple[str, ...]], measure: Measure) -> dict | None:
    truth = operating.truths().get(claim["id"])
    try:
        found = [measure(claim, layers) for layers in judged]
    except Missing:
        return None
    return truth and operating.of_claim(claim, truth, found, len(data.seeds))


def _not_in_study(missing: Missing) -> dict:
    return {"status": verdicts.NOT_IN_STUDY, "verdict": verdicts.NOT_IN_STUDY, "reason": str(missing)}


def _before(claim: dict, data: Measured, measure: Measure) -> dict:
    """What the rule said that an amendment replaced, on the same tables; with numbers if another function measured."""
    old = as_before(claim)
    said = {"until": str(claim["before"]["until"]), "why": claim["before"]["why"], "rule": old["rule"]}
    try:
        found = _judged(old, measure(old, data.layers))
    except Missing as missing:
        found = _not_in_study(missing) | {"attributable": "not applicable"}
    if "evidence" in claim["before"]:
        said |= {key: found.get(key, []) for key in ("readings", "controls")}
    return said | {key: found[key] for key in ("verdict", "reason", "attributable")}


def _without_the_method(found: dict) -> dict:
    """The verdict on something that is there, and in the controls as well."""
    if found["attributable"] != "no":
        return {}
    why = f"{found['verdict']}: {found['reason']}; {found['attributable_reason']}"
    return {"verdict": verdicts.WITHOUT_THE_METHOD, "reason": why}


def _of_layers(claim: dict, data: Measured, measure: Measure) -> dict:
    """What the rule says of every layer by itself, and of the claim: to hold at all of them, it has the largest p."""
    rows = []
    for layer in data.layers:
        try:
            found = _judged(claim, measure(claim, (layer,)))
        except Missing as missing:
            found = {"verdict": verdicts.INCONCLUSIVE, "reason": str(missing), "p": None}
            found |= {"attributable": "not assessed", "attributable_reason": str(missing)}
        found |= _without_the_method(found)
        first = {key: found["readings"][0][key] if "readings" in found else None for key in ("estimate", "low", "high")}
        said = ("verdict", "reason", "attributable", "attributable_reason", "p")
        rows.append({"layer": layer, **first, **{key: found[key] for key in said}})
    word, why = verdicts.over_layers({row["layer"]: Verdict(row["verdict"], row["reason"]) for row in rows})
    ps, due = [row["p"] for row in rows], {row["attributable"] for row in rows}
    answer = due.pop() if len(due) == 1 else "not assessed" if "not assessed" in due else verdicts.BY_LAYER
    by_layer = "; ".join(f"layer {row['layer']}: {row['attributable']} ({row['attributable_reason']})" for row in rows)
    return {
        "layers": rows, "verdict": word, "reason": why, "p": None if None in ps else max(ps), "attributable": answer,
        "attributable_reason": by_layer,
    }  # fmt: skip


def _judged(claim: dict, evidence: Evidence) -> dict:
    rule, first = claim["rule"], evidence.readings[0]
    verdict_of = {r.name: of_reading(rule, r) for r in evidence.readings}
    unmet = verdicts.unmet(claim.get("needs", ()), evidence.measures)
    if evidence.untestable:
        verdict = Verdict(verdicts.NOT_TESTABLE, evidence.untestable)
    elif unmet:
        verdict = unmet
    elif rule["kind"] == "conditions":
        verdict = judge_conditions(rule, evidence.measures)
    else:
        verdict = _overall(claim, first, verdict_of)
    attributable, why = attribution(claim, verdict, evidence)
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
