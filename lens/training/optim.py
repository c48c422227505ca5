"""AdamW whose decoder rows stay on the unit sphere (eq. 7)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def unit_rows_(weight: Tensor) -> Tensor:
    """Scale each row of `weight` [d_sae, d_in] to unit norm, in place (eq. 7; one row is one feature's direction)."""
    norm = torch.linalg.vector_norm(weight, dim=-1, keepdim=True, dtype=torch.float32)
    return weight.div_(norm.clamp_min_(1e-8))  # a zero row stays zero instead of becoming NaN


def remove_parallel_(grad: Tensor, weight: Tensor) -> Tensor:
    """Remove from each row of `grad` its component along the same row of `weight` (unit rows), in place."""
    along = (grad * weight).sum(dim=-1, keepdim=True)
    return grad.addcmul_(weight, along, value=-1)


class ConstrainedAdamW(torch.optim.AdamW):
    """AdamW that keeps the rows of `constrained` weights at unit norm (eq. 7, section 5).

    One step is: remove the gradient component along each row, take the AdamW step, renormalise the rows. Without the
    first part Adam's moments fill with a direction that the last part throws away. Moments are kept in the weights'
    dtype; the update is the fused kernel of PyTorch.

    Args:
        constrained: weights [d_sae, d_in], unit norm along the last axis; no weight decay, eq. 7 would undo it.
        decayed: weights with decoupled weight decay (the encoder).
        free: everything else (biases, mask logits).

    Raises:
        ValueError: a constrained weight whose rows are not of unit norm, for instance because it is transposed.
    """

    def __init__(
        self,
        constrained: Iterable[Tensor],
        decayed: Iterable[Tensor],
        free: Iterable[Tensor],
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.01,
    ):
        self.constrained = list(constrained)
        for weight in self.constrained:
            norm = torch.linalg.vector_norm(weight.detach().float(), dim=-1)
            tolerance = 1e-4 if weight.dtype == torch.float32 else 2e-2
            if not torch.allclose(norm, torch.ones_like(norm), atol=tolerance):
                raise ValueError(
                    f"constrained weight {tuple(weight.shape)}: rows must have unit norm along the last axis "
                    f"[d_sae, d_in], found norms {norm.min():.4g} to {norm.max():.4g}"
                )
        groups = [
            {"params": self.constrained, "weight_decay": 0.0},
            {"params": list(decayed), "weight_decay": weight_decay},
            {"params": list(free), "weight_decay": 0.0},
        ]
        super().__init__([g for g in groups if g["params"]], betas=betas, eps=1e-8, fused=True)

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """One step at this learning rate."""
        for group in self.param_groups:
            group["lr"] = lr
        for weight in self.constrained:
            remove_parallel_(weight.grad, weight)  # type: ignore[arg-type]
        super().step()
        for weight in self.constrained:
            unit_rows_(weight)
