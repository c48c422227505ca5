"""The tables of `benchmarks.specialisation`: how often each test says "position" of each kind of planted feature."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import binomtest

from benchmarks.machine import describe
from benchmarks.planted_case import BY_TERM, FLAT, SHIFT, TUNED
from lens.measure.verdicts import MATERIAL, VERDICTS

MATERIAL_DEPTH, LEAST = 0.5, 0.5  # of features that should be found; recovered share without which none is calibrated
FIRINGS = (0, 300, 1000, 3000, np.inf)
INFORMATION = (-np.inf, 0.005, 0.01, 0.02, 0.05, np.inf)
GROUPS = ("tuned, depth >= .5", "tuned, depth < .5", "ignores position", "by the mask")

REGISTERED = Path(__file__).with_name("specialisation_registered.md")


def grouped(rows: pd.DataFrame) -> pd.Series:
    """Group of each feature: what should be said of it."""
    deep = rows["depth"] >= MATERIAL_DEPTH
    tuned = rows["truth"] == TUNED
    conditions = [tuned & deep, tuned & ~deep, rows["truth"] == FLAT, rows["truth"] == BY_TERM]
    return pd.Series(np.select(conditions, GROUPS, default=""), index=rows.index)


def wilson(called: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    found = binomtest(called, n).proportion_ci(method="wilson")
    return found.low, found.high


def rows_of(rows: pd.DataFrame, tests: list[str]) -> pd.DataFrame:
    """A row per world, kind and test: how many features there are, and how many the test calls positional."""
    seen, out = rows[rows["recovered"]], []
    keys = ["world", "kind", "truth", "depth", "persistence"]
    for key, part in seen.groupby(keys, sort=False):
        for test in tests:
            called, n = int(part[test].sum()), len(part)
            out.append((*key, test, n, called, called / n, *wilson(called, n)))
    return pd.DataFrame(out, columns=[*keys, "test", "n", "called", "share", "low", "high"])


def report(rows: pd.DataFrame, tests: list[str], command: str) -> str:
    """The whole page, as Markdown."""
    rows = rows.reset_index(drop=True)
    rows["group"] = grouped(rows)
    machine = describe(torch.get_num_threads())["processor"]
    seconds = int(rows.groupby("case")["cpu_seconds"].first().sum())
    parts = ["# What tests of position say of features whose truth is known", ""]
    parts += [
        f"`{command}`, {seconds / 60:.0f} CPU minutes ({machine}), without the passes of the language model.",
        "",
        REGISTERED.read_text(encoding="utf-8").strip(),
    ]
    parts += ["", "## What came of it", "", *_summary(rows)]
    for world, part in rows.groupby("world", sort=False):
        parts += ["", f"## {_title(str(world))}", "", *_world(part, tests)]
    parts += ["", LEGEND]
    return "\n".join(parts) + "\n"


def _summary(rows: pd.DataFrame) -> Iterable[str]:
    """The registered rule, the first one and the usual test, over all worlds that calibrate; and what is lacking."""
    recovered = rows.groupby("world")["recovered"].mean()
    seen = rows[rows["recovered"] & rows["world"].isin(recovered[recovered >= LEAST].index)]
    flat, tuned = (seen[seen["group"] == group] for group in ("ignores position", "tuned, depth >= .5"))
    for name, test in (
        ("Called specialised", "rule"),
        ("By the first rule", "first rule"),
        ("By the usual test", SHIFT),
    ):
        yield f"{name}: {_share(flat[test])} that ignore position, {_share(tuned[test])} tuned ones of depth >= .5."
        yield ""
    taking = rows[rows["recovered"] & rows["kind"].eq("flat, cross-talk")]
    if len(taking):
        missed, known = (taking[taking["source_missed"] == there] for there in (True, False))
        yield (
            "Of features that ignore position and share half of their direction with a tuned one, in all dictionaries "
            f"of real activations: {_share(missed['rule'])} where that one was not recovered, {_share(known['rule'])} "
            "where it was."
        )
        yield ""
    if lacking := [_title(world) for world in ("real", "longer", "paper") if world not in set(rows["world"])]:
        yield f"Not measured yet: {'; '.join(lacking)}. What was predicted of these is open."


def _title(world: str) -> str:
    share = world.removeprefix("synthetic ")
    if share != world:
        return f"Synthetic activations, position's own share of the variance {share}"
    names = {
        "real": "Planted in layer 8 of gemma-3-270m, BatchTopK",
        "longer": "The same, trained for 3000 steps",
        "paper": "The paper's dictionary there (ReLU, masks)",
    }
    return names[world]


def _world(rows: pd.DataFrame, tests: list[str]) -> Iterable[str]:
    recovered = rows["recovered"].mean()
    yield f"{len(rows)} planted features, {recovered:.0%} recovered."
    if recovered < LEAST:
        yield f"**Not a calibration**: less than {LEAST:.0%} were recovered, so nothing follows from what is said here."
    seen = rows[rows["recovered"]]
    yield ""
    yield from _markdown(_confusion(seen, tests))
    yield ""
    counts = pd.crosstab(seen["kind"], seen["verdict"])
    counts = counts.reindex(index=seen["kind"].unique(), columns=[v for v in VERDICTS if v in counts])
    yield from _markdown(counts)
    if rows["persistence"].nunique() > 1 and recovered >= LEAST:
        yield from _sensitivity(seen)


def _confusion(seen: pd.DataFrame, tests: list[str]) -> pd.DataFrame:
    groups = [g for g in GROUPS if (seen["group"] == g).any()]
    cells = {g: [_share(seen.loc[seen["group"] == g, test]) for test in tests] for g in groups}
    return pd.DataFrame(cells, index=pd.Index(tests, name="called positional by"))


def _share(called: pd.Series) -> str:
    if called.empty:
        return ""
    low, high = wilson(int(called.sum()), len(called))
    return f"{int(called.sum())} of {len(called)}: {called.mean():.0%} [{low:.0%}, {high:.0%}]"


def _sensitivity(seen: pd.DataFrame) -> Iterable[str]:
    """What the rule calls specialised by depth, persistence and firings."""
    firings = pd.cut(seen["firings"], FIRINGS, labels=["to 300", "to 1000", "to 3000", "more"])
    told = pd.cut(seen["information"], INFORMATION, labels=["to .005", "to .01", "to .02", "to .05", "more"])
    by = {
        "depth": seen["depth"],
        "nats per firing, in truth": told,
        "persistence": seen["persistence"],
        "firings": firings,
    }
    material = seen[seen["depth"].ge(MATERIAL_DEPTH) & seen["information"].ge(MATERIAL) | seen["truth"].eq(FLAT)]
    for name, values in by.items():
        yield ""
        part = material if name in ("persistence", "firings") else seen
        part = part[part["truth"] != BY_TERM]
        table = part.groupby([part["truth"], values.loc[part.index]], observed=True)["rule"].agg(_share).unstack(0)
        table.index.name = f"rule, by {name}" + (
            "; tuned: depth >= .5 and .01 nats" if name in ("persistence", "firings") else ""
        )
        yield from _markdown(table.fillna(""))


LEGEND = """Tests, at a false discovery rate of 5 %: the two that permute positions within windows (by a circular shift,
token by token), E1 the exchange of offsets, E3 the encoding model given the others' drive; and E2, the upper end of the
95 % interval of the others' share below half. Brackets are 95 % intervals (Wilson), over features, not dictionaries."""


def _markdown(table: pd.DataFrame) -> list[str]:
    lines = [[str(table.index.name or ""), *map(str, table.columns)], ["---"] * (len(table.columns) + 1)]
    lines += [[str(name), *map(str, row)] for name, row in zip(table.index, table.to_numpy(), strict=True)]
    return [f"| {' | '.join(line)} |" for line in lines]
