"""Dictionaries for tests."""

from __future__ import annotations

from types import SimpleNamespace

from torch import Tensor

from lens.dictionaries.codes import Codes
from lens.dictionaries.dictionary import Info


def info(d_in: int, d_sae: int, T: int, masked: bool = True, tau: float = 0.1, scale: float = 1.0, **rest) -> Info:
    """Of a ReLU dictionary with positions, masked at temperature `tau` or not."""
    term = {"position": "mask", "settings": {"tau_end": tau}} if masked else {"position": "none"}
    return Info(d_in, d_sae, T, input_scale=scale, **term, **rest)


class Code:
    """A dictionary whose features are the first coordinates of the activations themselves."""

    def __init__(self, d_sae: int):
        self.info = SimpleNamespace(d_sae=d_sae)

    def encode(self, x: Tensor) -> Codes:
        return Codes(x[..., : self.info.d_sae], None, self.info.d_sae)
