"""Stretches of a window by which what varies with position is summed."""

from __future__ import annotations


def buckets(T: int) -> dict[str, slice]:
    """Position buckets of a window of T: BOS, then 1-3, 4-7, 8 to T/4 (the end of "early") and the rest ("late")."""
    starts = sorted({s for s in (0, 1, 4, 8, T // 4 + 1) if s < T})
    ends = [*starts[1:], T]
    return {str(a) if b == a + 1 else f"{a}-{b - 1}": slice(a, b) for a, b in zip(starts, ends, strict=True)}
