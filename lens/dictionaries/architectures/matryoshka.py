"""Matryoshka: a BatchTopK whose first features also reconstruct alone (Bussmann et al. 2025, arXiv 2503.17547).

The loss is the sum of the squared errors of nested dictionaries, each of which has the first features of the next: the
first ones learn what is common, and later ones cannot absorb it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lens.dictionaries.architectures import batch_topk
from lens.dictionaries.codes import Codes
from lens.dictionaries.parts import Forward
from lens.dictionaries.sparse import product
from lens.errors import DictionaryError


@dataclass(frozen=True)
class Settings(batch_topk.Settings):
    """Fields of a recipe."""

    prefixes: tuple[float, ...] = (1 / 32, 3 / 32, 7 / 32, 15 / 32, 1.0)
    """widths of the nested dictionaries as shares of d_sae, the last one 1; those of the paper's language models"""


def widths(prefixes: tuple[float, ...], d_sae: int) -> list[int]:
    """Numbers of features of the nested dictionaries, the last of them d_sae.

    Raises:
        DictionaryError: they do not increase from 1 or more to d_sae.
    """
    found = [round(share * d_sae) for share in prefixes]
    if any(b <= a for a, b in zip([0, *found], found, strict=False)) or found[-1:] != [d_sae]:
        raise DictionaryError(
            f"prefixes {tuple(prefixes)} of {d_sae} features are {found}: shares have to increase to 1, and "
            "each has to add a feature"
        )
    return found


class Matryoshka(batch_topk.BatchTopK):
    """Codes of BatchTopK; prefix m of them reconstructs x as f_(<m) W_dec_(<m) + b_dec."""

    Settings = Settings
    shared_by = ("batch",)

    def __init__(self, d_in: int, d_sae: int, settings: Settings):
        super().__init__(d_in, d_sae, settings)
        self.widths = widths(settings.prefixes, d_sae)

    def auxiliary(self, forward: Forward) -> Tensor | None:
        """Squared errors of all prefixes but the whole, whose error is in the loss already; and AuxK."""
        revival, left = super().auxiliary(forward), forward.residual
        errors = [] if revival is None else [revival]
        for start, end in reversed(list(zip(self.widths, self.widths[1:], strict=False))):
            left = left + decoded(forward.codes, start, end, forward.W_dec)  # x - f_(<start) W_dec_(<start) - b_dec
            errors.append(left.float().square().sum(-1).mean(0).sum())
        return torch.stack(errors).sum() if errors else None


def decoded(codes: Codes, start: int, end: int, W_dec: Tensor) -> Tensor:
    """What features `start` to `end` add to a reconstruction."""
    if codes.index is None:
        return codes.values[..., start:end] @ W_dec[start:end]
    return product(codes.values * ((codes.index >= start) & (codes.index < end)), codes.index, W_dec)
