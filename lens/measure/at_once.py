"""How many windows are held at a time: memory is bounded by tokens, however long the windows are."""

from __future__ import annotations

COMMON = 128  # tokens of a window, for which the numbers of windows are meant


def at_once(most: int, T: int) -> int:
    """Windows of T tokens with as many tokens as `most` windows of 128 have, at least one; of shorter ones `most`."""
    return max(1, min(most, most * COMMON // T))
