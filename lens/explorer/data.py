"""The parts of the page that belong to one study: its facts, the text it shows, and its layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import transformers
from torch import Tensor

from lens.explorer.contexts import Contexts, buckets
from lens.explorer.layer import PERMUTATIONS, LayerSource, describe
from lens.explorer.pack import LEVELS, Part
from lens.explorer.text import token_texts, vocabulary
from lens.measure.bands import SHARE, edge_distance
from lens.measure.spans import BANDWIDTH


@dataclass(frozen=True)
class StudyData:
    """What the page holds of one study."""

    name: str
    study: Part
    """what the study is, and the text of all windows that the page shows"""
    layers: dict[str, Part]
    """by name of the layer, in order of depth"""


def assemble(
    facts: dict,
    sources: Sequence[LayerSource],
    tokens: Tensor,
    document: Tensor,
    documents: Sequence[str],
    start: Tensor,
    passages: Sequence[int],
    tokenizer: transformers.PreTrainedTokenizerBase,
) -> StudyData:
    """The study's parts from what was read; only windows that some context or passage shows are kept.

    Args:
        facts: what the page says about the study, among it `study`, its name.
        tokens: [n, T]; document, start: [n], see `LayerStore`.
        passages: windows that are kept whole for reading.
    """
    described = [describe(source, passages) for source in sources]
    shown = [np.asarray(passages)] + [c.window_KBC[_there(c)] for _, c in described]
    kept = np.unique(np.concatenate([np.ravel(x) for x in shown]))
    layers = {}
    for source, (part, contexts) in zip(sources, described, strict=True):
        window = np.where(_there(contexts), np.searchsorted(kept, contexts.window_KBC), 0)
        layers[source.name] = Part(
            part.header | _lens_words(source, tokenizer), {**part.arrays, "context_window": window}
        )
    words, place = vocabulary(tokens.numpy()[kept], tokenizer)
    T = tokens.shape[1]
    header = {
        **facts,
        "T": T,
        "windows": len(tokens),
        "documents": list(documents),
        "buckets": [[where.start, where.stop - 1] for where in buckets(T)],
        "edge_distance": edge_distance(T - 1).tolist(),
        "band_share": SHARE,
        "band_permutations": PERMUTATIONS,
        "bandwidth": BANDWIDTH,
        "levels": LEVELS,
        "passages": np.searchsorted(kept, passages).tolist(),
        "words": words,
        "layers": list(layers),
    }
    arrays = {"tokens": place, "document": document.numpy()[kept], "start": start.numpy()[kept]}
    return StudyData(facts["study"], Part(header, arrays), layers)


def _there(contexts: Contexts) -> np.ndarray:
    """[K, buckets, C] which entries of the contexts mean something."""
    return np.arange(contexts.window_KBC.shape[-1]) < contexts.count_KB[..., None]


def _lens_words(source: LayerSource, tokenizer: transformers.PreTrainedTokenizerBase) -> dict:
    """The logit-lens tokens of a layer: texts of the distinct ones, and which they are for each feature."""
    lens = source.lens
    if lens is None:
        return {"lens": None}
    ids, place = np.unique(np.stack([lens.promoted_KN, lens.suppressed_KN]), return_inverse=True)
    place = place.reshape(2, *lens.promoted_KN.shape)
    z = [np.round(x, 1).tolist() for x in (lens.promoted_z_KN, lens.suppressed_z_KN)]
    return {
        "lens": {
            "words": token_texts(ids, tokenizer), "promoted": place[0].tolist(), "suppressed": place[1].tolist(),
            "promoted_z": z[0], "suppressed_z": z[1],
        }
    }  # fmt: skip
