"""The versions of the stages that take long: what tells work of today's code from work of other numbers."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from lens.files import read_yaml


@cache
def _versions() -> dict[str, int]:
    return read_yaml(Path(__file__).with_suffix(".yaml"))


def version(stage: str) -> int:
    """The number of a stage in `lens/versions.yaml`: raised when the stage's numbers change, and then only."""
    return _versions()[stage]
