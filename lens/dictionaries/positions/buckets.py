"""Bucket copies: every feature once for each bucket of positions, selected at positions of its bucket alone.

As free as a term of position can be at this number of buckets: separate dictionaries with one decoder bias and, for
BatchTopK, one budget. What they gain over one dictionary of the width of a copy bounds what terms that are constant
within buckets can gain.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lens.dictionaries.parts import PositionTerm
from lens.dictionaries.replace import replaced
from lens.errors import DictionaryError

CLOSED = -1e12  # a score that is never selected; finite, since its gradient is multiplied by 0


@dataclass(frozen=True)
class Settings:
    """Fields of a recipe."""

    edges: tuple[int, ...] = (4, 8, 16, 32)
    """first position of every bucket but the first one, which begins at 0"""
    part_at: float = 0.0
    """share of the steps after which the copies of a feature part; until then they learn as the one that they are"""

    def __post_init__(self):
        if not self.edges or list(self.edges) != sorted(set(self.edges)) or self.edges[0] < 1:
            raise DictionaryError(f"edges must be positions above 0 in rising order, found {self.edges}")
        if not 0 <= self.part_at < 1:
            raise DictionaryError(f"part_at must be a share of the steps, 0 to less than 1, found {self.part_at}")


class Buckets(PositionTerm):
    """u where the feature's bucket is that of the position, closed elsewhere.

    Feature j is of bucket j mod their number. Copies of one feature are neighbours, and start with the same weights.
    """

    Settings = Settings
    acts_on = "score"
    shared_by = ("batch",)
    bucket: Tensor
    parted = False

    def __init__(self, d_in: int, d_sae: int, n_positions: int | None, settings: Settings):
        super().__init__(d_in, d_sae, n_positions, settings)
        self.copies = len(settings.edges) + 1
        if settings.edges[-1] >= self.T or d_sae % self.copies:
            raise DictionaryError(
                f"buckets that begin at 0, {', '.join(map(str, settings.edges))}: {d_sae} features and positions "
                f"0..{self.T - 1} do not divide into {self.copies} of them; choose other edges or another expansion"
            )
        edges = torch.tensor(settings.edges, device="cpu")
        bucket = torch.bucketize(torch.arange(self.T, device="cpu"), edges, right=True)
        self.register_buffer("bucket", bucket, persistent=False)

    @property
    def keeps_scores(self) -> bool:
        return True

    def values(self, positions: Tensor | None = None) -> Tensor:
        """1 where a feature can be selected, else 0."""
        bucket = self.bucket if positions is None else self.bucket[positions]
        copy = torch.arange(self.d_sae, device=bucket.device) % self.copies
        return (bucket[..., None] == copy).float()

    def apply(self, target: Tensor, values: Tensor) -> Tensor:
        return torch.where(values > 0, target, CLOSED)

    def scores(self, x: Tensor, W_enc: Tensor, values: Tensor) -> Tensor:
        """The same as for any term, without the products whose scores are closed where x are windows."""
        if values.ndim != 2:
            return super().scores(x, W_enc, values)
        opened = values[:, : self.copies].argmax(1)
        found = {
            bucket: (rows, x[..., rows, :] @ W_enc[:, bucket :: self.copies])
            for bucket in opened.unique().tolist()
            for rows in [(opened == bucket).nonzero()[:, 0]]
        }
        dtype = next(iter(found.values()))[1].dtype
        u = torch.full((*x.shape[:-1], self.d_sae), CLOSED, dtype=dtype, device=x.device)
        for bucket, (rows, part) in found.items():
            u[..., rows, bucket :: self.copies] = part
        return u

    def opened(self, values: Tensor) -> Tensor:
        copy = values[:, : self.copies].argmax(1)
        return copy[:, None] + torch.arange(0, self.d_sae, self.copies, device=values.device)

    def before_step(self, step: int, steps: int) -> None:
        self.parted = step >= self.settings.part_at * steps

    def change_gradients(self, gradients: dict[str, Tensor]) -> None:
        """Before they part, the copies of a feature all have the gradient of the one feature."""
        for name, g in {} if self.parted else gradients.items():
            axis = 0 if name == "W_dec" else g.ndim - 1
            if g.shape[axis] == self.d_sae:
                copies = g.unflatten(axis, (-1, self.copies))
                g.copy_(copies.sum(axis + 1, keepdim=True).expand_as(copies).flatten(axis, axis + 1))

    def interventions(self) -> tuple[str, ...]:
        return ("shuffled", "moved")

    def intervention(self, kind: str, generator: torch.Generator) -> Tensor:
        """Those of `replaced` that open one copy of a feature everywhere."""
        if kind not in self.interventions():
            return super().intervention(kind, generator)
        return replaced(self.values(), kind, generator)
