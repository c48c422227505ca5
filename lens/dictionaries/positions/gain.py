"""Spline gain: each feature's score times a smooth positive function of position."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lens.dictionaries import splines
from lens.dictionaries.parts import PositionTerm
from lens.dictionaries.replace import KINDS, replaced


@dataclass(frozen=True)
class Settings:
    """Fields of a recipe."""

    splines: int = 8
    """parameters of each feature"""


class Gain(PositionTerm):
    """u * g, with log g_t = sum_s phi_s(t) a_s for each feature; all 1 at the start.

    phi are the centred splines of `lens.dictionaries.splines`: the geometric mean of g over text positions is 1, since
    any other level is the encoder's.
    """

    Settings = Settings
    acts_on = "score"
    shared_by = ("batch",)
    basis: Tensor

    def __init__(self, d_in: int, d_sae: int, n_positions: int | None, settings: Settings):
        super().__init__(d_in, d_sae, n_positions, settings)
        self.gain_splines = nn.Parameter(torch.zeros(settings.splines, d_sae))
        self.register_buffer("basis", splines.basis(self.T, settings.splines), persistent=False)

    def values(self, positions: Tensor | None = None) -> Tensor:
        basis = self.basis if positions is None else self.basis[positions]
        return (basis.to(self.gain_splines.dtype) @ self.gain_splines).exp()

    def interventions(self) -> tuple[str, ...]:
        return (*KINDS, "ones")

    def intervention(self, kind: str, generator: torch.Generator) -> Tensor:
        """Those of `replaced`, and `ones`: no gain at all."""
        values = self.values().detach()
        return torch.ones_like(values) if kind == "ones" else replaced(values, kind, generator)
