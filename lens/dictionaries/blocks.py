"""Vectors in a row that share one code: blocks of text positions 1..span, span+1..2 span and so on.

Position 0 (BOS) ends a block that has nothing else, and the last block may be short: what is missing is 0.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import pad

from lens.dictionaries.codes import Codes


def fold(x: Tensor, span: int, first: int) -> Tensor:
    """Windows [B, P, d] from position `first` on, as blocks [B, n, span d]."""
    before = (first - 1) % span
    x = pad(x, (0, 0, before, -(before + x.shape[1]) % span))
    return x.unflatten(1, (-1, span)).flatten(2)


def unfold(x: Tensor, span: int, first: int, length: int) -> Tensor:
    """Blocks [B, n, span d] as windows [B, length, d] from position `first` on: `fold` undone."""
    before = (first - 1) % span
    return x.unflatten(2, (span, -1)).flatten(1, 2)[:, before : before + length]


def repeat(x: Tensor, span: int, first: int, length: int) -> Tensor:
    """What is one of each block [B, n, ...], at each of its positions [B, length, ...]."""
    before = (first - 1) % span
    return x.repeat_interleave(span, dim=1)[:, before : before + length]


def spread(codes: Codes, span: int, first: int, length: int) -> Codes:
    """Codes of blocks, at each of their positions: a feature that is on is on at all of them."""
    values, index = (v if v is None else repeat(v, span, first, length) for v in codes[:2])
    assert values is not None
    return Codes(values, index, codes.d_sae)


def decode(f: Tensor, W_dec: Tensor, b_dec: Tensor, span: int) -> Tensor:
    """Reconstructions [B, T, d] of whole windows from codes [B, T, d_sae]: each position by the decoder of its place in
    its block, W_dec [d_sae, span d] and b_dec [span d]."""
    d = b_dec.shape[0] // span
    x_hat = f.new_empty(*f.shape[:-1], d)
    for place in range(span):
        at, columns = slice((place + 1) % span, None, span), slice(place * d, (place + 1) * d)
        x_hat[:, at] = f[:, at] @ W_dec[:, columns] + b_dec[columns]
    return x_hat
