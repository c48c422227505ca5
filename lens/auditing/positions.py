"""Is a token's activation that of its own place, however its text is batched, padded or packed?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lens.auditing.findings import Finding, Status
from lens.auditing.sources import Side, Source, Transformers

TOLERANCE = 0.01  # of a vector's norm, in fp32: batches of other sizes differ by 1e-5, a position by .1 and more
OTHER: dict[Side, Side] = {"left": "right", "right": "left"}


def gap(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    """The largest distance of two vectors of one token, over the norm of the second, of activations [T_i, d]."""
    return max(float(((x - y).norm(dim=-1) / y.norm(dim=-1).clamp(min=1e-12)).max()) for x, y in zip(a, b, strict=True))


def alone(source: Source, sequences: Sequence[Sequence[int]]) -> list[Tensor]:
    """Activations of each sequence in a batch of its own, with which all others are compared."""
    return [source.activations([ids], "right")[0] for ids in sequences]


def batched(source: Source, sequences: Sequence[Sequence[int]], reference: Sequence[Tensor]) -> Finding:
    """Texts of one length in one batch: nothing is padded."""
    width = min(map(len, sequences))
    found = gap(source.activations([ids[:width] for ids in sequences], "right"), [x[:width] for x in reference])
    return _judged("batch", found, "a text reads the same alone and in a batch", "fail", "a batch changes activations")


def padded(source: Source, sequences: Sequence[Sequence[int]], reference: Sequence[Tensor], side: Side) -> Finding:
    """Texts of different lengths in one batch, padded on a side."""
    found = source.activations(sequences, side)
    if any(len(x) != len(y) for x, y in zip(found, reference, strict=True)):
        return Finding(f"padded {side}", "fail", "padded texts come back with other numbers of tokens")
    wrong = sum(gap([x], [y]) > TOLERANCE for x, y in zip(found, reference, strict=True))
    advice = f"padding on the {side} changes the activations of {wrong} of {len(sequences)} texts"
    if isinstance(source, Transformers) and gap(source.read(sequences, side, numbered=True), reference) <= TOLERANCE:
        advice += ": the model counts pads as positions; pass position_ids=(attention_mask.cumsum(1) - 1).clamp(min=0)"
    else:
        advice += f": pad on the {OTHER[side]}, or read texts of one length"
    status: Status = "fail" if source.pads == side else "trap"
    said = f"texts padded on the {side} read the same as alone"
    return _judged(f"padded {side}", gap(found, reference), said, status, advice)


def causal(source: Source, sequences: Sequence[Sequence[int]], reference: Sequence[Tensor]) -> Finding:
    """A text's first half alone."""
    halves = [ids[: len(ids) // 2] for ids in sequences]
    found = gap(alone(source, halves), [x[: len(ids)] for x, ids in zip(reference, halves, strict=True)])
    text = "a token's activation depends on later ones: position, and how much follows, cannot be told apart"
    return _judged("causal", found, "later tokens don't change earlier ones", "trap", text)


def packed(source: Source, sequences: Sequence[Sequence[int]], bos: int | None) -> Finding:
    """A document in one window behind another, BOS of its own first."""
    first, second = (list(ids) for ids in sequences[:2])
    [joined], [own] = alone(source, [first + second]), alone(source, [second])
    text = int(second[0] == bos)  # BOS itself needn't be as it is at t = 0
    bad = (
        "a document packed behind another reads otherwise than alone: it sees the one before it, and positions go on. "
        "Cut windows at documents, or count positions from the start of each"
    )
    found = gap([joined[len(first) + text :]], [own[text:]])
    return _judged("packed", found, "documents packed into one window read as alone", "trap", bad)


def without_bos(
    source: Source, sequences: Sequence[Sequence[int]], reference: Sequence[Tensor], bos: int | None
) -> Finding:
    """What BOS does to tokens far behind it: those in the second half of each text."""
    if bos is None or any(ids[0] != bos for ids in sequences):
        return Finding("without bos", "untested", "the texts don't begin with BOS")
    found = alone(source, [ids[1:] for ids in sequences])
    late = gap([x[len(x) // 2 :] for x in found], [y[1 + len(x) // 2 :] for x, y in zip(found, reference, strict=True)])
    bad = f"without BOS, activations differ by up to {late:.2g} of their norm even in the second half of a text"
    return _judged("without bos", late, "BOS doesn't matter to tokens in the second half of a text", "trap", bad)


def finite(reference: Sequence[Tensor]) -> Finding:
    """No activation is nan or infinite."""
    bad = sum(int((~torch.isfinite(x)).any(-1).sum()) for x in reference)
    text = f"{bad} tokens have activations that are nan or infinite" if bad else "all activations are finite"
    return Finding("finite", "fail" if bad else "pass", text, {"tokens": bad})


def _judged(check: str, found: float, good: str, status: Status, bad: str) -> Finding:
    same = found <= TOLERANCE
    return Finding(check, "pass" if same else status, good if same else bad, {"gap": round(found, 6)})
