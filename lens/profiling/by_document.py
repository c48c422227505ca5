"""Errors of everything that reconstructs a layer, pooled over documents and seeds, with intervals over both."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from lens.figures.forest import early_late
from lens.measure import stats
from lens.profiling.tables import INPUT

DRAWS = 2000  # bootstrap samples of the documents
FIRST = ("1", "2", "3", "1-2", "1-3", "2-3")  # buckets of the first three text positions, however they are cut
COLUMNS = ["layer", "variant", "quantity", "estimate", "low", "high"]


def by_document(blocks: pd.DataFrame) -> pd.DataFrame:
    """Rows of layer, variant, quantity, estimate, low and high (95 %, see `lens.measure.stats.interval`), of all that
    is in the table `blocks`.

    Quantities, each a ratio of sums over documents, never a mean of ratios:

    - `fvu`: squared error of text positions over the squared deviation of the input from its mean;
    - `fvu_1_3`: the same of positions 1 to 3;
    - `early_advantage`: 1 - e(early) / e(late), of the mean squared error, and of the input's own squared deviation
      (variant `activations`): what an error that follows the input would have (see `lens.figures.forest.early_late`);
    - `delta_ce`: added cross-entropy, nats per prediction, where dictionaries were spliced.

    The interval of a dictionary is over seeds and documents, that of what has no seed over documents alone.
    """
    text = blocks[blocks["bucket"] != "0"]
    found = pd.DataFrame([row for _, layer in text.groupby("layer") for row in _of_layer(layer)], columns=COLUMNS)
    if text["bucket"].nunique() < 2:
        return found  # windows too short to have early and late positions
    advantage = early_late(blocks).query("quantity == 'error'").assign(quantity="early_advantage")
    return pd.concat([found, advantage[COLUMNS]], ignore_index=True)


def _of_layer(rows: pd.DataFrame) -> Iterator[tuple]:
    spread = rows[(rows["variant"] == INPUT[0]) & (rows["metric"] == "sq_deviation")]
    for variant, own in rows[rows["metric"] == "sq_error"].groupby("variant"):
        for name, where in (("fvu", None), ("fvu_1_3", FIRST)):
            part, base = (x if where is None else x[x["bucket"].isin(where)] for x in (own, spread))
            yield own["layer"].iloc[0], variant, name, *_ratio(_sums(part, "value"), _sums(base, "value"), _seeds(own))
    for variant, own in rows[rows["metric"] == "delta_ce"].groupby("variant"):
        yield own["layer"].iloc[0], variant, "delta_ce", *_ratio(_sums(own, "value"), _sums(own, "n"), _seeds(own))


def _seeds(rows: pd.DataFrame) -> bool:
    return bool(rows["seed"].min() >= 0)


def _sums(rows: pd.DataFrame, column: str) -> np.ndarray:
    """[seeds, documents]"""
    return rows.pivot_table(index="seed", columns="block", values=column, aggfunc="sum").to_numpy(float)


def _ratio(top_SB: np.ndarray, below_SB: np.ndarray, seeds: bool) -> tuple[float, float, float]:
    """Estimate, low and high of the sum of `top` over that of `below`, mean over seeds; the latter may have one row."""
    values_S = top_SB.sum(1) / below_SB.sum(1)
    n = top_SB.shape[1]
    weights_RB = stats.block_weights(n, DRAWS, np.random.default_rng(0))
    draws_R = ((weights_RB @ top_SB.T) / (weights_RB @ below_SB.T)).mean(1)
    parts = [stats.draws_component(draws_R, n)] + [stats.seed_component(values_S)] * seeds
    found = stats.interval(values_S.mean(), *parts)
    return found.estimate, found.low, found.high
