"""How a layer is named."""

from __future__ import annotations

Layer = int | str
"""a block index from 0, for the residual stream after that block, or `EMBEDDING`, for the input of block 0"""
EMBEDDING = "embedding"


def as_layer(name: Layer) -> Layer:
    """A layer as it was typed: "1" is block 1."""
    return int(name) if isinstance(name, str) and name.isdecimal() else name
