"""Sums of few rows on a GPU, in Triton: `lens.dictionaries.sparse` uses them there, and PyTorch's operators elsewhere.

Sums are in fp32 and in one order, without atomic additions, so that a call gives the same bits twice.
"""

from __future__ import annotations

import torch
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor

BLOCK = 512  # columns of one program


@triton.jit
def _sum_rows(values, index, offsets, table, out, d, BLOCK: tl.constexpr):
    """out[b] = sum of values[j] table[index[j]] over j from offsets[b] to offsets[b + 1]."""
    bag = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < d
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for j in range(tl.load(offsets + bag), tl.load(offsets + bag + 1)):
        row = tl.load(table + tl.load(index + j) * d + column, mask=inside, other=0.0)
        total += tl.load(values + j) * row
    tl.store(out + bag * d + column, total, mask=inside)


@triton.jit
def _products(left, left_row, right, right_row, out, d, BLOCK: tl.constexpr):
    """out[j] = left[left_row[j]] . right[right_row[j]]."""
    j = tl.program_id(0).to(tl.int64)
    a, b = tl.load(left_row + j) * d, tl.load(right_row + j) * d
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for first in range(0, d, BLOCK):
        column = first + tl.arange(0, BLOCK)
        inside = column < d
        total += tl.load(left + a + column, mask=inside, other=0.0) * tl.load(
            right + b + column, mask=inside, other=0.0
        )
    tl.store(out + j, tl.sum(total))


def bags(values: Tensor, index: Tensor, sizes: Tensor, table: Tensor) -> Tensor:
    """Sums [B, d] of values [K] times rows `index` [K] of table [n, d], for B groups of these sizes that follow one
    another; fp32, differentiable by values and table."""
    return _Bags.apply(values, index, sizes, table)  # type: ignore


class _Bags(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values: Tensor, index: Tensor, sizes: Tensor, table: Tensor) -> Tensor:
        table = table.contiguous()
        ctx.save_for_backward(values, index, sizes, table)
        return _summed(values, index, sizes, table)

    @staticmethod
    def backward(ctx, grad: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        values, index, sizes, table = ctx.saved_tensors
        grad, d, by_values, by_table = grad.contiguous(), table.shape[1], None, None
        bag = torch.repeat_interleave(torch.arange(len(sizes), device=index.device), sizes, output_size=len(index))
        if ctx.needs_input_grad[0]:
            by_values = torch.empty_like(values)
            if len(index):
                launch = _products[(len(index),)]  # pyright: ignore[reportIndexIssue]
                launch(grad, bag, table, index, by_values, d, BLOCK=BLOCK)
        if ctx.needs_input_grad[3]:  # the same sum once more: each row of the table is a group
            order = index.argsort(stable=True)
            by_table = _summed(values[order], bag[order], index.bincount(minlength=len(table)), grad)
        return by_values, None, None, by_table


def _summed(values: Tensor, index: Tensor, sizes: Tensor, table: Tensor) -> Tensor:
    d = table.shape[1]
    out = torch.empty(len(sizes), d, dtype=table.dtype, device=table.device)
    offsets = torch.nn.functional.pad(sizes.cumsum(0), (1, 0))
    launch = _sum_rows[(len(sizes), triton.cdiv(d, BLOCK))]  # pyright: ignore[reportIndexIssue]
    launch(values.contiguous(), index.contiguous(), offsets, table, out, d, BLOCK=BLOCK)
    return out
