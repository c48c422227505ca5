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
from lens.measure.stats import Component, Interval, interval, pseudovalues, seed_component

STARTS = (1, 4, 8, 16, 32, 64)
"""first position of each bucket, up to the next one or the end of the window"""
LATE = 16
"""first position of `late`, where the start of the window is over; `early` is from 1 up to it"""
PERMUTED = "permuted"
TEXT = "text"
WHOLE = ""
"""among names of documents: all of them"""
_COLUMNS = ["variant", "where", "first", "seeds", "documents", *Interval._fields]


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
    parts = []
    for variant, both in _gains(errors, blind, twins).items():
        found = pd.DataFrame({name: gain[WHOLE] for name, gain in both.items()})
        parts.append(found.assign(variant=variant).reset_index())
    columns = ["variant", "seed", "where", "first", "gain", "twin_gain", "headroom"]
    return pd.concat(parts, ignore_index=True)[columns]


def estimates(errors: pd.DataFrame, blind: str, twins: Mapping[str, str], value: str = "headroom") -> pd.DataFrame:
    """Mean over seeds of each arm's H at each place, with the interval of `crossed`; see `headroom`.

    Args:
        value: or `gain`, `twin_gain`.

    Returns:
        Rows of variant, where, first, seeds, documents, mean, low, high, se, df.
    """
    return _over_seeds({variant: both[value] for variant, both in _gains(errors, blind, twins).items()})


def added(errors: pd.DataFrame, before: pd.DataFrame, blind: str, twins: Mapping[str, str]) -> pd.DataFrame:
    """By how much each arm's headroom is larger in these errors than it was before; rows and intervals as `estimates`.

    Both are of the same seeds and documents, whose differences are taken.
    """
    now, then = (_gains(part, blind, twins) for part in (errors, before))
    return _over_seeds({variant: now[variant]["headroom"] - then[variant]["headroom"] for variant in twins})


def share_of(errors: pd.DataFrame, blind: str, twins: Mapping[str, str], oracle: str) -> pd.DataFrame:
    """The share of the oracle's headroom that each other arm has, with the interval of `crossed`; as `estimates`.

    The share of a mean is a ratio of means: sum of the arm's over sum of the oracle's, with pseudo-values of seeds left
    out. It is nan where the oracle's is not above 0.
    """
    gains, rows = _gains(errors, blind, twins), []
    whole = gains.pop(oracle)["headroom"]
    for variant, both in gains.items():
        for place, part in both["headroom"].groupby(level=["where", "first"], sort=False):
            of = whole.loc[part.index]
            arm, all_of_it = (values[WHOLE].to_numpy() for values in (part, of))
            share = arm.sum() / all_of_it.sum() if all_of_it.sum() > 0 else np.nan
            seeds = pseudovalues(share, (arm.sum() - arm) / (all_of_it.sum() - all_of_it))
            left_out = part.drop(columns=WHOLE).sum() / of.drop(columns=WHOLE).sum()
            found = crossed(seeds, left_out.to_numpy(), share)
            rows.append((variant, *place, *_described(part), *found))
    return pd.DataFrame(rows, columns=_COLUMNS)


def crossed(values_S: np.ndarray, left_out_D: np.ndarray, estimate: float | None = None) -> Interval:
    """Mean over seeds (or another estimate of which these are pseudo-values) and its t interval, whose variance is that
    over seeds and that over documents together.

    Every seed has held-out documents, training text, order and initial weights of its own, so that the spread over
    seeds is one of all of these, but of few values. The spread over documents, by the jackknife, is that of many: a
    document has an effect of its own, the mean over the seeds that held it out. The sum counts documents twice, and the
    degrees of freedom are those of the component that has fewer, which makes the interval too wide where effects of
    documents are all there is. What it can't see is the training text that seeds have in common, which moves all of
    them alike: two of four folds of 38 plays have 17 of 27 in common (Bengio and Grandvalet, 2004).

    How often 95 % intervals hold the truth, of four such folds (`tests/measure/test_headroom_coverage.py`; t intervals
    over seeds alone in brackets): where effects are of initial weights and order alone 95 % (95), of plays alone 99.9 %
    (93), of training text alone 65 % (65); of plays, initial weights and both together with standard deviations of 1,
    .3 and .5 99.9 % (94), and 98 % (88) with .3 for training text.

    Args:
        values_S: one for each seed.
        left_out_D: the estimate without one document, of all seeds, for each document.
    """
    estimate = float(values_S.mean()) if estimate is None else estimate
    parts = seed_component(values_S), seed_component(pseudovalues(estimate, left_out_D))
    return interval(estimate, Component(sum(part.variance for part in parts), min(part.df for part in parts)))


def _gains(errors: pd.DataFrame, blind: str, twins: Mapping[str, str]) -> dict[str, dict[str, pd.DataFrame]]:
    """Of each arm gain, twin_gain and headroom: a row for each where, first and seed; the column `WHOLE`, and one for
    each document that says what is left without it."""
    whole = errors.assign(where=errors["bucket"])
    groups = [whole, whole.assign(where="all", first=1)]
    late = whole["first"] >= LATE
    groups += [whole[~late].assign(where="early", first=1), whole[late].assign(where="late", first=LATE)]
    keys = ["variant", "arrangement", "where", "first", "seed", "document"]
    sums = pd.concat(groups).groupby(keys)[["sq_error", "n"]].sum().unstack("document", fill_value=0)

    def gain(variant: str, arrangement: str) -> pd.DataFrame:
        own, other = sums.loc[variant, arrangement], sums.loc[blind, arrangement]
        if not own["n"].equals(other["n"]):
            raise ValueError(f"{variant} and {blind} were measured on different tokens ({arrangement})")
        kept, of = (_without_each(part["sq_error"]) for part in (own, other))
        return 1 - kept / of

    found = {}
    for variant, twin in twins.items():
        both = {"gain": gain(variant, TEXT), "twin_gain": gain(twin, PERMUTED)}
        found[variant] = both | {"headroom": both["gain"] - both["twin_gain"]}
    return found


def _without_each(sums: pd.DataFrame) -> pd.DataFrame:
    """Sums over columns: of all of them, `WHOLE`, and of all but each."""
    total = sums.sum(axis=1)
    return (-sums).add(total, axis=0).assign(**{WHOLE: total})


def _over_seeds(values: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Means with the intervals of `crossed`, of frames as in `_gains`."""
    rows = []
    for variant, found in values.items():
        for place, part in found.groupby(level=["where", "first"], sort=False):
            of = crossed(part[WHOLE].to_numpy(), part.drop(columns=WHOLE).mean().to_numpy())
            rows.append((variant, *place, *_described(part), *of))
    return pd.DataFrame(rows, columns=_COLUMNS)


def _described(part: pd.DataFrame) -> tuple[int, int]:
    """Seeds, and documents, of rows of `_gains`."""
    return len(part), part.shape[1] - 1
