"""The registry `claims.yaml`: what is claimed and by which rule it is judged, locked by a digest.

`registered` holds the date and the digest of every claim's quote, value, quantity, readings, design, test and rule. A
later change of any of them needs an entry in `amendments` with a date, the claims, the reason and the digest after it.
A claim whose rule was amended keeps the old one under `before`, and is judged by both.
The digest of the claims as they stand:

    python -c 'from paper import registry; print(registry.digest(registry.read()["claims"]))'
"""

from __future__ import annotations

import datetime
import hashlib
import importlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lens import files
from lens.errors import ConfigError
from paper.verdicts import OPERATORS, OTHERWISE

REGISTRY = Path(__file__).parent / "claims.yaml"
KINDS = {"numeric", "direction", "ordinal", "existence", "tautology", "definitional", "untestable"}
RULES = {
    "band": {"low", "high", "no_effect"},
    "ceiling": {"reproduced", "partly"},
    "tolerance": {"target", "max"},
    "conditions": {"reproduced", "partly"},
}
LOCKED = (
    "id", "quote", "paper_value", "quantity", "unit", "readings", "design", "test", "family", "rule", "attribution",
    "prediction",
)  # fmt: skip
OPTIONAL = {
    "layers",  # `each`: the rule is asked of every layer by itself, and the layers' verdicts make the claim's
    "needs",  # conditions, each with the outcome `otherwise`: what has to hold for the rule to say anything
    "before",  # what a dated amendment replaced: `until`, `why`, and the fields as they were, judged beside the new
}
FIELDS = {*LOCKED, "title", "where", "kind", "evidence"}


def load_registry(path: Path = REGISTRY) -> list[dict]:
    """The claims as registered, in order.

    Raises:
        ConfigError: not readable; a claim lacks a field, repeats an id, or has an unknown kind or rule; or a claim was
            changed without an amendment.
    """
    document = read(path)
    claims = document["claims"]
    for claim in claims:
        _check_claim(claim, f"{path.name}, claim {claim.get('id', '?')}")
    if twice := [name for name, count in Counter(claim["id"] for claim in claims).items() if count > 1]:
        raise ConfigError(f"{path.name}: claim ids {twice} stand there twice")
    check(document, path.name)
    return claims


def evidence_of(claim: dict) -> Callable:
    """The function that measures a claim, from a study's tables to its readings.

    Raises:
        ConfigError: there is none of that name in `paper/evidence`.
    """
    module, _, name = claim["evidence"]["function"].partition(".")
    try:
        return getattr(importlib.import_module(f"paper.evidence.{module}"), name)
    except (ModuleNotFoundError, AttributeError):
        raise ConfigError(f"claim {claim['id']}: paper/evidence has no function {module}.{name}") from None


def read(path: Path = REGISTRY) -> dict:
    """The whole document, unchecked.

    Raises:
        ConfigError: not readable as YAML, or without a list `claims`.
    """
    document = files.read_yaml(path, "`git checkout` brings it back")
    claims = document.get("claims")
    if not isinstance(claims, list) or not all(isinstance(claim, dict) for claim in claims):
        raise ConfigError(f"{path.name}: expected a list `claims` of mappings, found {claims!r}"[:300])
    return document


