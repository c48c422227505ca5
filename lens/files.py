"""Small files read whole or refused: one that is missing or damaged is named, with what brings it back. Files written
whole or not at all: a full disk is named, with the bytes that it has no room for."""

from __future__ import annotations

import contextlib
import copy
import errno
import functools
import glob
import hashlib
import json
import os
import shutil
import tempfile
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING

from lens.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

DIGEST = "content_sha256"  # in an object of JSON, of all its other values
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
AGAIN = "`git checkout` brings back a file that is in git, or run the stage again that writes it"


@contextlib.contextmanager
def intact(path: Path, remedy: str, raised: type[Exception] = ConfigError) -> Iterator[None]:
    """Around the reading of a file and nothing else: whatever fails there is the file's fault.

    Args:
        remedy: ends the message, e.g. `run the stage again that writes it`.
        raised: kind of the error.

    Raises:
        ConfigError: (or `raised`) the file is missing or cannot be read; one of that kind from inside goes through.
    """
    try:
        yield
    except raised:
        raise
    except FileNotFoundError:
        raise raised(f"{path} is missing: {remedy}") from None
    except Exception as error:  # parsers of damaged files raise errors of many kinds
        why = textwrap.shorten(str(error) or type(error).__name__, 300)
        raise raised(f"{path} cannot be read ({why}): {remedy}") from error


def read_json(
    path: Path,
    remedy: str = AGAIN,
    holds: Mapping[str, type | UnionType] | None = None,
    raised: type[Exception] = ConfigError,
) -> dict:
    """The object in a JSON file, without the digest that it may have of itself (see `with_digest`).

    Args:
        holds: keys that it must have, and the types of their values.

    Raises:
        ConfigError: (or `raised`) missing, not JSON, no object, altered, or without one of the keys.
    """
    with intact(path, remedy, raised):
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise ValueError(f"it holds a {type(value).__name__}, an object is needed")
        if (said := value.pop(DIGEST, None)) is not None and said != _digest(value):
            raise ValueError("it was altered: its values are not those that its digest is of")
        for key, kind in (holds or {}).items():
            if not isinstance(value.get(key), kind):
                found = repr(value[key])[:50] if key in value else "nothing"
                raise ValueError(f"under {key!r} it holds {found}, not {getattr(kind, '__name__', kind)}")
    return value


def with_digest(value: Mapping) -> dict:
    """An object of JSON with a digest of itself, by which `read_json` sees that it was altered."""
    return {**value, DIGEST: _digest(json.loads(json.dumps(value)))}


def _digest(value: dict) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def read_yaml(path: Path, remedy: str = AGAIN, raised: type[Exception] = ConfigError) -> dict:
    """The mapping in a YAML 1.2 file (3e-4 is a number, `no` a word).

    Raises:
        ConfigError: (or `raised`) missing, not YAML, or no mapping.
    """
    with intact(path, remedy, raised):
        value = copy.deepcopy(_of_yaml(path.read_text(encoding="utf-8")))
        if not isinstance(value, dict):
            raise ValueError(f"it holds a {type(value).__name__}, a mapping is needed")
    return value


@functools.lru_cache(maxsize=64)
def _of_yaml(text: str) -> object:
    """What a text says: the same files are read again and again, and parsing takes most of a second."""
    from ruamel.yaml import YAML

    return YAML(typ="safe").load(text)


def read_csv(
    path: Path, remedy: str = AGAIN, columns: tuple[str, ...] = (), raised: type[Exception] = ConfigError, **how
) -> pd.DataFrame:
    """The table in a CSV file.

    Args:
        columns: that it must have.
        how: arguments of `pandas.read_csv`.

    Raises:
        ConfigError: (or `raised`) missing, no table, or without one of the columns.
    """
    import pandas as pd

    with intact(path, remedy, raised):
        table = pd.read_csv(path, **how)
        if lacking := [column for column in columns if column not in table]:
            raise ValueError(f"it has no column {', '.join(map(repr, lacking))}")
    return table


@contextlib.contextmanager
def writing(path: Path, nbytes: int) -> Iterator[None]:
    """Say which file of how many bytes could not be written, where writing it raises an OSError."""
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"{nbytes:,} bytes could not be written to {path}: {error.strerror or error}; "
            f"{'make room' if error.errno in NO_ROOM else 'see to that'} and start again: what is finished is kept",
        ) from None


def check_can_hold(folder: Path | str) -> None:
    """Whether results can be written into a folder, asked before the work that makes them; nothing stays behind.

    Raises:
        OSError: it can't be made or written in; the message names it and says why.
    """
    folder = Path(folder)
    try:
        made = [path for path in (folder, *folder.parents) if not path.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        finally:
            for path in made:
                with contextlib.suppress(OSError):  # never made, or another process has put something there
                    path.rmdir()
    except OSError as error:
        what = "it is no folder" if os.path.lexists(folder) and not folder.is_dir() else error.strerror or error
        raise OSError(error.errno, f"{folder} cannot hold results: {what}; name another folder") from None


def check_link(path: Path) -> None:
    """Raise FileNotFoundError for a link to what isn't there, or to itself: no other kind of name is meant then."""
    if path.is_symlink() and not path.exists():
        raise FileNotFoundError(f"{path} is a link to {os.readlink(path)}, and nothing can be read there")


def partial(path: Path) -> Path:
    """Where this process writes a file or folder before it has its name; what killed ones left there is removed."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        pid = left.name.rpartition(".")[2]
        if pid.isdecimal() and not _runs(int(pid)):
            remove(left)
    return path.with_name(f".{path.name}.{os.getpid()}")


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with all that is in it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def write(path: Path, content: bytes) -> None:
    """Write a file, complete or not at all.

    Raises:
        OSError: it could not be written; the message has its path and size.
    """
    temporary = partial(path)
    try:
        with writing(path, len(content)):
            temporary.write_bytes(content)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file, complete or not at all; raises as `write` does."""
    from safetensors.torch import save

    write(path, save(dict(tensors)))
