"""Probes, decoding of position and the splice matrix of one layer, as tidy tables."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lens.activations.language_model import LanguageModel
from lens.activations.layers import Layer
from lens.dictionaries.dictionary import Dictionary
from lens.measure.buckets import buckets
from lens.measure.decoding import Represent, decode_position
from lens.measure.fidelity import dictionary, splice_matrix
from lens.measure.probing import Task, pooled, probe
from lens.profiling.controls import random_dictionary, zero_dictionary
from lens.profiling.tables import INPUT, Dictionaries, Key, Tables
from lens.progress import track

LANGUAGE_MODEL, ZERO, RANDOM = ("language_model", -1), ("zero_dictionary", -1), ("random_dictionary", -1)
PROBING = ["variant", "seed", "task", "k", "metric", "value", "n", "unit"]
DECODING = ["variant", "seed", "source", "first", "block", "metric", "value", "n", "unit"]
SPLICE = ["variant", "seed", "replaced", "bucket", "value", "n", "unit"]
SEED = 0
FOLDS = 5
DECODED_STRIDE = 2  # every other window


def probing_tables(
    dictionaries: Dictionaries,
    means: Mapping[Key, np.ndarray],
    activations: Tensor,
    contrast: Tensor,
    tasks: Sequence[Task],
    scale: float,
) -> Tables:
    """Sparse probes of the language model, of every dictionary, of a zero and of a random one: the table `probing`.

    All in units where the activations have a mean squared norm of d_in, so coordinates are around 1: the penalty of the
    logistic regression depends on units, and at unit norm C = 1 would leave little but the difference of the class
    means. SAEBench's activations and features are of this size too.

    Args:
        means: mean features [n, d_sae] of each dictionary over each held-out window.
        activations, contrast: raw windows [n, T, d] of the held-out and [m, T, d] of the contrasting text; the rows of
            the tasks count through both.
        tasks: see `lens.measure.probing.tasks_from_labels`. k = 0 stands for the probe on all coordinates.
        scale: brings the activations to unit mean squared norm, as the dictionaries do with theirs.
    """
    info = next(iter(dictionaries.values())).info
    unit = info.d_in**0.5
    controls = {
        ZERO: zero_dictionary(info.d_in, info.d_sae),
        RANDOM: random_dictionary(info.d_in, info.d_sae, scale, SEED),
    }
    encoders = {LANGUAGE_MODEL: lambda x: x * (scale * unit)}
    for key, sae in {**dictionaries, **controls}.items():
        encoders[key] = lambda x, sae=sae: sae.encode(x).dense() * unit
    rows = []
    for key, encode in track(encoders.items(), "probe", "representations"):
        family = "llm" if key == LANGUAGE_MODEL else "sae"
        held_out = means[key] * unit if key in means else pooled(encode, activations)
        X = np.concatenate([held_out, pooled(encode, contrast)])
        for task in tasks:
            for metric, value in probe(X, task, family).items():
                k = int(metric.split("_")[2]) if "_top_" in metric else 0
                rows.append((*key, task.name, k, metric, value, len(task.test_y), "accuracy"))
    return {"probing": pd.DataFrame(rows, columns=PROBING)}


def decoding_tables(
    dictionaries: Dictionaries, activations: Tensor, block: Tensor, blocks: Sequence[str], variants: Collection[str]
) -> Tables:
    """Held-out errors of decoding log2(1 + t) from the activation, from features and from the reconstruction error.

    From position 1 and from 8, on every other window. The table `decoding`; none where the text is a single document.

    Args:
        block: [n] index of each window's document in `blocks`.
        variants: whose features and errors are read, of the first seed. A mask puts its position into its features,
            whether it learned one or not: that takes a null to hold the method against.
    """
    first_seed = min(seed for _, seed in dictionaries)
    activations, block = activations[::DECODED_STRIDE], block[::DECODED_STRIDE]
    present, block = block.unique(return_inverse=True)  # documents that hold a window, numbered without gaps
    if len(present) < 2:
        return {}  # one document: nothing is held out
    names = [blocks[b] for b in present]
    sources: dict[tuple[str, int, str], Represent] = {(*INPUT, "activation"): lambda x: x}
    for (variant, seed), sae in dictionaries.items():
        if seed == first_seed and variant in variants:
            sources[variant, seed, "features"] = lambda x, sae=sae: sae.encode(x).dense()
            sources[variant, seed, "error"] = lambda x, sae=sae: x - sae(x)
    rows = []
    for (variant, seed, source), represent in track(sources.items(), "decode position", "representations"):
        for first in (1, 8):
            if activations.shape[1] <= 2 * first:
                continue
            folds = min(FOLDS, len(names))
            found = decode_position(torch.no_grad()(represent), activations, block, len(names), first, folds)
            for b, name in enumerate(names):
                for metric, value in (("sse", found.sse_B[b]), ("sst", found.sst_B[b])):
                    n = found.count_B[b]
                    rows.append((variant, seed, source, first, name, metric, value, n, "squared log2 positions"))
    return {"decoding": pd.DataFrame(rows, columns=DECODING)}


def splice_tables(model: LanguageModel, tokens: Tensor, layer: Layer, key: Key, sae: Dictionary) -> Tables:
    """Added cross-entropy at the predictions of each bucket of positions when one bucket alone is replaced: `splice`.

    Of one dictionary, as the matrix is about where errors act, not about variants.
    """
    where = {name: part for name, part in buckets(tokens.shape[1]).items() if name != "0"}
    matrix = splice_matrix(model, tokens, layer, dictionary(sae), where)
    sae.cpu()  # splicing moves it to the model's device
    rows = [
        (*key, replaced, bucket, matrix[i, j], len(tokens), "nats")
        for i, replaced in enumerate(where)
        for j, bucket in enumerate(where)
    ]
    return {"splice": pd.DataFrame(rows, columns=SPLICE)}
