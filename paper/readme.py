"""The generated blocks of README.md and docs/results: the answer in short, the claims, all studies side by side."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pandas as pd

from lens import checkout, files
from lens.errors import ConfigError
from lens.study.params import Study
from paper import across, claims_file, in_short
from paper.across import UP
from paper.in_short import FIGURES, estimate_text, number
from paper.verdicts import WORDS

PAGES = {"answer": "README.md", "claims": "docs/results/claims.md", "models": "docs/results/models.md"}
"""block -> the page that holds it between two markers that bear its name"""


def refresh(study: Study) -> None:
    """Write `results/across_models.csv` and the blocks of `PAGES` anew, those of answer and claims from one study's.

    Raises:
        ConfigError: a page has no markers, or claims are missing or damaged.
    """
    table = across.collect()
    written = {path(name): spliced(name, block) for name, block in _blocks(study, table).items()}
    files.write(across.path(), table.to_csv(index=False, lineterminator="\n").encode())
    for page, text in written.items():
        files.write(page, text.encode())


def stale() -> list[str]:
    """What does not show what the `claims.json` of the studies say: blocks of pages, or the table across models."""
    table = across.collect()
    named = re.search(r"<!-- answer:start -->\s*Study `([\w-]+)`", path("answer").read_text(encoding="utf-8"))
    blocks = _blocks(Study.load(named[1]), table) if named else dict.fromkeys(PAGES, "")
    found = [
        f"{PAGES[name]}, {name}"
        for name, block in blocks.items()
        if spliced(name, block) != path(name).read_text(encoding="utf-8")
    ]
    written = across.path().read_text(encoding="utf-8") if across.path().is_file() else ""
    return found + [across.path().name] * (written != table.to_csv(index=False, lineterminator="\n"))


def path(name: str) -> Path:
    """The page of a block."""
    return checkout.root() / PAGES[name]


def _blocks(study: Study, table: pd.DataFrame) -> dict[str, str]:
    document = claims_file.read(study)
    blocks = {"answer": answer_block(document), "claims": claims_block(document), "models": across.markdown(table)}
    assert blocks.keys() == PAGES.keys()
    return blocks


def answer_block(document: dict) -> str:
    """Markdown of a `claims.json` in short: scope, a sentence for each of its answers, count of verdicts."""
    claims = document["claims"]
    counts = Counter(claim["verdict"] for claim in claims)
    tally = ", ".join(f"{counts[word]} {word}" for word in WORDS if counts[word])
    by_method = [claim["id"] for claim in claims if claim["attributable"] == "yes"]
    lines = [
        f"Study `{document['study']}`. {_cell(document['scope'])}",
        "",
        *(f"- {sentence}" for sentence in in_short.sentences(document)),
        "",
        f"Of {len(claims)} claims: {tally}. Due to the method by their controls: {', '.join(by_method) or 'none'}.",
    ]
    return "\n".join(lines)


def claims_block(document: dict) -> str:
    """Markdown of a `claims.json`: a row per measured claim, the rest folded away."""
    claims, study = document["claims"], document["study"]
    rest = [claim for claim in claims if claim["status"] != "measured"]
    lines = [
        "| | claim | paper | ours [95 % interval] | verdict | due to the method? |",
        "|---|---|---|---|---|---|",
        *(_row(claim, study) for claim in claims if claim["status"] == "measured"),
    ]
    if rest:
        lines += ["", f"<details><summary>The other {len(rest)} claims</summary>", ""]
        lines += ["| | claim | paper | verdict | reason |", "|---|---|---|---|---|"]
        lines += [_unmeasured(claim, study) for claim in rest]
        lines += ["", "</details>"]
    return "\n".join(lines)


def _row(claim: dict, study: str) -> str:
    measured = f"{_cell(claim['title'])}<br><sub>{_cell(claim['quantity'])}</sub>"
    ours = _cell(estimate_text(claim))
    verdict = _verdict(claim, study, "**")
    return (
        f"| {_id(claim, study)} | {measured} | {_value(claim['paper_value'])} | {ours} | {verdict} | "
        f"{claim['attributable']} |"
    )


def _unmeasured(claim: dict, study: str) -> str:
    title, reason = _cell(claim["title"]), _cell(claim["reason"])
    verdict = _verdict(claim, study)
    return f"| {_id(claim, study)} | {title} | {_value(claim['paper_value'])} | {verdict} | {reason} |"


def _id(claim: dict, study: str) -> str:
    """The id, which leads to the executed notebook behind the claim, if there is one."""
    notebook = claim["evidence"]["notebook_file"]
    return f"[{claim['id']}]({UP}results/{study}/{notebook})" if notebook else claim["id"]


def _verdict(claim: dict, study: str, mark: str = "") -> str:
    """The verdict, which leads to the notebook with all figures, if one of them is about the claim."""
    text = f"{mark}{claim['verdict']}{mark}"
    return f"[{text}]({UP}results/{study}/{FIGURES})" if claim["evidence"]["figure"] else text


def _value(value: float | list | str | None) -> str:
    if isinstance(value, list):
        return " to ".join(map(_value, value))
    return "" if value is None else value if isinstance(value, str) else number(value)


def _cell(text: str) -> str:
    """Text that cannot end its table cell or become HTML."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def spliced(name: str, block: str) -> str:
    """The text of a block's page with the block replaced.

    Raises:
        ConfigError: the page lacks its markers, or has them more than once or in the wrong order.
    """
    text = path(name).read_text(encoding="utf-8")
    start, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
    if text.count(start) != 1 or text.count(end) != 1 or text.index(start) > text.index(end):
        raise ConfigError(f"{PAGES[name]} needs exactly one {start} and, after it, one {end}")
    before, _, rest = text.partition(start)
    return f"{before}{start}\n{block}\n{end}{rest.partition(end)[2]}"
