"""Reading a tidy table for a figure: select, average over seeds, and say clearly when something is missing."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from lens.figures import style
from lens.figures.plot import FigureError

ONE_SEED = "One seed, so no interval."


def pick(table: pd.DataFrame, what: str, **where) -> pd.DataFrame:
    """The rows of `table` where each column equals (or, for a list, is one of) the value asked for.

    Raises:
        FigureError: no such row; the message lists what the column does hold.
    """
    for column, wanted in where.items():
        values = list(wanted) if isinstance(wanted, list | tuple) else [wanted]
        kept = table[table[column].isin(values)]
        if kept.empty:
            there = ", ".join(map(str, sorted(table[column].unique(), key=str))) or "no rows"
            raise FigureError(f"{what}: no {column} {' or '.join(map(repr, values))} in the table; it has: {there}")
        table = kept
    return table


def main_layers(table: pd.DataFrame) -> list[str]:
    """The layers that claims are judged on, in order: those with the most seeds, the embedding aside."""
    seeds = table[table["seed"] >= 0].groupby("layer")["seed"].nunique()
    blocks = seeds[seeds.index != "embedding"]
    seeds = blocks if len(blocks) else seeds
    return style.layers_in_order(seeds.index[seeds == seeds.max()])


def over_seeds(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Mean and 95 % t interval of `value` over seeds for each group of `by`: columns mean, low, high, seeds.

    One seed gives no interval: low and high are NaN.
    """
    grouped = table.groupby(by, sort=True)["value"].agg(["mean", "std", "count"]).reset_index()
    n = grouped["count"].to_numpy()
    half = np.full(len(grouped), np.nan)
    many = n > 1
    half[many] = stats.t.ppf(0.975, n[many] - 1) * grouped["std"].to_numpy()[many] / np.sqrt(n[many])
    return grouped.assign(low=grouped["mean"] - half, high=grouped["mean"] + half, seeds=n).drop(
        columns=["std", "count"]
    )


def seeds_phrase(table: pd.DataFrame) -> str:
    """How many seeds a line stands on, and what its band is: the end of a caption."""
    n = table.groupby("variant")["seed"].nunique().max()
    if n == 1:
        return ONE_SEED
    return f"Lines are means over {n} seeds, bands are 95 % t intervals over seeds, cut at the edge of the panel."


def count(n: int) -> str:
    """A count for prose: `1,000`."""
    return f"{n:,}"


def short(value: float) -> str:
    """A number for prose, three significant digits."""
    return "n/a" if not np.isfinite(value) else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
