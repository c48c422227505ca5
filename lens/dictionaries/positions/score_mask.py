"""Masks on the scores: a closed mask keeps a feature from being selected, where a mask on the code only weakens it."""

from __future__ import annotations

from lens.dictionaries.parts import Architecture
from lens.dictionaries.positions.mask import Mask


class ScoreMask(Mask):
    """u * m before the bias and the selection, with m = sigmoid(pos_logits / tau) as in eq. 4; for any architecture."""

    acts_on = "score"
    shared_by = ("batch",)

    @classmethod
    def check(cls, architecture: type[Architecture]) -> None:
        """Scores are there in every architecture."""
