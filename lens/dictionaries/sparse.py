"""Products with the few features that a vector keeps: no tensor of width d_sae is formed, in gradients neither."""

from __future__ import annotations

import functools
import importlib
import warnings
from types import ModuleType

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from lens.bf16 import native

FEW, FEW_WITHOUT_BF16 = 32, 10
"""features for each that is kept, from which on it is faster to gather rows than to multiply with all of them"""


def is_few(k: int, d_sae: int, device: torch.device) -> bool:
    """Whether k of d_sae features are so few that their rows are gathered: the same numbers but for their rounding."""
    return (FEW if native(device) else FEW_WITHOUT_BF16) * k <= d_sae


def product(values: Tensor, index: Tensor, table: Tensor) -> Tensor:
    """Sum over k of values [..., k] times rows `index` [..., k] of table [n, d]: [..., d], in fp32 or wider.

    Differentiable by values and table; a value of 0 has no gradient.
    """
    on = values != 0
    sizes = on.flatten(0, -2).sum(-1)
    at = on.flatten().nonzero()[:, 0]  # one axis: several times faster than with a mask of three
    kept, index = (t.flatten().index_select(0, at) for t in (values, index))
    return _bags(kept, index, sizes, table).view(*values.shape[:-1], table.shape[-1])


def scores_at(index: Tensor, vector: Tensor | None = None, *, u: Tensor, x: Tensor, W_enc: Tensor) -> Tensor:
    """u = x W_enc at `index` [..., k], which is known, with gradients by x [..., d] and W_enc [d, d_sae].

    With `vector` [K], numbers of vectors in rising order, those of the pairs of one of these and a feature of `index`
    [K]: what a batch keeps without slots that are empty.
    """
    return _At.apply(index, vector, u, x, W_enc)  # type: ignore


class _At(torch.autograd.Function):
    @staticmethod
    def forward(ctx, index: Tensor, vector: Tensor | None, u: Tensor, x: Tensor, W_enc: Tensor) -> Tensor:
        if vector is None:
            vector = torch.arange(u[..., 0].numel(), device=u.device).repeat_interleave(index.shape[-1])
        ctx.save_for_backward(index, vector, x, W_enc)
        return u.flatten()[vector * u.shape[-1] + index.flatten()].view(index.shape)

    @staticmethod
    def backward(ctx, grad: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        index, vector, x, W_enc = ctx.saved_tensors
        at = (grad != 0).flatten().nonzero()[:, 0]
        grad, feature, vector = (t.flatten().index_select(0, at) for t in (grad, index, vector))
        by_x = None
        if ctx.needs_input_grad[3]:
            sizes = vector.bincount(minlength=x[..., 0].numel())
            by_x = _bags(grad, feature, sizes, W_enc.T).view_as(x).to(x.dtype)
        order = feature.argsort(stable=True)  # the same product once more: each feature is a bag of vectors
        sizes = feature.bincount(minlength=W_enc.shape[1])
        by_W = _bags(grad[order], vector[order], sizes, x.flatten(0, -2)).T.contiguous()
        return None, None, None, by_x, by_W.to(W_enc.dtype)


def _bags(values: Tensor, index: Tensor, sizes: Tensor, table: Tensor) -> Tensor:
    """Sums [B, d] of values times rows of table, for B groups of these sizes that follow one another."""
    wide = torch.promote_types(table.dtype, torch.float32)
    values, table = values.to(wide), table.to(wide)
    if table.is_cuda and wide == torch.float32 and (kernels := _kernels(table.device)):
        return kernels.bags(values, index, sizes, table)
    return embedding_bag(index, table, sizes.cumsum(0) - sizes, per_sample_weights=values, mode="sum")


@functools.cache
def _kernels(device: torch.device) -> ModuleType | None:
    """`lens.dictionaries.kernels` where Triton works, which comes with PyTorch for CUDA and needs a C compiler."""
    try:
        kernels = importlib.import_module("lens.dictionaries.kernels")
        one = torch.ones(1, device=device)
        kernels.bags(one, one.long() - 1, one.long(), one[None])
        return kernels
    except ModuleNotFoundError:
        return None
    except Exception as error:  # of a compiler, a driver or a device
        warnings.warn(f"Triton does not work here ({error}): PyTorch's slower operators are used", stacklevel=2)
        return None
