"""The analysis stage of one layer: held-out measures of its dictionaries, with and without the language model."""

from __future__ import annotations

from typing import Literal

import pandas as pd

from lens.activations import language_model
from lens.activations.extract import store_for
from lens.activations.store import open_layer
from lens.config import Layer, Study
from lens.measure.layer import INPUT, fidelity_tables, join, reconstruction_tables
from lens.sae.model import SAE
from lens.sae.train import input_statistics


def load_dictionaries(
    study: Study, layer: Layer, kind: Literal["dictionaries", "ablations"] = "dictionaries"
) -> dict[tuple[str, int], SAE]:
    """The trained dictionaries of one layer, by variant and seed."""
    variants = study.variants if kind == "dictionaries" else study.ablations.variants
    folder = study.dictionaries(kind, layer)
    return {(v, s): SAE.load(folder / f"{v}-seed{s}") for v in variants for s in study.seeds}


def measure(
    study: Study, layer: Layer, kind: Literal["dictionaries", "ablations"] = "dictionaries"
) -> dict[str, pd.DataFrame]:
    """The tables `positions`, `summary` and `blocks` of one layer's dictionaries on held-out windows.

    Rows about the activations themselves belong to the analysis of the main variants; ablations leave them out.
    """
    folder = store_for(study, layer)
    train, test = open_layer(folder, layer, "train"), open_layer(folder, layer, "test")
    statistics = input_statistics(train.activations, first_position=1)
    dictionaries = load_dictionaries(study, layer, kind)
    parts = [
        reconstruction_tables(
            dictionaries, test.activations, test.document, test.documents, statistics.mean_square_norm**-0.5
        )
    ]
    if study.windows.fidelity:
        model = language_model.load(study.model)
        windows = spread(len(test.tokens), study.windows.fidelity)
        parts.append(fidelity_tables(model, test.tokens[windows], layer, dictionaries, statistics.mean))
    tables = join(*parts)
    if kind == "ablations":
        tables = {name: table[table["variant"] != INPUT[0]] for name, table in tables.items()}
    return tables


def spread(n: int, count: int) -> list[int]:
    """`count` of n windows, evenly spread over the held-out text."""
    return [i * n // count for i in range(count)]
