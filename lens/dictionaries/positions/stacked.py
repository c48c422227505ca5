"""Stacked dictionaries: one for each place in a block of neighbouring positions, the control of a temporal crosscoder.

They see as many neighbours as the crosscoder and have as many weights, but share no code: what it gains over them is
due to sharing (stacked SAE of chainik1125/temp_xc). Here they have one b_dec, since windows that start anywhere have
one mean at all places, and start with the same weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lens.dictionaries.parts import PositionTerm, check_settings
from lens.dictionaries.positions import buckets
from lens.errors import DictionaryError


@dataclass(frozen=True)
class Settings:
    """Fields of a recipe."""

    span: int = 2
    """positions of a block; the dictionaries have d_sae / span features each"""

    def __post_init__(self):
        check_settings(self, positive=("span",))


class Stacked(buckets.Buckets):
    """u where the feature's dictionary is that of the place (t - 1) mod span, closed elsewhere."""

    Settings = Settings

    def __init__(self, d_in: int, d_sae: int, n_positions: int | None, settings: Settings):
        PositionTerm.__init__(self, d_in, d_sae, n_positions, settings)
        self.copies = settings.span
        if d_sae % self.copies:
            raise DictionaryError(
                f"{d_sae} features do not divide into {self.copies} dictionaries: choose another span"
            )
        self.register_buffer("bucket", (torch.arange(self.T, device="cpu") - 1) % self.copies, persistent=False)

    def before_step(self, step: int, steps: int) -> None:
        """The dictionaries are apart from the first step on."""
        self.parted = True
