"""One layer's activations, opened once and handed down to all that trains on them or measures on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from lens.activations.layers import Layer
from lens.activations.statistics import InputStatistics, input_statistics
from lens.activations.store import LayerStore

SETS = 16  # of windows, of whole documents unless these are few
FEW_DOCUMENTS = 8


@dataclass(frozen=True)
class LayerData:
    """The splits of one layer. Each is opened, and its files compared with their digests, when it is first used."""

    layer: Layer
    open_split: Callable[[str], LayerStore]
    """opens `train`, `test` or `contrast`"""
    describe: Callable[[], dict] | None = None
    """gives the manifest of the layer, which it may know before anything was extracted; None: that of each split"""

    @cached_property
    def train(self) -> LayerStore:
        """Windows that dictionaries are trained on."""
        return self.open_split("train")

    @cached_property
    def test(self) -> LayerStore:
        """Held-out windows, on which all is measured."""
        return self.open_split("test")

    @cached_property
    def contrast(self) -> LayerStore:
        """Windows of another kind of text, for probes alone."""
        return self.open_split("contrast")

    def decided_by(self, split: str) -> dict:
        """What decides the activations of a split: its manifest without digests of files, which differ between machines
        by the rounding of their processors."""
        found = self._described if self.describe else getattr(self, split).manifest
        return {key: value for key, value in found.items() if key != "sha256"}

    @cached_property
    def _described(self) -> dict:
        return self.describe() if self.describe else {}

    @cached_property
    def statistics(self) -> InputStatistics:
        """Moments of the training windows."""
        return input_statistics(self.train.activations)

    @property
    def scale(self) -> float:
        """Brings the inputs to unit mean squared norm; the same for all dictionaries, so errors can be compared."""
        return self.statistics.scale(centred=False)


def independent_blocks(store: LayerStore) -> Tensor:
    """[n] the document of each window, or a stretch of neighbouring windows where there are few documents."""
    names = store.document.unique(return_inverse=True)[1]
    if int(names.max()) + 1 >= FEW_DOCUMENTS:
        return names
    order = np.lexsort((store.start.numpy(), store.document.numpy()))
    rank = torch.empty(len(order), dtype=torch.long)
    rank[torch.from_numpy(order)] = torch.arange(len(order))
    return rank * min(SETS, len(order)) // len(order)


def sets_of(block: Tensor) -> Tensor:
    """[n] the set of each window, of at most `SETS`: its block, or with neighbouring ones if there are many."""
    blocks = int(block.max()) + 1
    return block * min(SETS, blocks) // blocks
