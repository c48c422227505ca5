"""From a verdict back to where it comes from: claim, rule, evidence, the rows read, and the code that wrote them."""

from __future__ import annotations

import ast
import contextlib
import inspect
import json
import math
import os
import pkgutil
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pandas as pd

from lens import checkout
from lens.errors import ConfigError, suggest
from lens.study import table_files
from lens.study.params import Study
from paper import across, claims_file
from paper.claims import evidence_files
from paper.evidence.measured import Measured, Missing, Read
from paper.in_short import FIGURES, estimate_text, everything, number, short
from paper.paper_data import ABOUT
from paper.readme import PAGES
from paper.registry import evidence_of, load_registry

ROOMS = ("lens/training", "lens/measure", "lens/profiling", "lens/study")
"""where tables are written"""


def trace(study: Study, what: str) -> str:
    """The chain behind a claim, as text; of a number as README or a page of tables shows it (`readme.PAGES`), behind
    the claims that it is told of.

    Raises:
        ConfigError: there is no such claim, and no page says it either, or no claim stands behind it.
    """
    registry = {claim["id"]: claim for claim in load_registry()}
    what = _normalised(what)
    if what in registry:
        return "\n".join(_chain(study, registry[what]))
    whole = re.compile(rf"(?<![\w.−-])(?<!\d,){re.escape(what)}(?!\w|[.,]\d)")
    said = list(_said(whole))
    if not said:
        parts = [name for name in registry if name[:-1] == what]
        hint = f" (did you mean {' or '.join(parts)}?)" if parts else suggest(what, registry)
        raise ConfigError(f"{what!r} is no claim{hint} and does not stand in {', '.join(PAGES.values())}")
    named = list(_told(study, [line for _, line in said], what, registry))
    beside = [text for _, line in said for text in _across_models(line, whole)]
    lines = [f"{place}  {_around(line, whole)}" for place, line in said]
    if not named and not beside:
        raise ConfigError("\n".join([f"no claim stands behind {what!r}", *lines]))
    return "\n".join([*lines, *beside, *(line for name in named for line in ("", *_chain(study, registry[name])))])


def _said(words: re.Pattern) -> Iterator[tuple[str, str]]:
    """(page:line, the line) wherever a page of results says these words."""
    for page in PAGES.values():
        for i, line in enumerate((checkout.root() / page).read_text(encoding="utf-8").splitlines(), start=1):
            if words.search(line) and "lens trace" not in line:
                yield f"{page}:{i}", line


def _normalised(what: str) -> str:
    """A claim's id or a number as pages spell it: `C20` of `c20`, `−3.5 %` of `-3.5%`."""
    if name := re.fullmatch(r"[cC](\d\d?)([abAB]?)", what):
        return f"C{name[1]:0>2}{name[2].lower()}"
    return re.sub(r"(?<=\d)\s*%", " %", re.sub(r"-(?=\d)", "−", what.strip()))


def _told(study: Study, lines: list[str], what: str, registry: dict[str, dict]) -> dict[str, None]:
    """The claims that lines name: of each line those that measured the number, or all if none of them did."""
    known = claims_file.by_id(study)
    numbers = set(re.findall(r"−?\d+(?:\.\d+)?", what))
    found: dict[str, None] = {}
    for line in lines:
        named = [name for name in re.findall(r"\bC\d\d[ab]?\b", line) if name in registry and name in known]
        own = [name for name in named if numbers and numbers <= _shown(known[name], percent="%" in what)]
        found |= dict.fromkeys(own or named)
    return found


def _shown(claim: dict, percent: bool) -> set[str]:
    """The numbers of a claim in the forms in which pages may show them."""
    values = [r[key] for r in everything(claim) for key in ("estimate", "low", "high") if r[key] is not None]
    if percent:
        return {short(100 * x) for x in values}
    return {text for x in values for text in (short(x), number(x), f"{x:.2f}".replace("-", "−"))}


