"""One dictionary that several processes train together: each has a share of the batch, or a share of the features.

By batch, each has the whole dictionary and steps on its part of the windows; gradients are averaged. By features, each
has d_sae / size of the features (columns of W_enc, rows of W_dec) and reads every vector; what the features add to the
reconstruction is summed. Whatever couples vectors or features that lie in different processes goes through here, on
collectives of torch.distributed, of which all processes must call the same ones in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch import distributed as dist


@dataclass(frozen=True)
class Shards:
    """The share of this process; by default everything, and nothing is sent."""

    by: Literal["", "batch", "features"] = ""
    rank: int = 0
    size: int = 1

    def windows(self, x: Tensor) -> Tensor:
        """Those of a batch [B, ...] that are of this process."""
        return x.chunk(self.size)[self.rank] if self.by == "batch" else x

    def mean_over_batch(self, x: Tensor) -> Tensor:
        """Mean over the processes, where they share a batch. A gradient goes through as it is: gradients are averaged
        over the processes after it."""
        return _Sum.apply(x) / self.size if self.by == "batch" else x  # type: ignore

    def sum_over_features(self, x: Tensor) -> Tensor:
        """Sum over the processes, where they share the features, in fp32. A gradient goes through as it is: the loss
        after it is the same in every process."""
        return _Sum.apply(x.float()) if self.by == "features" else x  # type: ignore

    def least(self, x: Tensor) -> Tensor:
        """The least x of all processes."""
        return _reduced(x, dist.ReduceOp.MIN) if self.by else x

    def any_in_batch(self, x: Tensor) -> Tensor:
        """Where x (bool) is true in some process, where they share a batch."""
        return _reduced(x.to(torch.uint8), dist.ReduceOp.MAX).bool() if self.by == "batch" else x

    def among_largest(self, values: Tensor, n: int) -> Tensor:
        """Which of values [..., m] are among the n largest of the last axes of all processes together, bool [..., m].

        Of equal values, as many as there is room for: all processes choose from the same values in the same order.
        """
        joined = torch.cat(gathered(values), dim=-1)
        kept = joined.topk(min(n, joined.shape[-1]), dim=-1).indices
        chosen = torch.zeros_like(joined, dtype=torch.bool).scatter(-1, kept, True)
        return chosen.chunk(self.size, dim=-1)[self.rank]


ALONE = Shards()


def gathered(x: Tensor) -> list[Tensor]:
    """x of every process, in their order; all have one shape."""
    found = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size())]
    dist.all_gather(found, x.contiguous())
    return found


def sent(x: Tensor, owner: int) -> Tensor:
    """x of the process `owner`, in all; x of the others says its shape and kind."""
    x = x.contiguous()
    dist.broadcast(x.view(torch.uint8), owner)
    return x


def average_(tensors: list[Tensor]) -> None:
    """Replace each tensor by its mean over the processes."""
    for tensor in tensors:
        dist.all_reduce(tensor)
        tensor /= dist.get_world_size()


def _reduced(x: Tensor, how: dist.ReduceOp.RedOpType) -> Tensor:
    x = x.clone()
    dist.all_reduce(x, how)
    return x


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return _reduced(x, dist.ReduceOp.SUM)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return grad
