"""The two generated blocks of README.md: the claims of a study, and a few readings of all studies side by side."""

from __future__ import annotations

import re
from collections import Counter

from lens import checkout
from lens.errors import ConfigError
from lens.study.params import Study
from paper import across, claims_file, in_short
from paper.in_short import FIGURES, estimate_text, number
from paper.verdicts import WORDS

CLAIMS, MODELS = "claims", "models"
"""the blocks, each between two markers that bear its name"""


def refresh(study: Study) -> None:
    """Write `results/across_models.csv` and the blocks of README.md anew, that of the claims from one study's.

    Raises:
        ConfigError: README has no markers, or claims are missing or damaged.
    """
    table = across.collect()
    path = checkout.root() / "README.md"
    text = spliced(path.read_text(encoding="utf-8"), CLAIMS, claims_block(claims_file.read(study)))
    across.path().write_text(table.to_csv(index=False, lineterminator="\n"), encoding="utf-8")
    path.write_text(spliced(text, MODELS, across.markdown(table)), encoding="utf-8")


def stale() -> list[str]:
    """What does not show what the `claims.json` of the studies say: blocks of README, or the table across models."""
    text, table = (checkout.root() / "README.md").read_text(encoding="utf-8"), across.collect()
    named = re.search(r"<!-- claims:start -->\s*Study `([\w-]+)`", text)
    blocks = {
        MODELS: across.markdown(table),
        CLAIMS: claims_block(claims_file.read(Study.load(named[1]))) if named else "",
    }
    found = [f"README.md, {name}" for name, block in blocks.items() if spliced(text, name, block) != text]
    written = across.path().read_text(encoding="utf-8") if across.path().is_file() else ""
    return found + [across.path().name] * (written != table.to_csv(index=False, lineterminator="\n"))


def claims_block(document: dict) -> str:
    """Markdown of a `claims.json`: scope, the answer in short, count of verdicts, a row per measured claim, the rest
    folded away."""
    claims, study = document["claims"], document["study"]
    counts = Counter(claim["verdict"] for claim in claims)
    tally = ", ".join(f"{counts[word]} {word}" for word in WORDS if counts[word])
    by_method = [claim["id"] for claim in claims if claim["attributable"] == "yes"]
    rest = [claim for claim in claims if claim["status"] != "measured"]
    lines = [
        f"Study `{study}`. {_cell(document['scope'])}",
        "",
        *(f"- {sentence}" for sentence in in_short.sentences(document)),
        "",
        f"Of {len(claims)} claims: {tally}. Due to the method by their controls: {', '.join(by_method) or 'none'}.",
        "",
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
    return f"[{claim['id']}](results/{study}/{notebook})" if notebook else claim["id"]


def _verdict(claim: dict, study: str, mark: str = "") -> str:
    """The verdict, which leads to the notebook with all figures, if one of them is about the claim."""
    text = f"{mark}{claim['verdict']}{mark}"
    return f"[{text}](results/{study}/{FIGURES})" if claim["evidence"]["figure"] else text


def _value(value: float | list | str | None) -> str:
    if isinstance(value, list):
        return " to ".join(map(_value, value))
    return "" if value is None else value if isinstance(value, str) else number(value)


def _cell(text: str) -> str:
    """Text that cannot end its table cell or become HTML."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def spliced(text: str, name: str, block: str) -> str:
    """README's text with the block of that name replaced.

    Raises:
        ConfigError: the text lacks its markers, or has them more than once or in the wrong order.
    """
    start, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
    if text.count(start) != 1 or text.count(end) != 1 or text.index(start) > text.index(end):
        raise ConfigError(f"README.md needs exactly one {start} and, after it, one {end}")
    before, _, rest = text.partition(start)
    return f"{before}{start}\n{block}\n{end}{rest.partition(end)[2]}"
