"""JumpReLU: a learned threshold for each feature, and an L0 penalty (Rajamanoharan et al. 2024, arXiv 2407.14435).

Neither the jump nor the count of features has a useful gradient by the threshold: both get that of their expectation,
estimated with a rectangular kernel around it (eqs. 11 and 12 there). Pre-activations go through a ReLU first, as in
appendix J.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lens.dictionaries.codes import Codes
from lens.dictionaries.parts import Architecture, Forward, check_settings


@dataclass(frozen=True)
class Settings:
    """Fields of a recipe; they concern training alone."""

    l0_coef: float = 1.0
    """what the penalty is multiplied by in the loss"""
    target_l0: float = 32.0
    """the penalty is (L0 / target - 1)^2, L0 the mean over a batch; 0: it is the L0 of each vector"""
    bandwidth: float = 0.001
    """width of the kernel, in units of the scaled pre-activations"""
    initial_threshold: float = 0.001
    """of every feature"""

    def __post_init__(self):
        check_settings(self, positive=("bandwidth",), not_negative=("l0_coef", "target_l0", "initial_threshold"))


class _Jump(torch.autograd.Function):
    """z H(z - threshold), and H(z - threshold): [..., d_sae], [d_sae] -> twice [..., d_sae]."""

    @staticmethod
    def forward(ctx, z: Tensor, threshold: Tensor, bandwidth: float):
        on = z > threshold
        ctx.save_for_backward(z, threshold, on)
        ctx.bandwidth = bandwidth
        return z * on, on.to(z.dtype)

    @staticmethod
    def backward(ctx, by_jump: Tensor, by_step: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        z, threshold, on = ctx.saved_tensors
        kernel = ((z - threshold).abs() < ctx.bandwidth / 2) / ctx.bandwidth
        by_threshold = -(threshold * by_jump + by_step) * kernel
        return by_jump * on, by_threshold.flatten(0, -2).sum(0), None


class JumpReLU(Architecture):
    """f = ReLU(u + b_enc) where u + b_enc > threshold, else 0."""

    Settings = Settings
    l0_setting = "target_l0"
    shared_by = ("batch", "features")
    in_units_of_u = ("b_enc", "threshold")
    penalty_name = "l0_penalty"

    def __init__(self, d_in: int, d_sae: int, settings: Settings):
        super().__init__(d_in, d_sae, settings)
        self.b_enc = nn.Parameter(torch.zeros(d_sae))
        self.threshold = nn.Parameter(torch.zeros(d_sae))

    def initialise(self, generator: torch.Generator) -> None:
        nn.init.constant_(self.threshold, self.settings.initial_threshold)

    @property
    def coefficient(self) -> float:
        return self.settings.l0_coef

    def _jump(self, u: Tensor) -> tuple[Tensor, Tensor]:
        return _Jump.apply(torch.relu(u + self.b_enc), self.threshold, self.settings.bandwidth)  # type: ignore

    def select(self, u: Tensor) -> Codes:
        return Codes(self._jump(u)[0], None, self.d_sae)

    def penalty(self, forward: Forward) -> Tensor:
        """L0 of each vector; or, with a target, one value for all."""
        l0 = self.shards.sum_over_features(self._jump(forward.u)[1].sum(-1))
        if not self.settings.target_l0:
            return l0
        return (self.shards.mean_over_batch(l0.mean()) / self.settings.target_l0 - 1).square().expand(l0.shape)

    def after_step(self, codes: Codes) -> None:
        with torch.no_grad():
            self.threshold.clamp_(min=0)  # below 0 all would be on that the ReLU lets through
