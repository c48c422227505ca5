"""The mode in which somebody's module runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def evaluating(inner: object) -> Iterator[None]:
    """Evaluation mode (no dropout, no batch statistics) for a while, in every part of a module that was not in it."""
    training = [m for m in inner.modules() if m.training] if isinstance(inner, nn.Module) else []
    try:
        for module in training:
            module.training = False
        yield
    finally:
        for module in training:
            module.training = True
