"""The pool of finished runs: the keys under which they are kept, and which of them may be used."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from pathlib import Path

from lens.training import first_pool
from lens.training.recipe import Recipe
from lens.training.sealed import DIGESTS, damage, seal
from lens.versions import version


def run_key(recipe: Recipe, variant: str, seed: int, shared: dict) -> str:
    """Of all that decides the result of a run; code counts by the version of the stage."""
    identity = {"recipe": recipe.identity(), "variant": variant, "seed": seed, "version": version("train")}
    return key(identity | shared)


def take_over(first_keys: dict[tuple[str, int], str | None], finished: dict[tuple[str, int], Path]) -> None:
    """Rename runs that were finished under the first keys; their numbers are those of version 1."""
    for run, folder in finished.items():
        old = folder.with_name(f"trained-{first_keys[run]}")
        if version("train") == 1 and old.is_dir() and not folder.exists():
            old.rename(folder)


def remove_if_damaged(folder: Path, recipe: Recipe, name: str, log_every: int) -> None:
    """Remove a finished run that is not as it was written, so that it is trained again."""
    if not folder.is_dir():
        return
    unsealed = not (folder / DIGESTS).exists()
    if wrong := first_pool.damage(folder, recipe, name, log_every) if unsealed else damage(folder):
        warnings.warn(f"{wrong}: {name} is trained again", stacklevel=3)
        shutil.rmtree(folder)
    elif unsealed:
        seal(folder)


def key(identity: dict | list) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
