"""The parts of the page that belong to one study: its facts, the text it shows, and its layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import transformers
from torch import Tensor

from lens.activations.token_texts import token_texts
from lens.explorer.layer import LayerSource, describe
from lens.explorer.pack import Part
from lens.measure.bands import SHARE, edge_distance
from lens.measure.contexts import buckets
from lens.measure.spans import BANDWIDTH
from lens.profiling.reading import LEVELS, ShownText, lens_words, shown_text


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

    def texts(ids: np.ndarray) -> list[str]:
        return token_texts(ids, tokenizer)

    text, readings = shown_text([r for _, r in described], passages, tokens, document, start, texts)
    layers = {}
    for source, (header, _), reading in zip(sources, described, readings, strict=True):
        layers[source.name] = Part(header | {"lens": lens_words(source.lens, texts)}, reading.arrays)
    facts = facts | {"band_permutations": readings[0].permutations}
    return StudyData(facts["study"], study_part(facts, text, len(tokens), documents, list(layers)), layers)


def study_part(facts: dict, text: ShownText, windows: int, documents: Sequence[str], layers: Sequence[str]) -> Part:
    """The part of the page that all layers share."""
    T = text.arrays["tokens"].shape[1]
    header = {
        **facts,
        "T": T,
        "windows": windows,
        "documents": list(documents),
        "buckets": [[where.start, where.stop - 1] for where in buckets(T)],
        "edge_distance": edge_distance(T - 1).tolist(),
        "band_share": SHARE,
        "bandwidth": BANDWIDTH,
        "levels": LEVELS,
        "passages": text.passages,
        "words": text.words,
        "layers": list(layers),
    }
    return Part(header, text.arrays)
