"""Recipes by name, as a YAML file holds them (imports nothing that is slow)."""

from __future__ import annotations

from pathlib import Path

from lens import files
from lens.errors import ConfigError


def read(path: Path) -> dict[str, dict]:
    """Fields of each recipe by its name, not yet checked.

    Raises:
        ConfigError: no such file, or it holds something else.
    """
    found = files.read_yaml(path, "name another under recipe_file, or correct this one")
    if not all(isinstance(v, dict | None) for v in found.values()):
        raise ConfigError(f"{path}: expected a mapping from names to the fields of their recipes")
    return {str(name): value or {} for name, value in found.items()}