def _across_models(line: str, whole: re.Pattern) -> Iterator[str]:
    """Where the cells of a row of the table across models come from."""
    row = re.match(r"\| \[`([\w-]+)`\]\([./]*results/", line)
    if not row:
        return
    quantities = list(across.READINGS)
    for i, cell in enumerate(line.strip("| ").split(" | ")[3:]):
        spans = enumerate(cell.split(", ")) if quantities[i].startswith("span") else [(0, cell)]
        for k, text in spans:
            if whole.search(text):
                claim, name = across.READINGS[quantities[i + k]]
                yield (
                    f"results/across_models.csv: {quantities[i + k]} of study {row[1]}, which is "
                    f"`{name}` of {claim} in results/{row[1]}/claims.json"
                )


def _chain(study: Study, claim: dict) -> Iterator[str]:
    found = claims_file.by_id(study).get(claim["id"])
    if found is None:
        raise ConfigError(f"{study.results / 'claims.json'} has no claim {claim['id']}: run `python -m lens claims`")
    yield f"{claim['id']}  {claim['title']}"
    yield from _part("the paper", f'"{claim["quote"]}" ({claim["where"]})')
    yield from _part("quantity", claim["quantity"])
    yield from _part(
        "rule", json.dumps(claim["rule"]), f"paper/claims.yaml:{_lines('paper/claims.yaml', 'id: ' + claim['id'])[0]}"
    )
    due = f"; due to the method: {found['attributable']}" if found["attributable"] != "not applicable" else ""
    yield from _part("verdict", f"{found['verdict']}{due}, in study {study.name}", found["reason"] or "")
    readings = found["readings"] + found["controls"]
    yield from _part("numbers", *(f"{r['name']}: {estimate_text(found, r)}" for r in readings))
    yield from _part("evidence", _place(evidence_of(claim)))
    headline = readings[0]["estimate"] if readings else None
    here = (study.results / "tables").is_dir()
    read_of = study if here else Study.load(ABOUT)
    yield from _part("read", *_rows(measured(read_of, claim), headline), *([] if here else _at_hand(study, "tables")))
    files = evidence_files(study, found["evidence"])
    yield from _part("notebook", *_at_hand(study, files["notebook_file"]))
    figure = found["evidence"]["figure"]
    yield from _part("figure", f"{figure} in {_at_hand(study, FIGURES)[0]}" if figure else "none")
    named = re.compile(rf"\b{claim['id']}\b")
    told = [f"{place}  {_around(line, named)}" for place, line in _said(named)]
    yield from _part("told in", *told, _in_paper(claim["id"]))


def _in_paper(name: str) -> str:
    lines = _lines("paper/paper.typ", name)
    return f"paper/paper.typ:{', '.join(map(str, lines))}" if lines else ""


def _part(name: str, *lines: str) -> Iterator[str]:
    for i, line in enumerate(filter(None, lines)):
        yield f"  {name if i == 0 else '':<10}{line}"


def measured(study: Study, claim: dict) -> Measured:
    """The tables with what a claim's evidence reads of them, found by measuring it again.

    Raises:
        ConfigError: the tables of the study are not at hand.
    """
    data = Measured.load(study)
    with contextlib.suppress(Missing):  # what was read until then is what is there
        evidence_of(claim)(data)
    return data


def _rows(data: Measured, headline: float | None) -> Iterator[str]:
    """Of each table and metric that was read, the one behind the verdict first: variants, layers, values of a summary
    by seed, who measured and wrote it, and the files."""
    grouped: dict[tuple, list[Read]] = {}
    for read in dict.fromkeys(data.reads):
        grouped.setdefault((read.table, read.metric), []).append(read)
    for (table, metric), group in sorted(grouped.items(), key=lambda item: not _is_headline(data, item[1], headline)):
        variants = ", ".join(dict.fromkeys(read.variant for read in group if read.variant)) or "every variant"
        layers = list(dict.fromkeys(layer for read in group for layer in read.layers))
        if not layers:
            yield from _at_hand(data.study, f"../{table}")
            continue
        written = "; ".join(writers(metric or table))
        yield f"{table}: {metric or 'every row'} of {variants}, layers {', '.join(layers)}; written by {written}"
        if by := measurers(metric or table):
            yield f"  measured by {'; '.join(by)}"
        for read in group if table == "summary" else ():
            yield from _values(data, read)
        yield f"  table {table} in {', '.join(_files(data.study, table, metric, layers))}"


