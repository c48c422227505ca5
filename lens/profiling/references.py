"""What a mean and principal components explain of one layer, as rows beside those of its dictionaries."""

from __future__ import annotations

import pandas as pd
import torch

from lens.measure.linear import Linear, position_mean, principal_components
from lens.measure.reconstruction import by_block, squared_errors
from lens.profiling.layer_data import LayerData
from lens.profiling.reconstruction import SQUARED, block_rows
from lens.profiling.tables import BLOCKS, INPUT, SUMMARY, Tables

MEAN, POSITION_MEAN, OF_L0, OF_64 = "mean", "position_mean", "pca_l0", "pca_64"
RANK = 64
SEED = -1  # nothing is drawn


def reference_tables(data: LayerData, measured: Tables, baseline: str | None) -> Tables:
    """Rows of `summary` and `blocks` for four reconstructions that are fitted on training windows and hold no features.

    `mean` (of the text positions), `position_mean`, `pca_64` and `pca_l0`, whose rank is the L0 of the baseline,
    rounded. A rank of d or more would rebuild everything, and is left out.

    Args:
        measured: tables of the dictionaries of the layer: the input's own deviation and the L0 of `baseline`.
        baseline: None: there is no `pca_l0`.
    """
    test, documents = data.test, list(data.test.documents)
    count = by_block(torch.ones(test.tokens.shape), test.document, len(documents))
    rows, summary, deviation = [], [], _deviation(measured["blocks"])
    for name, fitted in _fitted(data, _l0(measured["summary"], baseline)).items():
        error = squared_errors(fitted, test.activations, test.document, len(documents), data.scale)
        rows += block_rows((name, SEED), "sq_error", error, count, documents)
        total, tokens = error[:, 1:].sum(), test.tokens[:, 1:].numel()
        summary += [
            (name, SEED, "text", "mse", total / tokens, tokens, SQUARED),
            (name, SEED, "text", "fvu", total / deviation, tokens, "fraction"),
            (name, SEED, "text", "rank", float(fitted.directions.shape[1]), tokens, "dimensions"),
        ]
    return {"summary": pd.DataFrame(summary, columns=SUMMARY), "blocks": pd.DataFrame(rows, columns=BLOCKS)}


def _fitted(data: LayerData, l0: int | None) -> dict[str, Linear]:
    train, mean = data.train.activations, data.statistics.mean
    ranks = {name: r for name, r in ((OF_L0, l0), (OF_64, RANK)) if r and r < train.shape[-1]}
    components = principal_components(train, mean, list(ranks.values()))
    return {MEAN: Linear.constant(mean), POSITION_MEAN: position_mean(train)} | dict(
        zip(ranks, components, strict=True)
    )


def _l0(summary: pd.DataFrame, baseline: str | None) -> int | None:
    rows = summary.query("variant == @baseline and positions == 'text' and metric == 'l0'")["value"]
    return max(1, round(rows.mean())) if len(rows) else None


def _deviation(blocks: pd.DataFrame) -> float:
    rows = blocks[(blocks["variant"] == INPUT[0]) & (blocks["metric"] == "sq_deviation") & (blocks["bucket"] != "0")]
    return float(rows["value"].sum())
