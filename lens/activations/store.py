"""Activations on disk: whole windows [n, T, d] in bf16, one safetensors file per layer and split, opened memory-mapped.

    <folder>/tokens/{train,test,contrast}.safetensors, manifest.json      token ids, document and start of each window
    <folder>/layer_<l>/{train,test,contrast}.safetensors, manifest.json   activations of one layer

Each subfolder stands for itself, so adding a layer leaves the files of the others untouched.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

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
    """sha256 of a file, read in blocks."""
    sha = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            sha.update(block)
    return sha.hexdigest()


def layer_folder(folder: Path, layer: int | str) -> Path:
    return folder / f"layer_{layer}"


def open_layer(folder: Path, layer: int | str, split: str) -> LayerStore:
    """Open one layer and split, after comparing every file with the digest in its manifest.

    Raises:
        StoreError: a file is missing, truncated or altered.
    """
    manifest, path = _verified(layer_folder(folder, layer), split)
    token_manifest, token_path = _verified(folder / "tokens", split)
    with safe_open(path, "pt") as file:
        activations = file.get_tensor(KEY)
    with safe_open(token_path, "pt") as file:
        tokens, document, start = (file.get_tensor(name) for name in ("tokens", "document", "start"))
    if manifest["windows"] != token_manifest["windows"]:
        raise StoreError(f"{path} and {token_path} were cut by different window rules; extract this study again")
    return LayerStore(activations, tokens, document, start, tuple(token_manifest["documents"][split]), manifest)


def _verified(folder: Path, split: str) -> tuple[dict, Path]:
    manifest_path, path = folder / "manifest.json", folder / f"{split}.safetensors"
    for needed in (manifest_path, path):
        if not needed.is_file():
            raise StoreError(f"{needed} is missing; run the extraction of this study and layer first")
    manifest = json.loads(manifest_path.read_text())
    expected, found = manifest["sha256"][path.name], digest(path)
    if expected != found:
        raise StoreError(
            f"{path} is truncated or altered: sha256 {found}, its manifest says {expected}; "
            f"delete {folder} and extract it again"
        )
    try:
        with safe_open(path, "pt"):
            return manifest, path
    except SafetensorError as error:  # the digest was taken of a file that was never readable
        raise StoreError(f"{path} is not a safetensors file: {error}") from None


class GrowingFile:
    """A safetensors file with one bf16 tensor of known shape that is filled row by row.

    The file has its final size and header from the start; rows land in place, so finishing it is a rename and an
    interrupted extraction goes on at the first row that was not recorded as written.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int]):
        nbytes = 2 * math.prod(shape)
        header = json.dumps({KEY: {"dtype": "BF16", "shape": list(shape), "data_offsets": [0, nbytes]}}).encode()
        header += b" " * (-len(header) % 8)
        size = 8 + len(header) + nbytes
        if not path.exists() or path.stat().st_size != size:
            with open(path, "wb") as file:
                file.write(len(header).to_bytes(8, "little") + header)
                os.posix_fallocate(file.fileno(), 0, size)  # a full disk shows here, not after an hour
        self.rows = np.memmap(path, dtype=np.int16, mode="r+", offset=8 + len(header), shape=shape)

    def write(self, start: int, values: Tensor) -> None:
        """Write rows start.. with values [m, T, d]; on return they are on disk."""
        self.rows[start : start + len(values)] = values.to(torch.bfloat16).cpu().contiguous().view(torch.int16).numpy()
        self.rows.flush()


def write_json(path: Path, value: dict) -> None:
    """Write JSON with sorted keys, complete or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")
    os.replace(temporary, path)


def link_folders(sources: Sequence[Path], folder: Path) -> None:
    """Make `folder` hold hard links to the source folders, replacing what it held in one rename."""
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for source in sources:
        shutil.copytree(source, temporary / source.name, copy_function=_link_or_copy)
    shutil.rmtree(folder, ignore_errors=True)
    os.rename(temporary, folder)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)
