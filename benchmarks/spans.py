"""What widths of features from position 16 on say of profiles that are known, beside widths of whole profiles.

    python -m benchmarks.spans [--features 50]

Features of every shape, depth and number of firings fire by `lens.measure.synthetic` in 4,096 windows, and
`lens.measure.late_spans` and the full width at half maximum of the whole window read them. Writes
`results/benchmarks/spans.md`: how many are found, bias and spread.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.machine import describe
from lens.files import write
from lens.measure import synthetic
from lens.measure.late_spans import FIRST, MATERIAL, SETS, late_spans
from lens.measure.spans import fwhm

OUT = Path("results/benchmarks/spans.md")
T, WINDOWS = 128, 4096
P = T - 1
T_ = np.arange(1, T)
SHAPES = {
    "window of 10": synthetic.bump(P, 67, 10),
    "window of 25": synthetic.bump(P, 60, 25),
    "window of 50": synthetic.bump(P, 47, 50),
    "window of 64": synthetic.bump(P, 40, 64),
    "25, off centre": synthetic.bump(P, 25, 25),
    "25, at the end": synthetic.bump(P, 103, 25),
    "two: 25 and 15": synthetic.bump(P, 30, 25) + 0.8 * synthetic.bump(P, 90, 15),
    "bell of 25": np.exp(-4 * np.log(2) * np.square((T_ - 72) / 25)),
    "ramp": synthetic.ramp(P),
    "falling start": synthetic.transient(P),
    "rising start": 1 - synthetic.transient(P),
    "slow start": synthetic.transient(P, 8),
    "flat": np.ones(P),
}
START_DEPTH = 0.9
DEPTHS, FIRINGS, PERSISTENCES = (1.0, 0.5, MATERIAL), (400, 3000, 20000), (0.0, 0.9)


def truth(shape_P: np.ndarray, depth: float) -> tuple[float, float]:
    """Depth and width from `FIRST` on; width nan where the depth is less than a hundredth."""
    rate = synthetic.rates(shape_P[:, None], np.array([depth]), np.array([0.01]))[FIRST - 1 :, 0]
    late = 1 - rate.min() / rate.max()
    above = rate >= (rate.min() + rate.max()) / 2
    runs = np.split(above, np.flatnonzero(np.diff(above)) + 1)
    peak = sum(rate.argmax() >= edge for edge in np.flatnonzero(np.diff(above)) + 1)
    return late, float(len(runs[peak])) if late >= 0.01 else np.nan


def drawn(conditions: pd.DataFrame, features: int, persistence: float, seed: int = 0) -> np.ndarray:
    """Firings [SETS, T, conditions x features], all conditions of the same texts."""
    rng, n, K = np.random.default_rng(seed), WINDOWS // SETS, len(conditions)
    shapes = np.stack([SHAPES[name] for name in conditions["shape"]], axis=1)
    rates = synthetic.rates(shapes, conditions["depth"].to_numpy(), conditions["firings"].to_numpy() / (WINDOWS * P))
    counts = np.zeros((SETS, T, K, features), np.uint16)
    for b in range(SETS):
        levels = synthetic.levels(n, P, np.full(features, persistence), rng)
        for k, rate in enumerate(rates.T):
            counts[b, 1:, k] = synthetic.fires(levels, np.repeat(rate[:, None], features, axis=1), T_).sum(0)
    return counts.reshape(SETS, T, -1)


def measured(features: int) -> pd.DataFrame:
    """One row per condition: what the estimators say, and the truth."""
    conditions = pd.DataFrame(product(SHAPES, DEPTHS, FIRINGS), columns=["shape", "depth", "firings"])
    conditions = conditions[(conditions["shape"] != "flat") | (conditions["depth"] == 1)].reset_index(drop=True)
    starts = conditions["shape"].str.endswith("start")  # at depth 1 there is no room for 20,000 firings
    conditions.loc[starts, "depth"] = conditions["depth"].clip(upper=START_DEPTH)
    parts = []
    for persistence in PERSISTENCES:
        counts = drawn(conditions, features, persistence)
        table = late_spans(counts).assign(whole=fwhm(counts[:, 1:].sum(0, dtype=float)))
        per = table.groupby(np.arange(len(table)) // features)
        parts.append(
            conditions.assign(
                persistence=persistence, found=per["material"].mean(), width=per["width"].mean(), sd=per["width"].std(),
                censored=per["censored"].sum() / per["material"].sum(), stretches=per["stretches"].mean(),
                inside=per["share_inside"].mean(), depth_read=per["depth"].mean(), depth_sd=per["depth"].std(),
                whole=per["whole"].median(),
            )
        )  # fmt: skip
    rows = pd.concat(parts, ignore_index=True)
    rows[["true_depth", "true_width"]] = [truth(SHAPES[r.shape], r.depth) for r in rows.itertuples()]
    return rows


def report(rows: pd.DataFrame, features: int) -> str:
    """The tables, as Markdown."""
    immaterial = rows["true_depth"] <= MATERIAL + 1e-9
    spans = rows["shape"].str.contains("window|25") & ~immaterial
    lines = [
        "# What spans from position 16 on say of profiles that are known",
        "",
        f"`python -m benchmarks.spans --features {features}`, {describe(1)['processor']}. {features} features of "
        f"each row in {WINDOWS:,} windows of {T} positions, {SETS} sets. Persistence is the correlation of firing at "
        "neighbouring places of the text; all rows of one are tested together, false discovery rate 5 %.",
        "",
        "- true depth, true width: from position 16 on; none for less than a hundredth",
        "- found: share of features whose modulation is called material, more than a quarter",
        "- width: of those found, mean less the true one ± standard deviation",
        "- cut: share of them whose stretch touches an end, so that the width is a lower bound",
        "- stretches above half height, share of firings inside the one with the peak: means of those found",
        "- depth: mean of what is read ± standard deviation, of all features",
        "- whole: what the full width at half maximum of the whole window says, bandwidth 3, median of all features",
        "",
        f"Called material of {features * immaterial.sum():,} features that are flat from 16 on, or modulated by a "
        f"quarter or less there: {rows.loc[immaterial, 'found'].mean():.2%}. Of windows and bells:",
        "",
        "| persistence | depth | 400 firings | 3,000 | 20,000 |",
        "| --- | --- | --- | --- | --- |",
    ]
    for (persistence, depth), part in rows[spans].groupby(["persistence", "depth"]):
        shares = " | ".join(f"{share:.0%}" for share in part.groupby("firings")["found"].mean())
        lines.append(f"| {persistence:g} | {depth:g} | {shares} |")
    for persistence, depth in product(PERSISTENCES, DEPTHS):
        depths = (depth, START_DEPTH) if depth == 1 else (depth,)
        part = rows[(rows["persistence"] == persistence) & rows["depth"].isin(depths)]
        of_starts = f" (starts: {START_DEPTH:g})" if depth == 1 else ""
        lines += ["", f"## Depth {depth:g} over the window{of_starts}, persistence {persistence:g}", "", *_table(part)]
    return "\n".join(lines) + "\n"


def _table(rows: pd.DataFrame) -> list[str]:
    head = [
        "shape",
        "true depth",
        "true width",
        "firings",
        "found",
        "width",
        "cut",
        "stretches",
        "inside",
        "depth",
        "whole",
    ]
    cells = [head, ["---"] * len(head)]
    for r in rows.itertuples():
        width = (
            f"{r.width - r.true_width:+.1f} ± {r.sd:.1f}" if np.isfinite([r.width, r.true_width, r.sd]).all() else ""
        )
        seen = [f"{r.censored:.2f}", f"{r.stretches:.2f}", f"{r.inside:.2f}"] if r.found else [""] * 3
        true = f"{r.true_width:g}" if np.isfinite(r.true_width) else "none"
        cells.append(
            [r.shape, f"{r.true_depth:.2f}", true, f"{r.firings:,}", f"{r.found:.2f}", width, *seen,
             f"{r.depth_read:.2f} ± {r.depth_sd:.2f}", f"{r.whole:g}"]
        )  # fmt: skip
    return [f"| {' | '.join(row)} |" for row in cells]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--features", type=int, default=50, help="of each shape, depth and number of firings")
    asked = parser.parse_args()
    text = report(measured(asked.features), asked.features)
    write(OUT, text.encode())
    print(text)


if __name__ == "__main__":
    main()
