"""Folders that appear whole or not at all, with digests of their files: finished runs, states of unfinished ones."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lens.activations.store import digest, write_json
from lens.errors import ConfigError
from lens.files import read_json

DIGESTS = "digests.json"


@contextmanager
def sealing(folder: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `folder` in one rename; where that fails, nothing of it stays."""
    temporary = folder.with_name(f".{folder.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        seal(temporary)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def seal(folder: Path) -> None:
    """Write the digest of every file of a folder beside them."""
    write_json(folder / DIGESTS, _digests(folder))


def damage(folder: Path) -> str:
    """What is wrong with a sealed folder: the first file that was altered, added or lost since; empty if nothing is."""
    try:
        said = read_json(folder / DIGESTS, "nothing tells whether the files beside it are whole")
    except ConfigError as error:
        return str(error)
    found = _digests(folder)
    for name in sorted(said.keys() | found.keys()):
        if said.get(name) != found.get(name):
            return f"{folder / name} is {'missing' if name not in found else 'truncated or altered'}"
    return ""


def _digests(folder: Path) -> dict[str, str]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in paths if not path.name.startswith(".")}
    return {name: digest(path) for name, path in names.items() if name != DIGESTS}
