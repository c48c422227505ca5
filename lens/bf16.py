"""bf16 matrix products on processors without instructions for them: the same numbers multiplied in float32.

On such a CPU (no AVX-512, or an Apple M1) PyTorch multiplies bf16 matrices number by number, up to twenty times
slower than float32 ones. The product of float32 copies, rounded to bf16 at its end, is what bf16 instructions compute:
the factors are exact in float32, and both add up in float32, in an order that differs between processors anyway.
PyTorch's attention is left to itself: it is fast there, and rounds between its two products.
"""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

aten = torch.ops.aten
IN_PLACE = {aten.addmm_.default: aten.addmm.default, aten.baddbmm_.default: aten.baddbmm.default}
INTO = {aten.mm.out: aten.mm.default, aten.addmm.out: aten.addmm.default, aten.bmm.out: aten.bmm.default}
PRODUCTS = {
    aten.mm.default, aten.addmm.default, aten.bmm.default, aten.baddbmm.default, aten.mv.default, aten.addmv.default,
    aten.convolution.default, aten.convolution_backward.default, *IN_PLACE, *INTO,
}  # fmt: skip
SIMPLE: set[OpOverload] = set()  # operators that were found to consist of no others
AT_ONCE = 1 << 22  # numbers of a wide matrix that are copied to float32 together: the head of a model has 1e8 and more


def native(device: torch.device) -> bool:
    """Whether the device has instructions for bf16 products."""
    return device.type != "cpu" or (
        torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def products(device: torch.device) -> contextlib.AbstractContextManager:
    """Inside it, and in what autograd does there, no bf16 product on the device is much slower than a float32 one."""
    return contextlib.nullcontext() if native(device) else _InFloat32()


class _InFloat32(TorchDispatchMode):
    def __torch_dispatch__(self, func: OpOverload, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in PRODUCTS and _is_bf16(args[0]):
            return _in_float32(func, args, kwargs)
        if func not in SIMPLE:
            with self:  # an operator that consists of others is taken apart
                whole = func.decompose(*args, **kwargs)
            if whole is not NotImplemented:
                return whole
            SIMPLE.add(func)
        return func(*args, **kwargs)


def _in_float32(func: OpOverload, args: tuple, kwargs: dict):
    out = args[0] if func in IN_PLACE else kwargs.get("out")
    if func is aten.mm.default and (wide := args[1]).shape[1] > wide.shape[0] and wide.numel() > AT_ONCE:
        parts = wide.split(max(1, AT_ONCE // wide.shape[0]), dim=1)
        return torch.cat([_in_float32(func, (args[0], part), {}) for part in parts], dim=1)
    wide_args, wide_kwargs = tree_map_only(Tensor, _widened, (args, {k: v for k, v in kwargs.items() if k != "out"}))
    found = {**IN_PLACE, **INTO}.get(func, func)(*wide_args, **wide_kwargs)
    if out is not None:
        return out.copy_(found)
    return tree_map_only(Tensor, Tensor.bfloat16, found)


def _is_bf16(value: object) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.bfloat16


def _widened(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor
