"""One layer's activations, opened once and handed down to all that trains on them or measures on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from lens.activations.layers import Layer
from lens.activations.statistics import InputStatistics, input_statistics
from lens.activations.store import LayerStore


@dataclass(frozen=True)
class LayerData:
    """The splits of one layer. Each is opened, and its files compared with their digests, when it is first used."""

    layer: Layer
    open_split: Callable[[str], LayerStore]
    """opens `train`, `test` or `contrast`"""

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

    @cached_property
    def statistics(self) -> InputStatistics:
        """Moments of the training windows."""
        return input_statistics(self.train.activations)

    @property
    def scale(self) -> float:
        """Brings the inputs to unit mean squared norm; the same for all dictionaries, so errors can be compared."""
        return self.statistics.scale(centred=False)
