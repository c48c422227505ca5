"""Recipes by name, as a YAML file holds them (imports nothing that is slow)."""

from __future__ import annotations

from pathlib import Path

from ruamel.yaml import YAML, YAMLError

from lens.errors import ConfigError


def read(path: Path) -> dict[str, dict]:
    """Fields of each recipe by its name, not yet checked.

    Raises:
        ConfigError: no such file, or it holds something else.
    """
    try:
        found = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"recipe_file: {path} cannot be read: {error.strerror}") from None
    except YAMLError as error:
        raise ConfigError(f"{path}: not readable as YAML: {error}") from None
    if not isinstance(found, dict) or not all(isinstance(v, dict | None) for v in found.values()):
        raise ConfigError(f"{path}: expected a mapping from names to the fields of their recipes")
    return {str(name): value or {} for name, value in found.items()}
