"""The training objective (eqs. 3, 4, 8), once as readable autograd code and once with its gradients written out.

`loss` is the definition. `loss_and_gradients` is what training calls: the same five matrix products without the
bookkeeping and the extra passes over memory that autograd needs; a test holds their values and gradients equal.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lens.sae.model import position_mask

Weights = dict[
    str, Tensor
]  # W_enc [d_in, d_sae], b_enc [d_sae], W_dec [d_sae, d_in], b_dec [d_in], pos_logits [P, d_sae]


class Losses(NamedTuple):
    """Sums that one optimiser step leaves behind; all fp32, means over the windows of the batch."""

    error: Tensor
    """squared error ||h_t - h_hat_t||^2 per position [P]"""
    l1: Tensor
    """||f_t||_1 per position [P]"""
    active: Tensor
    """number of active features per position, ||f_t||_0 [P]"""

    def total(self, position_weights: Tensor, l1_coef: float, weight_l1: bool = True) -> Tensor:
        """Eq. 8, per window: sum over t of w_t (error_t + lambda l1_t)."""
        l1_weights = position_weights if weight_l1 else torch.ones_like(position_weights)
        return (position_weights * self.error + l1_coef * l1_weights * self.l1).sum()


def loss(weights: Weights, x: Tensor, tau: float | None) -> Losses:
    """Losses of scaled inputs x [B, P, d_in] (eqs. 3, 4, 8); `tau` None leaves the masks out. Differentiable."""
    wide = torch.promote_types(x.dtype, torch.float32)  # sums are never taken in bf16
    f = torch.relu(x @ weights["W_enc"] + weights["b_enc"])
    active = (f > 0).sum(-1).to(wide).mean(0)  # counted before the mask, which never reaches 0
    if tau is not None:
        f = f * position_mask(weights["pos_logits"], tau)
    x_hat = f @ weights["W_dec"] + weights["b_dec"]
    return Losses((x_hat - x).to(wide).square().sum(-1).mean(0), f.to(wide).sum(-1).mean(0), active)


@torch.no_grad()
def loss_and_gradients(
    weights: Weights,
    x: Tensor,
    tau: float | None,
    position_weights: Tensor,
    l1_coef: float,
    *,
    weight_l1: bool = True,
    compute_dtype: torch.dtype = torch.bfloat16,
    count_active: bool = False,
) -> tuple[Losses, Weights]:
    """Losses, and the gradient of eq. 8 (mean over windows, sum over positions) with respect to each weight.

    Args:
        weights: master weights, any dtype; `pos_logits` holds the rows of the P positions of x only.
        x: scaled inputs [B, P, d_in].
        tau: temperature of the masks, None for a standard SAE.
        position_weights: w [P]; constants, no gradient flows through them (eq. 6 is a moving average, not a loss).
        l1_coef: lambda of eq. 8.
        compute_dtype: of the matrix products and of what is kept between them.
        count_active: also count active features (costs one more pass).

    Returns:
        Losses, and gradients of the same names and shapes as `weights`, in their dtype.
    """
    B, P, d_in = x.shape
    wide = torch.promote_types(compute_dtype, torch.float32)
    x = x.to(compute_dtype).reshape(B * P, d_in)
    low = {name: weight.to(compute_dtype) for name, weight in weights.items() if name != "pos_logits"}
    w = position_weights / B
    l1_grad = l1_coef * (w if weight_l1 else torch.full_like(w, 1 / B))

    h = torch.addmm(low["b_enc"], x, low["W_enc"]).relu_().view(B, P, -1)
    if tau is None:
        f = h
    else:
        m = position_mask(weights["pos_logits"].to(wide), tau)
        m_low = m.to(compute_dtype)
        f = h * m_low
    f_flat = f.view(B * P, -1)
    residual = torch.addmm(low["b_dec"], f_flat, low["W_dec"]).to(wide).sub_(x).view(B, P, d_in)

    # Reductions run over one axis at a time, and over bf16 values without a wider dtype= (they accumulate in fp32
    # either way): the obvious spellings are six to eight times slower on a CPU.
    error = torch.linalg.vector_norm(residual, dim=-1).square_().mean(0)
    l1 = f.sum(-1).to(wide).mean(0)  # f >= 0
    active = (h > 0).sum(-1).to(wide).mean(0) if count_active else torch.full_like(l1, float("nan"))

    g = residual.mul_((2 * w)[:, None]).to(compute_dtype).view(B * P, d_in)  # dL/dx_hat
    grads = {"W_dec": f_flat.T @ g, "b_dec": g.sum(0)}
    df = (g @ low["W_dec"].T).view(B, P, -1).add_(l1_grad.to(compute_dtype)[:, None])
    if tau is not None:
        per_mask = (df.view(B, -1) * h.view(B, -1)).sum(0).view_as(m).to(wide)
        grads["pos_logits"] = per_mask * (m * (1 - m) / tau)
        df.mul_(m_low)
    d_pre = torch.ops.aten.threshold_backward(df, h, 0).view(B * P, -1)  # zero where the ReLU was off
    grads["W_enc"] = x.T @ d_pre
    grads["b_enc"] = d_pre.sum(0)
    return Losses(error, l1, active), {name: grads[name].to(weights[name].dtype) for name in weights}