def digest(claims: list[dict]) -> str:
    """sha256 of what is locked of every claim, as canonical JSON in the order of ids."""
    ordered = sorted(claims, key=lambda claim: claim["id"])
    locked = [{field: claim[field] for field in (*LOCKED, *sorted(OPTIONAL)) if field in claim} for claim in ordered]
    text = json.dumps(locked, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def check(document: dict, name: str = REGISTRY.name, digest_of: Callable[[list[dict]], str] = digest) -> None:
    """Compare the claims with the digest of the registration, or of the last amendment.

    Args:
        digest_of: digest of the claims and of whatever else is locked with them.

    Raises:
        ConfigError: they differ; an entry is incomplete or names an unknown claim; or its date lies before the previous
            one's.
    """
    registered, amendments = document.get("registered"), document.get("amendments") or []
    entries: list[tuple[str, Any, set[str]]] = [("registered", registered, {"date", "sha256"})]
    entries += [
        (f"amendment {i}", entry, {"date", "claims", "reason", "sha256"}) for i, entry in enumerate(amendments, start=1)
    ]
    ids, previous = {claim["id"] for claim in document["claims"]}, None
    for label, entry, fields in entries:
        if not isinstance(entry, dict) or set(entry) != fields or not all(entry.values()):
            raise ConfigError(f"{name}, {label}: expected {sorted(fields)}, found {entry!r}")
        date = _date(entry["date"], f"{name}, {label}")
        if previous and date < previous:
            raise ConfigError(f"{name}, {label}: its date {date} lies before the previous entry's, {previous}")
        if unknown := sorted(set(entry.get("claims", ())) - ids):
            raise ConfigError(f"{name}, {label}: no claims {unknown}")
        previous = date
    label, last, _ = entries[-1]
    if (found := digest_of(document["claims"])) != last["sha256"]:
        raise ConfigError(
            f"{name}: the claims have the digest {found}, {label} ({previous}) says {last['sha256']}. A rule does not "
            "change unseen: undo the change, or add a dated entry to `amendments` that names the claims and the "
            f"reason, with sha256: {found}"
        )


def _check_claim(claim: dict, where: str) -> None:
    if wrong := sorted(FIELDS ^ (set(claim) - OPTIONAL)):
        raise ConfigError(f"{where}: missing or unknown fields {wrong}")
    if claim["kind"] not in KINDS:
        raise ConfigError(f"{where}: kind {claim['kind']!r} is none of {sorted(KINDS)}")
    _check_rule(claim["rule"], where)
    if claim.get("layers", "each") != "each":
        raise ConfigError(f"{where}: layers: {claim['layers']!r} is not `each`; leave it out where layers are averaged")
    for need in claim.get("needs", ()):
        _check_condition({k: v for k, v in need.items() if k != "otherwise"}, where)
        if need.get("otherwise") not in OTHERWISE:
            raise ConfigError(f"{where}: need {need} has no `otherwise`, one of {', '.join(OTHERWISE)}")
    if (before := claim.get("before")) is not None:
        if not {"until", "why"} <= set(before) or not set(before) - {"until", "why"} <= {
            *LOCKED,
            *OPTIONAL,
            "evidence",
        }:
            raise ConfigError(f"{where}: before: expected `until`, `why` and the fields as they were, found {before!r}")
        _date(before["until"], f"{where}, before")
        _check_rule(as_before(claim)["rule"], f"{where}, before")


def as_before(claim: dict) -> dict:
    """An amended claim as it was until then: layers averaged and nothing needed, unless `before` says otherwise."""
    replaced = {k: v for k, v in claim["before"].items() if k not in ("until", "why")}
    kept = {k: v for k, v in claim.items() if k not in OPTIONAL}
    return {**kept, **replaced, "evidence": claim["evidence"] | replaced.get("evidence", {})}


def _check_rule(rule: dict, where: str) -> None:
    if rule.get("kind") not in RULES or not RULES[rule["kind"]] <= set(rule):
        raise ConfigError(f"{where}: rule {rule} is none of {RULES}")
    if rule["kind"] == "conditions":
        for condition in (*rule["reproduced"], *rule["partly"]):
            _check_condition(condition, where)


def _check_condition(condition: dict, where: str) -> None:
    if set(condition) - set(OPERATORS) != {"measure"} or len(condition) != 2:
        raise ConfigError(f"{where}: condition {condition} is not a `measure` and one of {', '.join(OPERATORS)}")


def _date(value: object, where: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(str(value))
    except ValueError:
        raise ConfigError(f"{where}: {value!r} is no date; write it as 2026-11-25") from None
