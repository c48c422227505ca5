"""TopK: the k largest pre-activations of each vector (Gao et al. 2024, arXiv 2406.04093).

Dead features are revived by reconstructing what is left of the input (AuxK, appendix A.2 there).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from lens.dictionaries.codes import Codes
from lens.dictionaries.parts import Architecture, Forward, check_settings
from lens.dictionaries.sparse import is_few, product
from lens.errors import DictionaryError


@dataclass(frozen=True)
class Settings:
    """Fields of a recipe."""

    k: int = 32
    """features kept of each vector; fewer where fewer are positive"""
    k_aux: int = 0
    """dead features that reconstruct what is left; 0: half the width of the input"""
    aux_coef: float = 1 / 32
    """what their squared error is multiplied by in the loss"""
    dead_after: int = 1_000_000
    """vectors after which a feature that did not fire is dead"""

    def __post_init__(self):
        check_settings(self, positive=("k",), not_negative=("k_aux", "aux_coef", "dead_after"))


class TopK(Architecture):
    """f = ReLU(u + b_enc) for the k largest of u + b_enc, 0 for all others."""

    Settings = Settings
    shared_by = ("batch", "features")
    separable = False
    version = 2
    silent: Tensor

    def __init__(self, d_in: int, d_sae: int, settings: Settings):
        super().__init__(d_in, d_sae, settings)
        if settings.k > d_sae:
            raise DictionaryError(f"k = {settings.k} of {d_sae} features: choose 1..{d_sae}")
        self.k = settings.k
        self.b_enc = nn.Parameter(torch.zeros(d_sae))
        self.register_buffer("silent", torch.zeros(d_sae, dtype=torch.long))  # vectors since a feature fired

    def select(self, u: Tensor) -> Codes:
        return self._kept(u, partial(u.gather, -1))

    def select_few(self, u: Tensor, u_at: Callable[..., Tensor], opened: Tensor | None = None) -> Codes | None:
        if not is_few(self.k, self.d_sae, u.device):
            return None
        return self._kept(u, u_at)

    def rank(self, z: Tensor) -> Tensor:
        """What decides which of z = u + b_enc are kept."""
        return z

    def feature(self, z: Tensor) -> Tensor:
        """The feature of a z that is kept."""
        return torch.relu(z)

    def _kept(self, u: Tensor, u_at: Callable[..., Tensor]) -> Codes:
        scores, index = self.rank(u + self.b_enc).topk(self.k, dim=-1, sorted=False)
        return self._among_all(self._at(index, u_at), scores.detach(), self.k)

    def _among_all(self, codes: Codes, scores: Tensor, k: int) -> Codes:
        """Of the features of this process [..., m] with these scores those that are among the k largest of all."""
        if self.shards.by != "features":
            return codes
        scores = nn.functional.pad(scores, (0, k - scores.shape[-1]), value=float("-inf"))
        kept = self.shards.among_largest(scores, k)[..., : codes.values.shape[-1]]
        return Codes(codes.values * kept, codes.index, self.d_sae)

    def _at(self, index: Tensor, u_at: Callable[..., Tensor]) -> Codes:
        return Codes(self.feature(u_at(index) + self.b_enc[index]), index, self.d_sae)

    def auxiliary(self, forward: Forward) -> Tensor | None:
        """AuxK: the squared error of the residual as the k_aux largest dead features reconstruct it."""
        features = (self.silent > self.settings.dead_after).nonzero()[:, 0]
        dead = int(self.shards.sum_over_features(torch.tensor(len(features), device=self.silent.device)))
        if not dead:
            return None
        u = forward.u.detach()[..., features] + self.b_enc[features]
        k = min(self.settings.k_aux or self.d_in // 2, dead)
        scores, at = self.rank(u).topk(min(k, len(features)), dim=-1, sorted=False)
        codes = self._among_all(self._at(features[at], forward.u_at), scores.detach(), k)
        e_hat = self.shards.sum_over_features(product(codes.values, features[at], forward.W_dec))  # x_hat has b_dec
        return self.settings.aux_coef * (e_hat - forward.residual.detach()).float().square().sum(-1).mean(0).sum()

    def after_step(self, codes: Codes) -> None:
        vectors = codes.values.flatten(0, -2).shape[0]
        self.silent += vectors * self.shards.size if self.shards.by == "batch" else vectors
        self.silent[self.shards.any_in_batch(codes.alive())] = 0
