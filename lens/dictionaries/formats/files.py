"""Files of a dictionary, read whole or refused. Messages name the file; the caller adds the folder."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from lens import files
from lens.errors import DictionaryError

T = TypeVar("T")
_NEEDED: Any = object()
_L0 = re.compile(r"l0[_-]([1-9]\d*)(?![\d.e])")
_WRAPPER = re.compile(r"(?<![^.])(_orig_mod|module)\.")  # of torch.compile and DataParallel, in a name that they wrap
_UNPACKS_TO = 100  # times its size: weights compress to nine tenths, so what unpacks to more than this is no dictionary
TEMPORALLENS = "temporallens"  # the architecture's name in SAELens, where `temporal` means something else


def read_json(path: Path) -> dict:
    """The object in a JSON file; a DictionaryError if it is missing, is not JSON, or holds something else."""
    return files.read_json(path, "get it again", raised=DictionaryError)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, by the names of what torch.compile or DataParallel may have wrapped.

    Raises:
        DictionaryError: the file is missing, truncated or no safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return _unwrapped(load_file(path))
    except FileNotFoundError:
        raise DictionaryError(f"{path.name} is missing") from None
    except SafetensorError as error:
        raise DictionaryError(f"{path.name} is truncated or not a safetensors file: {error}; get it again") from None


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """All tensors of a PyTorch file, as `read_safetensors`; nothing that the pickle asks for is run.

    Raises:
        DictionaryError: the file is missing, truncated, no PyTorch file, or holds something else than named tensors.
    """
    try:
        check_unpacked(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DictionaryError(f"{path.name} is missing") from None
    except pickle.UnpicklingError as error:
        reason = str(error).split("\n")[0]
        raise DictionaryError(
            f"{path.name} is not plain tensors and was not run: {reason}. If you trust it, save its state_dict() again"
        ) from None
    except DictionaryError:
        raise
    except Exception as error:  # bytes that are no pickle make its reader fail in any way
        raise DictionaryError(f"{path.name} is truncated or not a PyTorch file: {error!r}; get it again") from None
    if not isinstance(state, dict) or not all(type(k) is str and isinstance(v, Tensor) for k, v in state.items()):
        raise DictionaryError(f"{path.name} holds a {type(state).__name__}, a dict of named tensors is needed")
    return _unwrapped(state)


def _unwrapped(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    found = {_WRAPPER.sub("", name): value for name, value in weights.items()}
    return found if len(found) == len(weights) else weights


def setting(config: Mapping, key: str, kind: type[T], name: str, default: T = _NEEDED) -> T:
    """A setting of one type; `name` is that of the file. One that is left out or null has its default, if there is one.

    Raises:
        DictionaryError: it is missing or of another type.
    """
    if default is not _NEEDED and config.get(key) is None:
        return default
    if key not in config:
        raise DictionaryError(f"{name} has no {key!r}, only {sorted(config)}")
    value = config[key]
    if type(value) is not kind:
        raise DictionaryError(f"{name} says {key} = {value!r}, of type {type(value).__name__}: {kind.__name__} needed")
    return value


def l0_in_name(names: Iterable[str]) -> int | None:
    """Features per vector that a name states, such as `average_l0_71`; None where none does."""
    found = next((match for name in names if (match := _L0.search(name))), None)
    return None if found is None else int(found[1])


def check_names(found: Iterable[str], needed: Iterable[str], unused: Iterable[str], file: str) -> None:
    """Raise DictionaryError unless a file holds the tensors that are needed, and beside them `unused` ones alone."""
    if set(needed) - set(found) or set(found) - set(needed) - set(unused):
        raise DictionaryError(f"{file} holds {sorted(found)}, this kind of dictionary has {sorted(needed)}")


def check_unpacked(path: Path) -> None:
    """Raise DictionaryError for an archive that would unpack to far more than it is."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > _UNPACKS_TO * path.stat().st_size:
            raise DictionaryError(
                f"{path.name} unpacks to {size / 1e9:.1f} GB from {path.stat().st_size / 1e6:.1f} MB: these are no "
                "weights; get another copy of it"
            )


def pick(
    weights: Mapping[str, Tensor], names: Mapping[str, str], unused: Iterable[str], file: str
) -> dict[str, Tensor]:
    """fp32 tensors under our names; `names` maps ours to those in the file, `unused` are those it may also hold.

    Raises:
        DictionaryError: a tensor is missing, or there is one that nothing accounts for; or one says that it has more
            numbers than the file holds.
    """
    check_names(weights, names.values(), unused, file)
    for name in names.values():
        _check_stored(name, weights[name])
    return {ours: weights[theirs].float().contiguous() for ours, theirs in names.items()}


def sizes(weights: Mapping[str, Tensor]) -> tuple[int, int]:
    """d_in and d_sae of W_enc [d_in, d_sae], where no configuration says them.

    Raises:
        DictionaryError: it is no matrix.
    """
    shape = tuple(weights["W_enc"].shape)
    if len(shape) != 2:
        raise DictionaryError(f"W_enc has shape {shape}, a matrix [d_in, d_sae] is needed")
    return shape[0], shape[1]


def _check_stored(name: str, value: Tensor) -> None:
    """Before anything is computed: a few bytes can stand for terabytes (an expanded, sparse or empty-handed tensor)."""
    plain = value.layout == torch.strided and value.device.type == "cpu" and value.is_floating_point()
    if not plain or value.untyped_storage().nbytes() < value.numel() * value.element_size():
        raise DictionaryError(
            f"{name} ({value.dtype}, shape {tuple(value.shape)}) is no dense tensor of floating-point numbers that are "
            "all stored: save it again as value.float().contiguous()"
        )
