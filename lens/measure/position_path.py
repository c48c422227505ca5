"""The path that the mean of a representation takes along the window: what is the same for every text at a position.

Of a dictionary the share of the activations' path that is left in its error stands beside the share of all variance
that is left there. What the model makes of the path is asked by taking it away, or giving back what of it the error
holds; a path turned in all dimensions at random is as long at every position, and is the null.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lens.measure.decoding import CHUNK, Represent
from lens.measure.fidelity import Replace

HALVES = 2


@dataclass(frozen=True)
class PathSums:
    """Sums over the windows of each document, in two halves of alternating windows."""

    count_HBT: np.ndarray
    sum_HBTd: np.ndarray


@torch.no_grad()
def path_sums(
    represent: Represent, activations: Tensor, block: Tensor, n_blocks: int, ordinary: Tensor | None = None
) -> PathSums:
    """Sums of `represent(x)` over windows [n, T, d].

    Args:
        block: [n] document of each window.
        ordinary: [n, T] whether a token counts; without it all do.
    """
    n, T, d = activations.shape
    ordinary = torch.ones(n, T, dtype=torch.bool) if ordinary is None else ordinary
    counts, sums = torch.zeros(HALVES * n_blocks, T), torch.zeros(HALVES * n_blocks, T, d, dtype=torch.float64)
    for rows in torch.arange(n).split(CHUNK):
        group, keep = rows % HALVES * n_blocks + block[rows].long(), ordinary[rows]
        values = represent(activations[rows].float()).double() * keep[..., None]
        sums.index_add_(0, group, values)
        counts.index_add_(0, group, keep.float())
    return PathSums(counts.view(HALVES, n_blocks, T).numpy(), sums.view(HALVES, n_blocks, T, d).numpy())


def path_size(sums: PathSums, first: int = 1) -> tuple[float, np.ndarray]:
    """Mean over positions of the squared distance of the mean there from the path's centre, and the same without each
    document [n_blocks].

    The product of two halves of the windows: sampling noise, which would make every path longer, is in both and not the
    same, and the size of no path is 0 on average, and may be negative.

    Args:
        first: first position of the path.

    Returns:
        nan without a document of which one position needs its tokens.

    Raises:
        ValueError: a position at which a half has no token.
    """
    count, total = (part[:, :, first:] for part in (sums.count_HBT, sums.sum_HBTd))
    if not count.sum(1).all():
        raise ValueError("a position at which half of the windows have no token: give more windows")
    whole = _size(count.sum(1), total.sum(1))
    left_out = [_size(count.sum(1) - count[:, b], total.sum(1) - total[:, b]) for b in range(count.shape[1])]
    return whole, np.array(left_out)


def _size(count_HT: np.ndarray, sum_HTd: np.ndarray) -> float:
    if not count_HT.all():
        return np.nan
    mean = sum_HTd / count_HT[..., None]
    a, b = mean - mean.mean(axis=1, keepdims=True)
    return float((a * b).sum(-1).mean())


def path_of(sums: PathSums) -> Tensor:
    """The path of all windows, [T, d] about its centre; 0 at position 0, which holds no text."""
    mean = sums.sum_HBTd.sum((0, 1)) / sums.count_HBT.sum((0, 1))[:, None]
    path = mean - mean[1:].mean(0)
    path[0] = 0
    return torch.from_numpy(path).float()


def turned(path: Tensor, seed: int) -> Tensor:
    """The path [T, d] after a rotation or reflection drawn uniformly: as long at every position, and of one shape."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(path.shape[-1], path.shape[-1], generator=generator, dtype=torch.float64)
    basis, triangle = torch.linalg.qr(drawn)
    return (path.double() @ (basis * triangle.diagonal().sign())).to(path.dtype)


def plus(rebuild: Represent, path: Tensor) -> Replace:
    """Put what `rebuild` makes of the residual stream, and a path [T, d] on top, in its place."""
    return lambda x: (rebuild(x.float()) + path.to(x.device)).to(x.dtype)
