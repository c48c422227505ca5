"""The fast path of training: gradients of eq. 8 written out for ReLU, with a mask (eqs. 3 and 4) or without.

The same five matrix products as `lens.training.objective`, without the bookkeeping and the extra passes over memory
that autograd needs; tests hold values and gradients equal.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lens.dictionaries.architectures.relu import ReLU
from lens.dictionaries.dictionary import Dictionary
from lens.dictionaries.positions.mask import Mask, position_mask
from lens.dictionaries.positions.none import NoTerm
from lens.training.objective import Losses

Weights = dict[str, Tensor]
"""W_enc [d_in, d_sae], b_enc [d_sae], W_dec [d_sae, d_in], b_dec [d_in], pos_logits [P, d_sae]"""


def applies_to(dictionary: Dictionary) -> bool:
    """Whether the gradients of this dictionary are those written out here."""
    return type(dictionary.architecture) is ReLU and type(dictionary.position_term) in (Mask, NoTerm)


class Workspace:
    """The large intermediates of a step, kept from one step to the next.

    On a CPU, memory of this size goes back to the system when it is freed, and getting it anew, page by page, costs
    more than the arithmetic done in it. Runs that take turns may share one workspace.
    """

    def __init__(self):
        self._buffers: dict[tuple, Tensor] = {}

    def buffer(self, name: str, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
        """The buffer of this name and kind, holding whatever the last step left in it."""
        key = name, shape, dtype, device
        if key not in self._buffers:
            self._buffers[key] = torch.empty(shape, dtype=dtype, device=device)
        return self._buffers[key]


@torch.no_grad()
def loss_and_gradients(
    weights: Weights,
    x: Tensor,
    tau: float | None,
    position_weights: Tensor,
    l1_coef: float,
    workspace: Workspace,
    *,
    input_scale: float = 1.0,
    weight_l1: bool = True,
    compute_dtype: torch.dtype = torch.bfloat16,
    count_active: bool = False,
) -> tuple[Losses, Weights]:
    """Losses, and the gradient of eq. 8 (mean over windows, sum over positions) with respect to each weight.

    Args:
        weights: master weights, any dtype; `pos_logits` holds the rows of the P positions of x only.
        x: inputs [B, P, d_in].
        tau: temperature of the masks, None for a standard SAE.
        position_weights: w [P]; constants, no gradient flows through them (eq. 6 is a moving average, not a loss).
        l1_coef: lambda of eq. 8.
        workspace: holds the intermediates; nothing that is returned lies in it.
        input_scale: the objective is that of `input_scale * x`.
        compute_dtype: of the matrix products and of what is kept between them.
        count_active: also count active features (costs one more pass).

    Returns:
        Losses, and gradients of the same names and shapes as `weights`, in their dtype.
    """
    (B, P, d_in), d_sae = x.shape, len(weights["b_enc"])
    wide = torch.promote_types(compute_dtype, torch.float32)

    def buffer(name: str, width: int) -> Tensor:
        return workspace.buffer(name, (B * P, width), compute_dtype, x.device)

    x = torch.mul(x.to(compute_dtype), input_scale, out=buffer("x", d_in).view(B, P, d_in)).view(B * P, d_in)
    low = {name: weight.to(compute_dtype) for name, weight in weights.items() if name != "pos_logits"}
    w = position_weights / B
    l1_grad = l1_coef * (w if weight_l1 else torch.full_like(w, 1 / B))

    h = torch.addmm(low["b_enc"], x, low["W_enc"], out=buffer("h", d_sae)).relu_().view(B, P, d_sae)
    if tau is None:
        f = h
    else:
        m = position_mask(weights["pos_logits"].to(wide), tau)
        m_low = m.to(compute_dtype)
        f = torch.mul(h, m_low, out=buffer("f", d_sae).view(B, P, d_sae))
    f_flat = f.view(B * P, d_sae)
    # x_hat - x as f W_dec - (x - b_dec): the product adds in fp32, so the small difference is rounded once, not x_hat
    residual = torch.sub(x, low["b_dec"], out=buffer("residual", d_in))
    residual = residual.addmm_(f_flat, low["W_dec"], beta=-1).view(B, P, d_in)

    # Sums over one axis at a time, and without dtype= where they accumulate in fp32 anyway: the obvious spellings are
    # six to eight times slower on a CPU.
    error = torch.linalg.vector_norm(residual, dim=-1, dtype=wide).square_().mean(0)
    l1 = f.sum(-1).to(wide).mean(0)  # f >= 0
    active = (h > 0).sum(-1).to(wide).mean(0) if count_active else torch.full_like(l1, float("nan"))

    g = residual.mul_((2 * w).to(compute_dtype)[:, None]).view(B * P, d_in)  # dL/dx_hat
    grads = {"W_dec": f_flat.T @ g, "b_dec": g.sum(0)}
    df = torch.mm(g, low["W_dec"].T, out=buffer("df", d_sae)).view(B, P, d_sae)
    df.add_(l1_grad.to(compute_dtype)[:, None])
    if tau is not None:
        per_mask = torch.mul(df, h, out=f).view(B, -1).sum(0).view_as(m).to(wide)  # f itself is not needed any more
        grads["pos_logits"] = torch.ops.aten.sigmoid_backward(per_mask, m).div_(tau)
        df.mul_(m_low)
    torch.ops.aten.threshold_backward.grad_input(df, h, 0, grad_input=df)  # zero where the ReLU was off
    d_pre = df.view(B * P, d_sae)
    grads["W_enc"] = x.T @ d_pre
    grads["b_enc"] = d_pre.sum(0)
    return Losses(error, l1, active), {name: grads[name].to(weights[name].dtype) for name in weights}
