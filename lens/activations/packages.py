"""Files that come in Python packages, found without importing them."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def folder(package: str, needed_by: str) -> Path:
    """The folder of an installed package.

    Args:
        needed_by: what to say where it is not installed: what needs it, and how to get it.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(needed_by)
    return Path(spec.origin).parent
