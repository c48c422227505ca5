"""Files of a dictionary, read whole or refused. Messages name the file; the caller adds the folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lens.errors import DictionaryError

T = TypeVar("T")
TEMPORALLENS = "temporallens"  # the architecture's name in SAELens, where `temporal` means something else


def read_json(path: Path) -> dict:
    """The object in a JSON file.

    Raises:
        DictionaryError: the file is missing, is not JSON, or holds something else.
    """
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError:
        raise DictionaryError(f"{path.name} is missing") from None
    except ValueError as error:  # not JSON, or not text
        raise DictionaryError(f"{path.name} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise DictionaryError(f"{path.name} holds a {type(value).__name__}, an object with named settings is needed")
    return value


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file.

    Raises:
        DictionaryError: the file is missing, truncated or no safetensors file.
    """
    try:
        return load_file(path)
    except FileNotFoundError:
        raise DictionaryError(f"{path.name} is missing") from None
    except SafetensorError as error:
        raise DictionaryError(f"{path.name} is truncated or not a safetensors file: {error}; get it again") from None


def setting(config: Mapping, key: str, kind: type[T], name: str) -> T:
    """A setting that must be there and of one type; `name` is that of the file.

    Raises:
        DictionaryError: it is missing or of another type.
    """
    if key not in config:
        raise DictionaryError(f"{name} has no {key!r}, only {sorted(config)}")
    value = config[key]
    if type(value) is not kind:
        raise DictionaryError(f"{name} says {key} = {value!r}, of type {type(value).__name__}: {kind.__name__} needed")
    return value


def pick(
    weights: Mapping[str, Tensor], names: Mapping[str, str], unused: Iterable[str], file: str
) -> dict[str, Tensor]:
    """fp32 tensors under our names; `names` maps ours to those in the file, `unused` are those it may also hold.

    Raises:
        DictionaryError: a tensor is missing or holds NaN, or there is one that nothing accounts for.
    """
    needed, found = set(names.values()), set(weights)
    if needed - found or found - needed - set(unused):
        raise DictionaryError(f"{file} holds {sorted(found)}, this kind of dictionary has {sorted(needed)}")
    for name in needed:
        if weights[name].isnan().any():
            raise DictionaryError(f"{name} holds NaN: the dictionary was saved broken; get another copy of it")
    return {ours: weights[theirs].float().contiguous() for ours, theirs in names.items()}
