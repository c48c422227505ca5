"""Stretches of a window by which what varies with position is summed."""

from __future__ import annotations

from collections.abc import Iterable


def buckets(T: int) -> dict[str, slice]:
    """Position buckets of a window of T: BOS, then 1-3, 4-7, 8 to T/4 (the end of "early") and the rest ("late")."""
    return stretches(T, {0, 1, 4, 8, T // 4 + 1})


def stretches(T: int, starts: Iterable[int]) -> dict[str, slice]:
    """What lies between these positions of a window of T, the last up to its end, by names such as `4-7` or `0`."""
    starts = sorted(start for start in starts if start < T)
    ends = [*starts[1:], T]
    return {str(a) if b == a + 1 else f"{a}-{b - 1}": slice(a, b) for a, b in zip(starts, ends, strict=True)}
