"""A dictionary on disk: `cfg.json` and `sae.safetensors`, with digests of the weights, of own code and of itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor

from lens.activations.store import digest, write_json
from lens.dictionaries import by_name
from lens.dictionaries.formats.files import read_safetensors
from lens.dictionaries.info import Info, converted
from lens.errors import DictionaryError
from lens.files import read_json, write_tensors

CONFIG, WEIGHTS = "cfg.json", "sae.safetensors"
CONFIG_DIGEST = "config_sha256"  # in the configuration, of all its other values
NEEDED = ("sha256", "d_in", "d_sae", "n_positions", "architecture", "position")  # of every layout, or told from it
AGAIN = "train it again, or get another copy of it"


@dataclass(frozen=True)
class Stored:
    """What a folder holds."""

    info: Info
    weights: Mapping[str, Tensor]
    code: Mapping[str, str]
    """digests of the files of own parts, `architecture` and `position`, as they were when it was saved"""


def write(folder: Path, stored: Stored) -> None:
    """Write the two files into a folder, which is made.

    Raises:
        OSError: there is no room; the message has path and size.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / WEIGHTS, stored.weights)
    config = asdict(stored.info) | {"sha256": digest(folder / WEIGHTS)}
    if stored.code:
        config["code"] = dict(stored.code)
    if stored.info.bos:
        del config["bos"]  # as files said before there was the field
    write_json(folder / CONFIG, config | {CONFIG_DIGEST: _config_digest(config)})


def read(folder: Path, *, trust: bool) -> Stored:
    """What was written, also of the layout before there were architectures.

    Args:
        trust: whether code of somebody's own may run that `cfg.json` names.

    Raises:
        DictionaryError: a file is missing, truncated or altered, or such code is named and not trusted.
    """
    config_path, path = folder / CONFIG, folder / WEIGHTS
    for needed in (config_path, path):
        if not needed.is_file():
            raise DictionaryError(f"{needed} is missing: {folder} is not a dictionary folder")
    info, expected, code = _read_config(config_path)
    if not trust and (named := [n for n in (info.architecture, info.position) if by_name.is_own(n)]):
        raise DictionaryError(
            f"{config_path} asks to run {' and '.join(named)}; if you trust that code, pass trust=True "
            "(--trust on a command line)"
        )
    if (found := digest(path)) != expected:
        raise DictionaryError(
            f"{path} is truncated or altered: sha256 {found}, cfg.json says {expected}; train it again"
        )
    try:
        return Stored(info, read_safetensors(path), code)
    except DictionaryError as error:
        raise DictionaryError(f"{folder}: {error}") from None


def _config_digest(config: dict) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def _read_config(path: Path) -> tuple[Info, str, dict]:
    """What `cfg.json` says: the dictionary, the digest of its weights, and those of own code.

    Folders of before the configuration had a digest of its own have that of the weights alone.

    Raises:
        DictionaryError: it was altered, or a value is missing, unknown or makes no sense; the message names both.
    """
    config = read_json(path, AGAIN, raised=DictionaryError)
    try:
        if (said := config.pop(CONFIG_DIGEST, None)) is not None and said != (found := _config_digest(config)):
            raise DictionaryError(
                f"it was altered: sha256 {found}, {CONFIG_DIGEST} says {said}; delete that line if you mean its values"
            )
        config = _newer(config)
        if lacking := [name for name in NEEDED if name not in config]:
            raise DictionaryError(f"it does not say {', '.join(lacking)}")
        expected, code = config.pop("sha256"), converted(dict, config.pop("code", {}), "code")
        return Info(**config), expected, code
    except (TypeError, DictionaryError) as error:
        why = error if isinstance(error, DictionaryError) else repr(error)
        raise DictionaryError(f"{path} does not describe a dictionary: {why}; {AGAIN}") from None


def _newer(config: dict) -> dict:
    """A configuration in the present form; the first one had ReLU only, and said `masked`, `tau` and `variant`."""
    if "masked" not in config:
        return config
    masked, tau = config.pop("masked"), config.pop("tau")
    config |= {"name": config.pop("variant", ""), "architecture": "relu", "position": "none"}
    return config | ({"position": "mask", "settings": {"tau_end": tau}} if masked else {})
