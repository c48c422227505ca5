"""Low-rank dense side path: a learned vector for each position, of few dimensions in all, goes past the features.

The dense path of arXiv 2606.14040 reads the input; this one reads the position alone, so that a code still says all
that the dictionary says of the input. It is `centred` with the mean learned, and of rank r.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lens.dictionaries.parts import PositionTerm, check_settings
from lens.dictionaries.replace import KINDS, replaced
from lens.errors import DictionaryError


@dataclass(frozen=True)
class Settings:
    """Fields of a recipe."""

    rank: int = 8
    """dimensions of the path, at most the width of the input"""

    def __post_init__(self):
        check_settings(self, positive=("rank",))


class LowRank(PositionTerm):
    """x - c_t V, and x_hat = f W_dec + b_dec + c_t V, with c [T, r] and V [r, d_in] learned; c is 0 at the start."""

    Settings = Settings
    acts_on = "input"
    shared_by = ("batch",)

    def __init__(self, d_in: int, d_sae: int, n_positions: int | None, settings: Settings):
        super().__init__(d_in, d_sae, n_positions, settings)
        if settings.rank > d_in:
            raise DictionaryError(f"rank = {settings.rank} of inputs of width {d_in}: choose 1..{d_in}")
        self.side_codes = nn.Parameter(torch.zeros(self.T, settings.rank))
        self.side_directions = nn.Parameter(torch.zeros(settings.rank, d_in))

    def initialise(self, generator: torch.Generator) -> None:
        """Random orthonormal V."""
        drawn = torch.randn(self.d_in, self.settings.rank, generator=generator)
        self.side_directions.data.copy_(torch.linalg.qr(drawn).Q.T)

    def values(self, positions: Tensor | None = None) -> Tensor:
        codes = self.side_codes if positions is None else self.side_codes[positions]
        return codes @ self.side_directions

    def apply(self, target: Tensor, values: Tensor) -> Tensor:
        return target - values

    def undo(self, x_hat: Tensor, values: Tensor) -> Tensor:
        return x_hat + values

    def interventions(self) -> tuple[str, ...]:
        return (*KINDS, "zeros")

    def intervention(self, kind: str, generator: torch.Generator) -> Tensor:
        """Those of `replaced`, and `zeros`: no side path at all."""
        values = self.values().detach()
        return torch.zeros_like(values) if kind == "zeros" else replaced(values, kind, generator)
