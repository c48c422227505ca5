"""Where training reads its windows: from activations that are stored, or, in `lens.training.stream`, from the model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor


class Source(Protocol):
    """Windows of activations, batch after batch."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Windows of an epoch, positions, width: (n, T, d_in)."""
        ...

    def shared(self) -> Source:
        """The same source, for processes that read the same batches at the same time."""
        ...

    def sample(self, seed: int) -> Tensor:
        """Windows [m, T, d_in] whose moments stand for those of all, read before the first step."""
        ...

    def batches(self, size: int, steps: int, seed: int, first_step: int = 0) -> Iterator[Tensor]:
        """Windows [size, T, d_in] of each step from `first_step`; they depend on the step, not on where one begins.

        Args:
            seed: of the order, or of the draw.
        """
        ...


class Stored:
    """Activations [n, T, d_in], memory-mapped or not, of which a batch is read at a time."""

    def __init__(self, activations: Tensor):
        self._activations = activations
        self.shape = tuple(activations.shape)

    def shared(self) -> Stored:
        """Itself: every process reads the batches."""
        return self

    def sample(self, seed: int) -> Tensor:
        """All windows."""
        return self._activations

    def batches(self, size: int, steps: int, seed: int, first_step: int = 0) -> Iterator[Tensor]:
        """Windows in the order of `window_order`."""
        for rows in window_order(self.shape[0], size, steps, seed, first_step):
            yield self._activations.index_select(0, rows)


def window_order(n_windows: int, batch: int, steps: int, seed: int, first_step: int = 0) -> Iterator[Tensor]:
    """Rows of each step's windows [batch]: one random permutation of all windows after the other, epochs joined.

    The order depends on the arguments alone, so a resumed run draws what the uninterrupted one would have drawn.
    """
    epoch, permutation = -1, torch.empty(0, dtype=torch.long)
    for step in range(first_step, steps):
        wanted = range(step * batch, (step + 1) * batch)
        rows = []
        for index in wanted:
            if index // n_windows != epoch:
                epoch = index // n_windows
                permutation = torch.randperm(
                    n_windows, generator=torch.Generator().manual_seed(epoch_seed(seed, epoch))
                )
            rows.append(permutation[index % n_windows])
        yield torch.stack(rows)


def epoch_seed(seed: int, epoch: int) -> int:
    """What an epoch is drawn with."""
    return seed * 100_003 + epoch
