"""Activations on disk: whole windows [n, T, d] in bf16, one safetensors file per layer and split, opened memory-mapped.

    <folder>/tokens/{train,test,contrast}.safetensors, manifest.json      token ids, document and start of each window
    <folder>/layer_<l>/{train,test,contrast}.safetensors, manifest.json   activations of one layer

Each subfolder stands for itself, so adding a layer leaves the files of the others untouched.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from lens.files import intact, partial, read_json, write, writing

KEY = "activations"


class StoreError(ValueError):
    """A file of the store is missing, truncated or altered; the message names it and what to do."""


@dataclass(frozen=True)
class LayerStore:
    """Activations of one layer and split."""

    activations: Tensor
    """[n, T, d] bf16, memory-mapped: rows are read when they are used"""
    tokens: Tensor
    """[n, T] int32"""
    document: Tensor
    """[n] index into `documents`: the text block of each window"""
    start: Tensor
    """[n] offset in tokens of each window's first text token in its document"""
    documents: tuple[str, ...]
    manifest: dict
    """of the layer: model, hook point, corpus digest, window rule, file digests"""


def digest(path: Path) -> str:
    """sha256 of a file."""
    return sha256(path).hexdigest()


def sha256(path: Path, size: int = sys.maxsize) -> hashlib._Hash:
    """sha256 of a file, or of its first `size` bytes, read in blocks; more can be added to it."""
    sha = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(min(1 << 22, size - file.tell())):
            sha.update(block)
    return sha


def layer_folder(folder: Path, layer: int | str) -> Path:
    return folder / f"layer_{layer}"


def open_layer(folder: Path, layer: int | str, split: str) -> LayerStore:
    """Open one layer and split, after comparing every file with the digest in its manifest.

    Raises:
        StoreError: a file is missing, truncated or altered, or is of another layer.
    """
    of_layer, of_tokens = layer_folder(folder, layer), folder / "tokens"
    manifest, token_manifest = verified(of_layer, [split]), verified(of_tokens, [split])
    if str(held := manifest.get("layer", layer)) != str(layer):
        raise StoreError(f"{of_layer} holds layer {held}; delete {of_layer} and extract it again")
    if manifest["windows"] != token_manifest["windows"]:
        raise StoreError(f"{of_layer} and {of_tokens} were cut by different window rules; extract this study again")
    [activations] = _tensors(of_layer, split, [KEY])
    tokens, document, start = _tensors(of_tokens, split, ["tokens", "document", "start"])
    return LayerStore(activations, tokens, document, start, tuple(token_manifest["documents"][split]), manifest)


def verified(folder: Path, splits: Iterable[str]) -> dict:
    """The manifest of a folder of a store, after comparing the files of `splits` with the digests in it.

    Raises:
        StoreError: a file is missing, truncated or altered.
    """
    manifest_path, paths = folder / "manifest.json", [folder / f"{split}.safetensors" for split in splits]
    for needed in (manifest_path, *paths):
        if not needed.is_file():
            raise StoreError(f"{needed} is missing; run the extraction of this study and layer first")
    advice = f"delete {folder} and extract it again"
    manifest = read_json(manifest_path, advice, {"windows": dict, "sha256": dict}, StoreError)
    with intact(manifest_path, advice, StoreError):
        digests = {path: manifest["sha256"][path.name] for path in paths}
        _ = folder.name == "tokens" and [manifest["documents"][path.stem] for path in paths]
    for path, expected in digests.items():
        if (found := digest(path)) != expected:
            raise StoreError(f"{path} is truncated or altered: sha256 {found}, its manifest says {expected}; {advice}")
    return manifest


def _tensors(folder: Path, split: str, names: Sequence[str]) -> list[Tensor]:
    from safetensors import SafetensorError, safe_open  # training on activations in memory needs PyTorch alone

    path = folder / f"{split}.safetensors"
    try:
        with safe_open(path, "pt") as file:
            return [file.get_tensor(name) for name in names]
    except SafetensorError as error:  # the digest was taken of a file that was never readable
        raise StoreError(f"{path} holds no {', '.join(names)}: {error}; delete {folder} and extract it again") from None


def write_json(path: Path, value: dict) -> None:
    """Write JSON with sorted keys, complete or not at all."""
    write(path, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())


def link_folders(sources: Sequence[Path], folder: Path) -> None:
    """Make `folder` hold hard links to the source folders, replacing what it held in one rename."""
    folder = folder.resolve()  # what it may be a link to, on another disk
    temporary = partial(folder)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        with writing(folder, sum(path.stat().st_size for source in sources for path in source.rglob("*"))):
            for source in sources:
                shutil.copytree(source, temporary / source.name, copy_function=_link_or_copy)
            shutil.rmtree(folder, ignore_errors=True)
            os.rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)
