"""The checkout of the project that this library lies in, for those parts that run its pipeline.

The library works without one: nothing here is called when `lens` is imported, or to fit, load or profile a dictionary.
"""

from __future__ import annotations

import subprocess
import tomllib
from functools import cache
from pathlib import Path

from lens.errors import ConfigError


@cache
def root() -> Path:
    """The top of the project: the nearest folder above this file that holds `dvc.yaml` and `lens/`.

    Raises:
        ConfigError: the library is installed outside a checkout, which has no studies.
    """
    for folder in Path(__file__).resolve().parents:
        if (folder / "dvc.yaml").exists() and (folder / "lens").is_dir():
            return folder
    raise ConfigError(
        "studies live in a checkout of the project, and this copy of lens is installed outside one: clone the project, "
        "or use fit, load and profile, which need no study"
    )


def inside() -> bool:
    """Whether this library lies in a checkout."""
    try:
        root()
    except ConfigError:
        return False
    return True


def git(*arguments: str) -> str:
    """What git prints about the checkout; nothing where it fails or is not installed, or in an archive."""
    try:
        done = subprocess.run(["git", *arguments], cwd=root(), capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return "" if done.returncode else done.stdout


def settings() -> dict[str, list[str]]:
    """What `[tool.temporallens]` of the checkout's pyproject.toml names: `commands`, modules that add some to `lens`,
    and `checks`, functions that list what is out of date."""
    return tomllib.loads((root() / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["temporallens"]
