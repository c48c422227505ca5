"""What can be looked at of a dictionary's features, one by one: curves, strongest contexts, histograms, neighbours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lens.dictionaries.dictionary import Dictionary
from lens.measure.bands import null_band
from lens.measure.contexts import Contexts, buckets, top_contexts
from lens.measure.logit_lens import LogitLens
from lens.measure.masks import mask_of
from lens.measure.profiles import position_labelling, profile
from lens.profiling.features import FIRST

CONTEXTS = 3  # per bucket of positions, where nothing else is asked for
PASSAGES = 12  # windows that can be read with every feature's activations
LEVELS = 63  # of a quantised activation: more than an eye tells apart, and six bits compress to half of eight
BINS = 24  # of a histogram of activations
NEIGHBOURS = 5
PERMUTATIONS = 100  # of whole profiles, for the null band
DRAWN = 400_000  # permuted profiles of one feature in all: of many features, fewer each
HELD = 2**25  # activations in fp32 at a time
ROWS = 1024  # directions compared with all others at a time

Arrays = dict[str, np.ndarray]


class Reading(NamedTuple):
    """Features [K] of one dictionary on held-out windows; P = T - 1 text positions, B buckets of them."""

    arrays: Arrays
    """firings [K, P] windows in which it fires;
    band [2, E, K] of the smoothed firings by distance to an edge (see `lens.measure.bands`), times `band_scale`;
    highest [K] activation, and histogram [K, BINS] of those above 0, in equal steps up to the highest;
    context_count [K, B], context_window, context_peak [K, B, C], context_activation [K, B, C, P] (see
    `lens.measure.contexts`) and passage_activation [S, K, P], activations in `LEVELS` steps of the highest;
    mask [K, P] in 255ths of its largest, where there is one;
    neighbour, neighbour_cosine [K, NEIGHBOURS]: the features with the most similar directions, where these are known"""
    band_scale: int
    permutations: int
    """from which the band is"""


class ShownText(NamedTuple):
    """The windows that contexts and passages show."""

    words: list[str]
    passages: list[int]
    """which of the windows kept are read whole"""
    arrays: Arrays
    """tokens [kept, T] places among the words; document, start [kept], see `lens.activations.store.LayerStore`"""


def passages_of(n: int) -> list[int]:
    """Windows that are read whole, evenly spread over n."""
    count = min(PASSAGES, n)
    return [i * n // count for i in range(count)]


def read_features(
    sae: Dictionary, activations: Tensor, document: Tensor, passages: Sequence[int], count: int = CONTEXTS
) -> Reading:
    """Read the features of a dictionary on held-out windows [n, T, d], in one pass for profiles, one for contexts and
    one for histograms.

    Args:
        document: [n] of each window.
        passages: windows in which the activations of all features are kept.
        count: contexts of each feature and bucket of positions.
    """
    n, T, _ = activations.shape
    K = sae.info.d_sae
    draws = max(10, min(PERMUTATIONS, DRAWN // K))
    found = profile(
        {0: sae}, activations, document, int(document.max()) + 1, {FIRST: position_labelling(n, T)},
        permutations=0, profile_permutations=draws, lags=0,
    )[0]  # fmt: skip
    parts = [null_band(part) for part in np.split(found.permuted_firings_RTK, range(ROWS, K, ROWS), axis=2)]
    band = np.concatenate(parts, axis=2)
    band_scale = max(1, min(32, int(65535 // max(band.max(), 1))))  # in 32nds of a firing, or as fine as 16 bits allow
    chunk = max(1, HELD // (T * K))
    contexts = top_contexts((strengths(sae, x) for x in activations.split(chunk)), buckets(T), count)
    highest_K = contexts.activation_KBCT[..., 1:].max((1, 2, 3))
    histogram = np.zeros(K * BINS, np.int64)
    for x in activations.split(chunk):
        histogram += _histogram(strengths(sae, x)[:, 1:].flatten(0, 1), torch.from_numpy(highest_K))
    passage_STK = strengths(sae, activations[list(passages)])[:, 1:].numpy()
    arrays = {
        "firings": found.firings_TK.T,
        "band": np.rint(band * band_scale).astype(int),
        "highest": highest_K,
        "histogram": histogram.reshape(K, BINS),
        "context_count": contexts.count_KB,
        "context_window": np.where(_there(contexts), contexts.window_KBC, -1),
        "context_peak": contexts.peak_KBC,
        "context_activation": quantise(contexts.activation_KBCT[..., 1:], highest_K[:, None, None, None]),
        "passage_activation": quantise(passage_STK.transpose(0, 2, 1), highest_K[:, None]),
    }
    if (mask_TK := mask_of(sae)) is not None:
        mask_PK = mask_TK[1:T]  # a dictionary can have been trained on longer windows
        most_K = np.maximum(mask_PK.max(0), np.finfo(np.float32).tiny)
        arrays["mask"] = np.rint(255 * mask_PK.clip(0) / most_K).T.astype(np.uint8)
    return Reading(arrays, band_scale, draws)


@torch.no_grad()
def strengths(sae: Dictionary, activations: Tensor) -> Tensor:
    """Features [n, T, K] of windows, without the signs that some dictionaries give them."""
    return sae.encode(activations.float()).dense().abs()


@torch.no_grad()
def neighbours(directions_Kd: Tensor) -> Arrays:
    """The features whose directions are most similar to each one's, the most similar first, and the cosines."""
    unit = torch.nn.functional.normalize(directions_Kd.float(), dim=-1)
    number, cosine = [], []
    for first in range(0, len(unit), ROWS):
        similar = unit[first : first + ROWS] @ unit.T
        similar[torch.arange(len(similar)), torch.arange(first, first + len(similar))] = -torch.inf
        best = similar.topk(min(NEIGHBOURS, len(unit) - 1), dim=1)
        number.append(best.indices)
        cosine.append(best.values)
    return {"neighbour": torch.cat(number).numpy(), "neighbour_cosine": torch.cat(cosine).numpy()}


