"""From a verdict back to where it comes from: claim, rule, evidence, the rows read, and the code that wrote them."""

from __future__ import annotations

import ast
import contextlib
import inspect
import json
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from lens import checkout
from lens.errors import ConfigError, suggest
from lens.study import tables
from lens.study.params import Study
from paper.claims import evidence_files
from paper.evidence.measured import Measured, Missing, Read
from paper.in_short import FIGURES, estimate_text
from paper.paper_data import ABOUT
from paper.registry import evidence_of, load_registry

ROOMS = ("lens/training", "lens/measure", "lens/profiling", "lens/study")
"""where tables are written"""


def trace(study: Study, what: str) -> str:
    """The chain behind a claim, as text; of anything else than a claim's id, behind the claims that README tells it of.

    Raises:
        ConfigError: there is no such claim, and README does not say it either.
    """
    registry = {claim["id"]: claim for claim in load_registry()}
    if what in registry:
        return "\n".join(_chain(study, registry[what]))
    readme = (checkout.root() / "README.md").read_text(encoding="utf-8").splitlines()
    said = [(i, line) for i, line in enumerate(readme, start=1) if what in line]
    if not said:
        raise ConfigError(f"{what!r} is no claim{suggest(what, registry)} and does not stand in README.md")
    lines = [f"README.md:{i}  {_around(line, what)}" for i, line in said]
    named = dict.fromkeys(name for _, line in said for name in re.findall(r"\bC\d\d[ab]?\b", line) if name in registry)
    return "\n".join([*lines, *(line for name in named for line in ("", *_chain(study, registry[name])))])


def _chain(study: Study, claim: dict) -> Iterator[str]:
    document = json.loads((study.results / "claims.json").read_text(encoding="utf-8"))
    judged = next(c for c in document["claims"] if c["id"] == claim["id"])
    yield f"{claim['id']}  {claim['title']}"
    yield from _part("the paper", f'"{claim["quote"]}" ({claim["where"]})')
    yield from _part("quantity", claim["quantity"])
    yield from _part(
        "rule", json.dumps(claim["rule"]), f"paper/claims.yaml:{_lines('paper/claims.yaml', 'id: ' + claim['id'])[0]}"
    )
    due = f"; due to the method: {judged['attributable']}" if judged["attributable"] != "not applicable" else ""
    yield from _part("verdict", f"{judged['verdict']}{due}, in study {study.name}", judged["reason"] or "")
    readings = judged["readings"] + judged["controls"]
    yield from _part("numbers", *(f"{r['name']}: {estimate_text(judged, r)}" for r in readings))
    yield from _part("evidence", _place(evidence_of(claim)))
    here = (study.results / "tables").is_dir()
    read_of = study if here else Study.load(ABOUT)
    yield from _part("read", *_rows(read_of, reads(read_of, claim)), *([] if here else _at_hand(study, "tables")))
    files = evidence_files(study, judged["evidence"])
    yield from _part("notebook", *_at_hand(study, files["notebook_file"]))
    figure = judged["evidence"]["figure"]
    yield from _part("figure", f"{figure} in {_at_hand(study, FIGURES)[0]}" if figure else "none")
    readme = (checkout.root() / "README.md").read_text(encoding="utf-8").splitlines()
    told = [f"README.md:{i}  {_around(readme[i - 1], claim['id'])}" for i in _lines("README.md", claim["id"])]
    yield from _part("told in", *told, f"paper/paper.typ:{_lines('paper/paper.typ', claim['id'])}")


def _part(name: str, *lines: str) -> Iterator[str]:
    for i, line in enumerate(filter(None, lines)):
        yield f"  {name if i == 0 else '':<10}{line}"


def reads(study: Study, claim: dict) -> list[Read]:
    """What a claim's evidence reads, found by measuring it again.

    Raises:
        ConfigError: the tables of the study are not at hand.
    """
    data = Measured.load(study)
    with contextlib.suppress(Missing):  # what was read until then is what is there
        evidence_of(claim)(data)
    return list(dict.fromkeys(data.reads))


