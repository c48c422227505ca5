"""Where each feature is strongest, at every part of the window: one pass over held-out text, in little memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lens.measure.buckets import stretches

EDGES = (1, 4, 8, 32, 64)  # first positions of the buckets; the last one ends with the window


@dataclass(frozen=True)
class Contexts:
    """The strongest windows of each feature and bucket of positions, the strongest first, no window twice."""

    count_KB: np.ndarray
    """[K, buckets] how many there are; fewer where the feature fires in fewer windows"""
    window_KBC: np.ndarray
    """[K, buckets, C] number of the window; entries from `count_KB` on mean nothing"""
    peak_KBC: np.ndarray
    """[K, buckets, C] position of the largest activation in the bucket"""
    activation_KBCT: np.ndarray
    """[K, buckets, C, T] the feature's activations in the whole window"""


def buckets(T: int) -> list[slice]:
    """Buckets of the text positions of a window of T: 1-3, 4-7, 8-31, 32-63, and from 64 on."""
    return list(stretches(T, EDGES).values())


def top_contexts(chunks: Iterable[Tensor], buckets: Sequence[slice], count: int) -> Contexts:
    """The `count` windows in which each feature is strongest inside each bucket.

    Stratified by position, because the windows in which a feature is strongest overall may all be at one position and
    say nothing of what it does elsewhere. Of equal ones the earlier window comes first.

    Args:
        chunks: features f [m, T, K] of consecutive windows, m may vary.
    """
    kept: list[tuple[Tensor, ...]] = []
    first = 0
    for f in chunks:
        m, _, K = f.shape
        windows = torch.arange(first, first + m)[:, None].expand(m, K)
        first += m
        for b, where in enumerate(buckets):
            strength, place = f[:, where].max(1)
            found = [(strength, windows, place + where.start, f)]
            if b == len(kept):
                kept.append(_strongest(found, count))
            else:
                kept[b] = _strongest([kept[b], *found], count)
    strength, window, peak = (np.stack([one[i].numpy().T for one in kept], axis=1) for i in range(3))
    activation = np.stack([one[3].numpy().transpose(2, 0, 1) for one in kept], axis=1)
    return Contexts((strength > 0).sum(-1), window, peak, activation)


def _strongest(parts: list[tuple[Tensor, ...]], count: int) -> tuple[Tensor, ...]:
    """The first `count` rows of all parts by strength: strength, window, peak [rows, K], activations [rows, T, K]."""
    strength, window, peak, f = (torch.cat(columns) for columns in zip(*parts, strict=True))
    order = torch.argsort(strength, dim=0, descending=True, stable=True)[:count]
    rows = order[:, None].expand(-1, f.shape[1], -1)
    return strength.gather(0, order), window.gather(0, order), peak.gather(0, order), f.gather(0, rows)
