"""The parts of the page that belong to one study: its facts, the text it shows, and its layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import transformers
from torch import Tensor

from lens.activations.token_texts import token_texts
from lens.explorer.layer import KeptLayer, LayerSource, describe, describe_again
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
    sources: Sequence[LayerSource | KeptLayer],
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
    described = [describe(s, passages) if isinstance(s, LayerSource) else describe_again(s) for s in sources]

    def texts(ids: np.ndarray) -> list[str]:
        return token_texts(ids, tokenizer)

    text, readings = shown_text([r for _, r in described], passages, tokens, document, start, texts)
    layers = {}
    for source, (header, _), reading in zip(sources, described, readings, strict=True):
        lens = lens_words(source.lens, texts) if isinstance(source, LayerSource) else source.part.header["lens"]
        layers[source.name] = Part(header | {"lens": lens}, reading.arrays)
    facts = facts | {"band_permutations": readings[0].permutations}
    return StudyData(facts["study"], study_part(facts, text, len(tokens), documents, list(layers)), layers)


def same_study(page: StudyData, facts: dict, windows: int, T: int, documents: Sequence[str]) -> bool:
    """Whether a page that was written before is of a study with these facts, so that layers of it can be kept.

    Args:
        facts: see `assemble`; which layers there are makes no difference.
    """
    wanted = {**facts, "T": T, "windows": windows, "documents": list(documents)}
    return all(page.study.header.get(name) == value for name, value in wanted.items() if name != "depth")


def kept_layer(
    page: StudyData,
    name: str,
    document: Tensor,
    start: Tensor,
    features: pd.DataFrame,
    numbers: Mapping[str, float],
) -> KeptLayer:
    """A layer of a page that was written before.

    Args:
        document, start: [n] of the study's windows, none of which begin at one place.
        features, numbers: see `LayerSource`.
    """
    which = {place: i for i, place in enumerate(zip(document.tolist(), start.tolist(), strict=True))}
    text = page.study.arrays
    shown = [which[place] for place in zip(text["document"].tolist(), text["start"].tolist(), strict=True)]
    permutations = page.study.header["band_permutations"]
    return KeptLayer(name, page.layers[name], len(start), np.array(shown), permutations, features, numbers)


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
