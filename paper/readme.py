"""The README's claims table, written from a study's `claims.json` between two markers."""

from __future__ import annotations

import json
import re
from collections import Counter

from lens import checkout
from lens.errors import ConfigError
from paper import in_short
from paper.verdicts import WORDS

START, END = "<!-- claims:start -->", "<!-- claims:end -->"
FIGURES = "notebooks/05_figures.ipynb"  # the figures of a study that are in git


def refresh(study: str = "quick") -> None:
    """Rewrite the block between the markers of README.md from `results/<study>/claims.json`.

    Raises:
        ConfigError: the README has no markers, or the study has no claims yet.
    """
    path = checkout.root() / "README.md"
    text = path.read_text(encoding="utf-8")
    fresh = spliced(text, START, END, render(_document(study)))
    if fresh != text:
        path.write_text(fresh, encoding="utf-8")


def is_fresh() -> bool:
    """Whether the README shows what the `claims.json` of the study that it names says."""
    text = (checkout.root() / "README.md").read_text(encoding="utf-8")
    named = re.search(rf"{START}\s*Study `([\w-]+)`", text)
    return named is not None and spliced(text, START, END, render(_document(named[1]))) == text


def render(document: dict) -> str:
    """Markdown of a `claims.json`: scope, the answer in short, count of verdicts, a row per measured claim, the rest
    folded away."""
    claims = document["claims"]
    counts = Counter(claim["verdict"] for claim in claims)
    tally = ", ".join(f"{counts[word]} {word}" for word in WORDS if counts[word])
    by_method = [claim["id"] for claim in claims if claim["attributable"] == "yes"]
    due = f"Due to the method by their controls: {', '.join(by_method) or 'none'}."
    lines = [
        f"Study `{document['study']}`. {_cell(document['scope'])}",
        "",
        *(f"- {sentence}" for sentence in in_short.sentences(document)),
        "",
        f"Of {len(claims)} claims: {tally}. {due}",
        "",
        "| | claim | paper | ours [95 % interval] | verdict | due to the method? |",
        "|---|---|---|---|---|---|",
    ]
    lines += [_row(claim, document["study"]) for claim in claims if claim["status"] == "measured"]
    rest = [claim for claim in claims if claim["status"] != "measured"]
    if rest:
        lines += ["", f"<details><summary>The other {len(rest)} claims</summary>", ""]
        lines += ["| | claim | paper | verdict | reason |", "|---|---|---|---|---|"]
        lines += [_unmeasured(claim, document["study"]) for claim in rest]
        lines += ["", "</details>"]
    return "\n".join(lines)


def estimate_text(claim: dict, reading: dict | None = None) -> str:
    """A reading of a claim, by default the one that decides, as `estimate [low, high]`; empty where there is none."""
    if not (reading or claim["readings"]):
        return ""
    first = reading or claim["readings"][0]
    text = _number(first["estimate"])
    if claim["rule"]["kind"] == "tolerance":
        return f"off by {text}"
    sampled = first["low"] is not None and first["low"] != first["high"]  # a count has an interval of no width
    return f"{text} [{_number(first['low'])}, {_number(first['high'])}]" if sampled else text


def _row(claim: dict, study: str) -> str:
    cells = (claim["title"], _value(claim["paper_value"]), estimate_text(claim))
    verdict = _linked(f"**{claim['verdict']}**", claim["evidence"]["figure_file"] and FIGURES, study)
    name = _linked(claim["id"], claim["evidence"]["notebook_file"], study)
    title, paper, ours = map(_cell, cells)
    measured = _cell(claim["quantity"])
    return f"| {name} | {title}<br><sub>{measured}</sub> | {paper} | {ours} | {verdict} | {claim['attributable']} |"


def _unmeasured(claim: dict, study: str) -> str:
    name = _linked(claim["id"], claim["evidence"]["notebook_file"], study)
    verdict = _linked(claim["verdict"], claim["evidence"]["figure_file"] and FIGURES, study)
    return (
        f"| {name} | {_cell(claim['title'])} | {_value(claim['paper_value'])} | {verdict} | {_cell(claim['reason'])} |"
    )


def _linked(text: str, path: str | None, study: str) -> str:
    """Text that leads to a file of the study's results, if there is one."""
    return f"[{text}](results/{study}/{path})" if path else text


def _value(value: float | list | str | None) -> str:
    if isinstance(value, list):
        return " to ".join(map(_value, value))
    return "" if value is None else value if isinstance(value, str) else _number(value)


def _number(x: float | None) -> str:
    return "n/a" if x is None else re.sub("^-", "−", f"{x:.3g}")


def _cell(text: str) -> str:
    """Text that cannot end its table cell or become HTML."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _document(study: str) -> dict:
    path = checkout.root() / "results" / study / "claims.json"
    if not path.exists():
        raise ConfigError(f"{path} does not exist; run the pipeline of study {study!r} first")
    return json.loads(path.read_text(encoding="utf-8"))


def spliced(text: str, start: str, end: str, block: str) -> str:
    """README's text with the block between two markers replaced.

    Raises:
        ConfigError: the text lacks the markers, or has them more than once or in the wrong order.
    """
    if text.count(start) != 1 or text.count(end) != 1 or text.index(start) > text.index(end):
        raise ConfigError(f"README.md needs exactly one {start} and, after it, one {end}")
    before, _, rest = text.partition(start)
    return f"{before}{start}\n{block}\n{end}{rest.partition(end)[2]}"
