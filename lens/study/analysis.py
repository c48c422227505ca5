"""The analysis stage of one layer: held-out measures of its dictionaries, with and without the language model."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import astuple

import numpy as np
import pandas as pd

from lens.activations import corpus, models
from lens.activations.clocks import clocks
from lens.activations.labels import play_labels
from lens.activations.language_model import LanguageModel
from lens.measure.probing import Task, TooFewExamples, tasks_from_labels
from lens.profiling.features import feature_tables, labellings, measure_untrained
from lens.profiling.layer import measure_dictionaries
from lens.profiling.layer_data import LayerData
from lens.profiling.probes import decoding_tables, probing_tables, splice_tables
from lens.profiling.references import reference_tables
from lens.profiling.tables import INPUT, Dictionaries, Tables, join
from lens.study.layer_data import Kind, load_dictionaries
from lens.study.params import Study


def measure(study: Study, data: LayerData, kind: Kind = "dictionaries") -> dict[str, pd.DataFrame]:
    """The tables of one layer's dictionaries on held-out windows.

    Reconstruction, sparsity and fidelity for every dictionary. What features do with position, probes, decoding and the
    splice matrix are measured for the main variants alone, and so are the rows about the activations themselves.
    """
    model = models.load(study.model)
    dictionaries = load_dictionaries(study, data.layer, kind)
    spliced = spread(len(data.test.tokens), study.windows.fidelity)
    if kind == "ablations":
        tables, _ = measure_dictionaries(dictionaries, data, model, spliced=spliced)
        return {name: table[table["variant"] != INPUT[0]] for name, table in tables.items()}
    return join(*_main_parts(study, data, model, dictionaries, spliced))


def _main_parts(
    study: Study, data: LayerData, model: LanguageModel, dictionaries: Dictionaries, spliced: list[int]
) -> list[Tables]:
    test, method = data.test, study.roles.method
    n, T = test.tokens.shape
    labels = labellings(n, T, clocks(test.tokens.numpy(), model.tokenizer))
    tables, measured = measure_dictionaries(
        dictionaries, data, model, spliced=spliced, labellings=labels, baseline=study.roles.baseline
    )
    parts = [tables, reference_tables(data, tables, study.roles.baseline)]
    if spliced:
        first = min((key for key in dictionaries if key[0] == method), default=min(dictionaries))
        parts.append(splice_tables(model, test.tokens[spliced], data.layer, first, dictionaries[first]))
    parts += [
        feature_tables(measured, test.activations, start=measure_untrained(dictionaries, method, data), method=method),
        decoding_tables(dictionaries, test.activations, test.document, test.documents, astuple(study.roles)),
    ]
    with suppress(TooFewExamples):  # a short text, or a single document, cannot be probed; the claims then say so
        means = {key: m.profile.window_means_NK for key, m in measured.items()}
        tasks = _tasks(study, data, model)
        contrast = data.contrast.activations
        parts.append(probing_tables(dictionaries, means, test.activations, contrast, tasks, data.scale))
    return parts


def _tasks(study: Study, data: LayerData, model: LanguageModel) -> tuple[Task, ...]:
    """What held-out windows can be probed for: labels of plays, and Shakespeare against the contrasting text.

    Raises:
        TooFewExamples: not even that task is possible.
    """
    test, documentation = data.test, data.contrast.document.numpy()
    if not corpus.holds_plays(study.corpus.test):  # no labels: one task
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