def shown_text(
    readings: Sequence[Reading],
    passages: Sequence[int],
    tokens: Tensor,
    document: Tensor,
    start: Tensor,
    texts: Callable[[np.ndarray], list[str]],
) -> tuple[ShownText, list[Reading]]:
    """The windows that some context or passage shows, and the readings with windows counted among these.

    Args:
        tokens: [n, T]; document, start: [n].
        texts: words of token numbers.
    """
    shown = [np.asarray(passages), *(r.arrays["context_window"][r.arrays["context_window"] >= 0] for r in readings)]
    kept = np.unique(np.concatenate([np.ravel(x) for x in shown]))
    counted = [
        r._replace(arrays=r.arrays | {"context_window": np.searchsorted(kept, r.arrays["context_window"])})
        for r in readings
    ]
    ids, place = np.unique(tokens.numpy()[kept], return_inverse=True)
    arrays = {
        "tokens": place.reshape(len(kept), -1),
        "document": document.numpy()[kept],
        "start": start.numpy()[kept],
    }
    return ShownText(texts(ids), np.searchsorted(kept, passages).tolist(), arrays), counted


def lens_words(lens: LogitLens | None, texts: Callable[[np.ndarray], list[str]]) -> dict | None:
    """The tokens of a logit lens: texts of the distinct ones, and which they are for each feature; None without one."""
    if lens is None:
        return None
    ids, place = np.unique(np.stack([lens.promoted_KN, lens.suppressed_KN]), return_inverse=True)
    words = texts(ids)
    order = np.array(sorted(range(len(words)), key=words.__getitem__))  # alphabetic, which packs smaller
    place = np.argsort(order)[place].reshape(2, *lens.promoted_KN.shape)
    z = [np.round(x.astype(float), 1).tolist() for x in (lens.promoted_z_KN, lens.suppressed_z_KN)]
    return {
        "words": [words[i] for i in order], "promoted": place[0].tolist(), "suppressed": place[1].tolist(),
        "promoted_z": z[0], "suppressed_z": z[1],
    }  # fmt: skip


def quantise(values: np.ndarray, highest: np.ndarray) -> np.ndarray:
    """Shares of `highest` in `LEVELS` steps, uint8; what is above 0 never becomes 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(highest > 0, values / highest, 0)
    return np.where(values > 0, np.clip(np.rint(share * LEVELS), 1, LEVELS), 0).astype(np.uint8)


def _histogram(f_NK: Tensor, highest_K: Tensor) -> np.ndarray:
    """[K * BINS] how often each feature's activation falls into each of its bins."""
    token, feature = f_NK.nonzero(as_tuple=True)
    share = f_NK[token, feature] / highest_K[feature]
    place = feature * BINS + (share * BINS).ceil().long().clamp(1, BINS) - 1
    return torch.bincount(place, minlength=f_NK.shape[1] * BINS).numpy()


def _there(contexts: Contexts) -> np.ndarray:
    """[K, buckets, C] which entries of the contexts mean something."""
    return np.arange(contexts.window_KBC.shape[-1]) < contexts.count_KB[..., None]
