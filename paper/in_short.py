"""How claims are told: numbers of a `claims.json` as text, and the answer in a few sentences.

`answer.md` holds a sentence per line, with what is filled in in braces: `{C01 %}` is the reading that decides C01 in
per cent, with its interval; `{C20 .2 name}` the reading, control or context of that name to two decimals, `{C05 .}` to
one or three figures; `{C20 layers name}` that reading at each layer in per cent; `{C05 C06 verdict}` the computed
verdicts, `{C05 C06 before}` those of the rules before an amendment. A part in double brackets is left out where a
number in it was not measured, a sentence where one of its claims was not; one about rules before an amendment stands
only where they alone could be judged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

FIGURES = "notebooks/05_figures.ipynb"  # the figures of a study that are in git
ANSWER = Path(__file__).with_name("answer.md")
_FIELD = re.compile(r"\{((?:C\d\d[ab]? )+)(%|\.2|\.|layers|verdict|before)(?: ([^}]+))?\}")


def sentences(document: dict) -> list[str]:
    """The lines of `answer.md` with the numbers of a `claims.json`, in Markdown; those whose claims were measured."""
    claims = {claim["id"]: claim for claim in document["claims"]}
    said = []
    for line in ANSWER.read_text(encoding="utf-8").splitlines():
        if all(_judged(claims.get(name, {}), found[2]) for found in _FIELD.finditer(line) for name in found[1].split()):
            kept = re.sub(r"\[\[(.*?)\]\]", lambda part: part[1] if _measured(part[1], claims) else "", line)
            said.append(_FIELD.sub(lambda found: _filled(claims, *found.groups()), kept))
    return said


def _judged(claim: dict, how: str) -> bool:
    """Whether a claim was, or, as it was before an amendment, it alone was."""
    now, before = claim.get("readings"), (claim.get("before") or {}).get("readings")
    return bool(before and not now if how == "before" else now)


def _measured(text: str, claims: Mapping[str, dict]) -> bool:
    return all("n/a" not in _filled(claims, *found.groups()) for found in _FIELD.finditer(text))


def _filled(claims: Mapping[str, dict], ids: str, how: str, name: str | None) -> str:
    found = [claims[id] for id in ids.split()]
    if how in ("verdict", "before"):
        due = {"yes": ", due to the method: yes"} | ({"no": ", due to the method: no"} if how == "before" else {})
        said = [(c["id"], c if how == "verdict" else c["before"]) for c in found]
        return "(" + "; ".join(f"{id}: {c['verdict']}{due.get(c['attributable'], '')}" for id, c in said) + ".)"
    if how == "layers":
        return _by_layer(found[0], f"{name}, layer ")
    r = _reading(found[0], name)
    if r["estimate"] is None:
        return "n/a"
    if how == "%":
        interval = f" [{short(100 * r['low'])}, {short(100 * r['high'])}]" if r["low"] is not None else ""
        return f"{short(100 * r['estimate'])} %{interval}"
    return _signed(f"{r['estimate']:.2f}") if how == ".2" else short(r["estimate"])


def _by_layer(claim: dict, name: str) -> str:
    """Readings whose names begin so and end with a layer, in per cent."""
    found = {r["name"].removeprefix(name): r["estimate"] for r in everything(claim) if r["name"].startswith(name)}
    if not found or None in found.values():
        return "n/a"
    return f"{', '.join(short(100 * x) for x in found.values())} % at layers {', '.join(found)}"


def _reading(claim: dict, name: str | None) -> dict:
    """A reading, control or number beside them by its name; without one, the reading that decides."""
    found = everything(claim)
    return found[0] if name is None else next((r for r in found if r["name"] == name), {"estimate": None})


def everything(claim: dict) -> list[dict]:
    return claim["readings"] + claim["controls"] + claim["context"]


def short(x: float) -> str:
    text = f"{x:.3g}" if abs(x) >= 10 else f"{x:.1f}"
    return _signed(text) if float(text) else "0"


def _signed(text: str) -> str:
    """A minus sign that is one, and none before zero."""
    return text.replace("-", "−" if float(text) else "")


def number(x: float | None) -> str:
    """To three figures."""
    return "n/a" if x is None else re.sub("^-", "−", f"{x:.3g}")


def estimate_text(claim: dict, reading: dict | None = None) -> str:
    """A reading of a claim, by default the one that decides, as `estimate [low, high]`; empty where there is none."""
    if not (reading or claim["readings"]):
        return ""
    r = reading or claim["readings"][0]
    if claim["rule"]["kind"] == "tolerance":
        return f"off by {number(r['estimate'])}"
    sampled = r["low"] is not None and r["low"] != r["high"]  # a count has an interval of no width
    return number(r["estimate"]) + (f" [{number(r['low'])}, {number(r['high'])}]" if sampled else "")
