"""What the codes of earlier vectors predict of a vector (Lubana et al. 2025, arXiv 2511.01836)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

EPS = 1e-6  # added to the norm of a prediction


class Attention(nn.Module):
    """From codes of earlier vectors and of these, [B, T, width], to codes of these."""

    def __init__(self, width: int, heads: int, bottleneck: int):
        super().__init__()
        self.heads = heads
        self.k_ctx, self.q_target = (nn.Linear(width, width // bottleneck) for _ in range(2))
        self.v_ctx, self.c_proj = (nn.Linear(width, width) for _ in range(2))

    def forward(self, earlier: Tensor, these: Tensor) -> Tensor:
        q, k, v = (
            z.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for z in (self.q_target(these), self.k_ctx(earlier), self.v_ctx(earlier))
        )
        attended = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(attended.transpose(1, 2).flatten(2))


def shifted(z: Tensor) -> Tensor:
    """Of each position [B, T, ...] what is one position before it; 0 at the first."""
    return functional.pad(z[:, :-1], (0, 0, 1, 0))


def along(direction: Tensor, x: Tensor) -> Tensor:
    """How much of a direction [..., d] is in x: [..., 1], least squares but for EPS."""
    return (direction * x).sum(-1, keepdim=True) / (direction.norm(dim=-1, keepdim=True) + EPS).square()


def direction(attention: Attention, z: Tensor, D: Tensor, *, query: Tensor | None = None) -> Tensor:
    """ReLU of what attention makes of the earlier ones of codes z [B, T, width], decoded by D [width, d].

    Args:
        query: codes that ask, in the place of those of the vector itself.
    """
    return torch.relu(attention(shifted(z), z if query is None else query)) @ D
