"""How much less of the input a dictionary leaves unexplained once it knows the position: the headroom, by position.

H = 1 - FVU(conditioned) / FVU(blind) at equal L0 on the same tokens, which is 1 - the ratio of their squared errors,
for what they are divided by is the same. Of a seed it is a ratio of sums over its held-out documents. What the same arm
gains when positions are permuted, in training and in the windows that it is measured on, is taken off: it is what more
parameters gain, and what the search for features gains by chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from lens.measure.at_l0 import Sums
from lens.measure.buckets import stretches
from lens.measure.stats import interval, seed_component

STARTS = (1, 4, 8, 16, 32, 64)
"""first position of each bucket, up to the next one or the end of the window"""
LATE = 16
"""first position of `late`, where the start of the window is over; `early` is from 1 up to it"""
PERMUTED = "permuted"
TEXT = "text"


def buckets(T: int) -> dict[str, slice]:
    """Buckets of text positions in windows of T by their name, such as `4-7`."""
    return stretches(T, STARTS)


def error_sums(sums: Sums, count_BT: np.ndarray, documents: Sequence[str]) -> dict:
    """What was summed [documents, T], and ordinary tokens, over each bucket, for documents with tokens, as JSON."""
    here, where = np.asarray(count_BT.sum(axis=1) > 0), buckets(count_BT.shape[1])
    by_name = {"sq_error": sums.sq_error, "active": sums.active, "n": count_BT}
    found = {
        name: [[float(row[w].sum()) for w in where.values()] for row in part[here]] for name, part in by_name.items()
    }
    return {
        "documents": [name for name, has in zip(documents, here, strict=True) if has],
        "buckets": list(where),
        **{name: [[float(f"{value:.9g}") for value in row] for row in rows] for name, rows in found.items()},
    }


def error_rows(sums: dict) -> pd.DataFrame:
    """What `error_sums` answers as rows of document, bucket, first, sq_error, active and n."""
    places = pd.MultiIndex.from_product([sums["documents"], sums["buckets"]], names=["document", "bucket"])
    values = {name: np.array(sums[name]).ravel() for name in ("sq_error", "active", "n")}
    rows = pd.DataFrame(values, index=places).reset_index()
    return rows.astype({"n": int}).assign(first=rows["bucket"].str.partition("-")[0].astype(int))


def headroom(errors: pd.DataFrame, blind: str, twins: Mapping[str, str]) -> pd.DataFrame:
    """H of each arm and seed: by bucket, and `early`, `late` and `all` together.

    Args:
        errors: rows of variant, seed, arrangement, document, bucket, first, sq_error, n. `arrangement` is `text`, or
            `permuted` where the positions of the windows that were measured on are.
        blind: variant that knows no position; it has rows of both arrangements.
        twins: of each arm, the variant that learned with permuted positions; its rows are of permuted windows.

    Returns:
        Rows of variant, seed, where, first (position; of `early`, `late` and `all`: 1, 16 and 1), gain (H before the
        twin's is taken off), twin_gain and headroom.

    Raises:
        ValueError: an arm has not the tokens of the blind variant.
    """
    whole = errors.assign(where=errors["bucket"])
    groups = [whole, whole.assign(where="all", first=1)]
    late = whole["first"] >= LATE
    groups += [whole[~late].assign(where="early", first=1), whole[late].assign(where="late", first=LATE)]
    keys = ["variant", "arrangement", "seed", "where", "first"]
    sums = pd.concat(groups).groupby(keys)[["sq_error", "n"]].sum()

    def gain(variant: str, arrangement: str) -> pd.Series:
        own, other = sums.loc[variant, arrangement], sums.loc[blind, arrangement]
        if not own["n"].equals(other["n"]):
            raise ValueError(f"{variant} and {blind} were measured on different tokens ({arrangement})")
        return 1 - own["sq_error"] / other["sq_error"]

    parts = []
    for variant, twin in twins.items():
        found = pd.DataFrame({"gain": gain(variant, TEXT), "twin_gain": gain(twin, PERMUTED)})
        parts.append(found.assign(variant=variant, headroom=found["gain"] - found["twin_gain"]).reset_index())
    columns = ["variant", "seed", "where", "first", "gain", "twin_gain", "headroom"]
    return pd.concat(parts, ignore_index=True)[columns]


def over_seeds(found: pd.DataFrame, value: str = "headroom") -> pd.DataFrame:
    """Mean and t interval over seeds of each arm and place: variant, where, first, seeds, mean, low, high, se, df.

    Each seed has held-out documents, training text, order and initial weights of its own, so that the spread over
    seeds is that of all of these. Training texts of two folds overlap, so that seeds are not quite independent and the
    interval is somewhat too narrow (Bengio and Grandvalet, 2004).
    """
    rows = []
    for (variant, where, first), part in found.groupby(["variant", "where", "first"], sort=False):
        values = part[value].to_numpy()
        i = interval(values.mean(), seed_component(values))
        rows.append((variant, where, first, len(values), i.estimate, i.low, i.high, i.se, i.df))
    return pd.DataFrame(rows, columns=["variant", "where", "first", "seeds", "mean", "low", "high", "se", "df"])


def share_of(found: pd.DataFrame, oracle: str) -> pd.DataFrame:
    """Mean and t interval over seeds of the share of the oracle's headroom that each other arm has; as `over_seeds`.

    The share of a mean is a ratio of means: sum of the arm's over sum of the oracle's, with pseudo-values of seeds left
    out. It is nan where the oracle's is not above 0.
    """
    wide = found.pivot(index=["where", "first", "seed"], columns="variant", values="headroom")
    rows = []
    for variant in wide.columns.drop(oracle):
        for (where, first), part in wide.groupby(level=["where", "first"], sort=False):
            arm, whole = part[variant].to_numpy(), part[oracle].to_numpy()
            n, share = len(arm), arm.sum() / whole.sum() if whole.sum() > 0 else np.nan
            left_out = (arm.sum() - arm) / (whole.sum() - whole)
            i = interval(share, seed_component(n * share - (n - 1) * left_out))
            rows.append((variant, where, first, n, i.estimate, i.low, i.high, i.se, i.df))
    return pd.DataFrame(rows, columns=["variant", "where", "first", "seeds", "mean", "low", "high", "se", "df"])
