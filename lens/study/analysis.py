"""The analysis stage of one layer: held-out measures of its dictionaries, with and without the language model."""

from __future__ import annotations

from contextlib import suppress
from typing import Literal

import numpy as np
import pandas as pd

from lens.activations import language_model
from lens.activations.clocks import clocks
from lens.activations.labels import play_labels
from lens.activations.language_model import LanguageModel
from lens.activations.layers import Layer
from lens.activations.statistics import input_statistics
from lens.activations.store import LayerStore, open_layer
from lens.dictionaries.model import SAE
from lens.measure.probing import Tasks, TooFewExamples, tasks_from_labels
from lens.profiling.layer import INPUT, fidelity_tables, join, reconstruction_tables
from lens.profiling.layer_features import feature_tables
from lens.profiling.layer_probes import decoding_tables, probing_tables, splice_tables
from lens.study.extraction import store_for
from lens.study.params import Study

PLAYS = ("shakespeare-held-out", "tiny-shakespeare")  # corpora that come with labels


def load_dictionaries(
    study: Study, layer: Layer, kind: Literal["dictionaries", "ablations"] = "dictionaries"
) -> dict[tuple[str, int], SAE]:
    """The trained dictionaries of one layer, by variant and seed."""
    variants = study.variants if kind == "dictionaries" else study.ablations.variants
    seeds = study.seeds_at(layer) if kind == "dictionaries" else study.ablation_seeds
    folder = study.dictionaries(kind, layer)
    return {(v, s): SAE.load(folder / f"{v}-seed{s}") for v in variants for s in seeds}


def measure(
    study: Study, layer: Layer, kind: Literal["dictionaries", "ablations"] = "dictionaries"
) -> dict[str, pd.DataFrame]:
    """The tables of one layer's dictionaries on held-out windows.

    Reconstruction, sparsity and fidelity for every dictionary. What features do with position, probes, decoding and the
    splice matrix are measured for the main variants alone, and so are the rows about the activations themselves.
    """
    folder = store_for(study, layer)
    train, test = open_layer(folder, layer, "train"), open_layer(folder, layer, "test")
    statistics = input_statistics(train.activations)
    scale = statistics.mean_square_norm**-0.5
    dictionaries = load_dictionaries(study, layer, kind)
    parts = [reconstruction_tables(dictionaries, test.activations, test.document, test.documents, scale)]
    model = language_model.load(study.model)
    windows = spread(len(test.tokens), study.windows.fidelity)
    if windows:
        parts.append(fidelity_tables(model, test.tokens[windows], layer, dictionaries, statistics.mean))
    if kind == "ablations":
        return {name: table[table["variant"] != INPUT[0]] for name, table in join(*parts).items()}
    if windows:
        parts.append(splice_tables(model, test.tokens[windows], layer, dictionaries))
    contrast = open_layer(folder, layer, "contrast")
    features, means = feature_tables(
        dictionaries, test.activations, test.document, len(test.documents), test.tokens,
        clocks(test.tokens.numpy(), model.tokenizer),
    )  # fmt: skip
    parts += [
        features,
        decoding_tables(dictionaries, test.activations, test.document, list(test.documents)),
    ]
    with suppress(TooFewExamples):  # a short text, or a single document, cannot be probed; the claims then say so
        tasks = _tasks(study, test, contrast, model)
        parts.append(probing_tables(dictionaries, means, test.activations, contrast.activations, tasks))
    return join(*parts)


def _tasks(study: Study, test: LayerStore, contrast: LayerStore, model: LanguageModel) -> Tasks:
    """What held-out windows can be probed for: labels of plays, and Shakespeare against the contrasting text.

    Raises:
        TooFewExamples: not even that task is possible.
    """
    documentation = contrast.document.numpy()
    if study.corpus.test not in PLAYS:  # no labels: one task
        n = len(test.tokens)
        nothing = np.zeros(n, int)
        return tasks_from_labels(test.document.numpy(), nothing, np.full(n, None), nothing, nothing, documentation)
    labels = play_labels(
        test.tokens.numpy(), test.document.numpy(), test.start.numpy(), test.documents, model.tokenizer,
        bos=study.windows.bos,
    ).table  # fmt: skip
    return tasks_from_labels(
        labels["play"], labels["genre"], labels["act"], labels["has_stage_direction"], labels["speaker_changes"],
        documentation,
    )  # fmt: skip


def spread(n: int, count: int) -> list[int]:
    """`count` of n windows, evenly spread over the held-out text."""
    return [i * n // count for i in range(count)]