def _rows(study: Study, found: list[Read]) -> Iterator[str]:
    """A line for each table and metric that was read: of which variants and layers, and who wrote it."""
    grouped: dict[tuple, list[Read]] = {}
    for read in found:
        grouped.setdefault((read.table, read.metric), []).append(read)
    for (table, metric), group in grouped.items():
        variants = ", ".join(dict.fromkeys(read.variant for read in group if read.variant)) or "every variant"
        layers = ", ".join(dict.fromkeys(layer for read in group for layer in read.layers))
        if not layers:
            yield from _at_hand(study, f"../{table}")
            continue
        written = "; ".join(writers(metric or table))
        yield f"{table}: {metric or 'every row'} of {variants}, layers {layers}; written by {written}".rstrip()
    for table in dict.fromkeys(read.table for read in found if read.layers):
        wanted = {f"layer_{layer}" for read in found if read.table == table for layer in read.layers}
        held = [path for path in tables.holds(study, table) if path.stem in wanted]
        yield f"table {table} in {', '.join(path.relative_to(checkout.root()).as_posix() for path in held)}"


def _at_hand(study: Study, path: str | None) -> list[str]:
    """A file of a study's results, and if it is not in this checkout, the commit that holds it."""
    if path is None:
        return ["none"]
    file = Path(os.path.normpath(study.results / path))
    name = file.relative_to(checkout.root()).as_posix()
    return [name] if file.exists() else [f"{name}, not in this checkout{_left(name)}"]


def _left(name: str) -> str:
    """How to see a result that left git: results/README.md names the commit that holds it."""
    page = checkout.root() / "results" / "README.md"
    commit = page.is_file() and re.search(r"\b[0-9a-f]{7,40}\b", page.read_text(encoding="utf-8"))
    return f": git show {commit[0]}:{name}" if commit else ""


def writers(name: str) -> list[str]:
    """Functions that name a metric or a table, in the rooms where tables are written; the most literal ones."""
    found = [(spelt, function, place) for pattern, spelt, function, place in _strings() if re.fullmatch(pattern, name)]
    best = max((spelt for spelt, _, _ in found), default=0)
    first: dict[str, str] = {}
    for spelt, function, place in found:
        if spelt == best:
            first.setdefault(function, f"{place} {function.partition(' ')[2]}")
    return list(first.values())


@cache
def _strings() -> list[tuple[str, int, str, str]]:
    """(pattern, how many of its letters are spelt out, function, file:line) of each string in a function of `ROOMS`."""
    found = []
    for path in sorted(path for room in ROOMS for path in (checkout.root() / room).glob("*.py")):
        file = path.relative_to(checkout.root()).as_posix()
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            for node in (n for n in ast.walk(function) if isinstance(n, ast.expr)):
                parts = node.values if isinstance(node, ast.JoinedStr) else [node]
                spelt = [p.value if isinstance(p, ast.Constant) and isinstance(p.value, str) else None for p in parts]
                if any(spelt):
                    pattern = "".join(r"\w+" if part is None else re.escape(part) for part in spelt)
                    letters = sum(map(len, filter(None, spelt)))
                    found.append((pattern, letters, f"{file} {function.name}", f"{file}:{node.lineno}"))
    return found


def _place(function) -> str:
    """file:line name of a function."""
    path = Path(inspect.getfile(function)).relative_to(checkout.root()).as_posix()
    return f"{path}:{inspect.getsourcelines(function)[1]} {function.__name__}"


def _around(line: str, words: str, before: int = 160, after: int = 240) -> str:
    """The part of a line where these words stand."""
    at = line.index(words)
    return ("… " if at > before else "") + line[max(0, at - before) : at + len(words) + after].strip()


def _lines(page: str, name: str) -> list[int]:
    """Lines of a page that name a claim."""
    lines = (checkout.root() / page).read_text(encoding="utf-8").splitlines()
    return [i for i, line in enumerate(lines, start=1) if re.search(rf"\b{name}\b", line)]