def _values(data: Measured, read: Read) -> Iterator[str]:
    """A line per variant and layer with the values of the seeds and their mean."""
    if read.variant is None:
        return
    table = _summary(data, read)
    for layer in read.layers:
        rows = table[table["layer"] == layer]
        seeds = ", ".join(f"{value:.3g}" for value in rows.sort_values("seed")["value"])
        yield f"  {read.variant}, layer {layer}: {seeds}; mean {rows['value'].mean():.3g}"


def _summary(data: Measured, read: Read) -> pd.DataFrame:
    table = data.tables["summary"]
    wanted = (table["metric"] == read.metric) & (table["variant"] == read.variant) & (table["positions"] == "text")
    return table[wanted & table["layer"].isin(read.layers)]


def _is_headline(data: Measured, group: list[Read], estimate: float | None) -> bool:
    """Whether a metric of the summary is the reading behind the verdict: the mean over its layers and seeds."""
    if estimate is None or group[0].table != "summary":
        return False
    means = (_summary(data, read)["value"].mean() for read in group)
    return any(math.isclose(mean, estimate, rel_tol=1e-4) for mean in means)


def _files(study: Study, table: str, metric: str | None, layers: list[str]) -> list[str]:
    """Files that hold a metric of a table, or all of it, at these layers."""
    found = sorted((study.results / "tables").glob("*/layer_*.parquet"))
    return [
        path.relative_to(checkout.root()).as_posix()
        for path in found
        if path.stem.removeprefix("layer_") in layers
        and (held := _metrics(path, table)) is not None
        and (metric is None or metric in held)
    ]


@cache
def _metrics(path: Path, table: str) -> frozenset[str] | None:
    """The metrics of a table in a file; None where the file lacks the table."""
    held = table_files.read(path, table)
    return None if held is None else frozenset(held.get("metric", []))


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


@cache
def writers(name: str) -> list[str]:
    """Functions that name a metric or a table, in the rooms where tables are written; the most literal ones."""
    found = [(spelt, function, place) for pattern, spelt, function, place in _strings() if pattern.fullmatch(name)]
    best = max((spelt for spelt, _, _ in found), default=0)
    first: dict[str, str] = {}
    for spelt, function, place in found:
        if spelt == best:
            first.setdefault(function, f"{place} {function.partition(' ')[2]}")
    return list(first.values())


@cache
def _strings() -> list[tuple[re.Pattern[str], int, str, str]]:
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
                    pattern = re.compile("".join(r"\w+" if part is None else re.escape(part) for part in spelt))
                    letters = sum(map(len, filter(None, spelt)))
                    found.append((pattern, letters, f"{file} {function.name}", f"{file}:{node.lineno}"))
    return found


@cache
def measurers(name: str) -> list[str]:
    """Functions of `lens.measure` that the writers of a metric call: those that it is named after, or the only one."""
    found = []
    for writer in writers(name):
        place, function = writer.split()
        tree = ast.parse((checkout.root() / place.partition(":")[0]).read_text(encoding="utf-8"))
        imported = {
            alias.asname or alias.name: f"{node.module}:{alias.name}"
            for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
            and (node.module or "").startswith("lens.measure.") for alias in node.names
        }  # fmt: skip
        body = next(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == function)
        calls = [n.func.id for n in ast.walk(body) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
        called = list(dict.fromkeys(name for name in calls if name in imported))
        named = [call for call in called if call in name] or (called if len(called) == 1 else [])
        found += [pkgutil.resolve_name(imported[call]) for call in named]
    return list(dict.fromkeys(_place(function) for function in found if inspect.isfunction(function)))


def _place(function) -> str:
    """file:line name of a function."""
    function = inspect.unwrap(function)  # of a decorator
    path = Path(inspect.getfile(function)).relative_to(checkout.root()).as_posix()
    return f"{path}:{inspect.getsourcelines(function)[1]} {function.__name__}"


def _around(line: str, words: re.Pattern, before: int = 160, after: int = 240) -> str:
    """The part of a line where these words stand."""
    at, end = words.search(line).span()
    return ("… " if at > before else "") + line[max(0, at - before) : end + after].strip()


def _lines(page: str, name: str) -> list[int]:
    """Lines of a page that name a claim."""
    lines = (checkout.root() / page).read_text(encoding="utf-8").splitlines()
    return [i for i, line in enumerate(lines, start=1) if re.search(rf"\b{name}\b", line)]
