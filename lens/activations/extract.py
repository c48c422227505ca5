"""Text and a language model in, a store of residual-stream activations out: one pass for all layers, resumable."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import safetensors
import torch
import transformers
from safetensors.numpy import save

from lens.activations import language_model
from lens.activations.corpus import Windows
from lens.activations.fingerprint import fingerprint
from lens.activations.growing_file import GrowingFile
from lens.activations.language_model import LanguageModel
from lens.activations.layers import Layer
from lens.activations.store import StoreError, digest, layer_folder, link_folders, verified, write_json
from lens.files import write
from lens.processes import from_first, holding_together, in_turn, rank
from lens.progress import progress
from lens.versions import version

BATCH_WINDOWS = 16  # windows per forward pass; part of the result, since batch shape decides the rounding of bf16


def extract(
    model: LanguageModel,
    windows: dict[str, Windows],
    layers: Sequence[Layer],
    folder: Path,
    pool: Path,
    *,
    window_rule: dict,
    as_named: bool = False,
    forward: Callable | None = None,
) -> dict[Layer, dict]:
    """Write the activations of `layers` on `windows` into `folder` (see `lens.activations.store` for its shape).

    All layers come from one pass that stops after the last of them. Finished layers are kept in `pool` under a digest
    of all that decides them, so a study that asks for one layer more extracts that one; what is damaged there is made
    again. After an interruption the same call goes on at the first batch not yet written. `folder` holds hard links to
    the pool and appears all at once. Of two processes that want the same, one waits; those of a `torchrun` call share
    the windows.

    Args:
        window_rule: how the windows were cut; recorded in the manifests.
        as_named: the model is what its name stands for, and that never changes. Activations that the pool has under
            their first key, which knew the name and not the configuration, precision and device, are then its own.
        forward: stands in for `model.residual_stream` (tests use it to interrupt).

    Returns:
        The manifest of each layer, by layer.

    Raises:
        ValueError: a layer that the model does not have.
        OSError: the disk has too little room; the message has a file and its size.
    """
    layers = language_model.check_layers(model, layers)
    identity = _identity(model, windows, window_rule)
    finished = pool / f"activations-{_key(decided_by(model, windows, window_rule))}"
    with holding_together(finished):
        if as_named and not rank():
            _take_over(pool / f"activations-{_key(identity)}", finished)
        manifests = {layer: _manifest(layer, model, identity) for layer in layers}
        folders = {layer: layer_folder(finished, layer) for layer in layers}
        missing = from_first(
            [] if rank() else [layer for layer in layers if not _intact(folders[layer], manifests[layer], windows)]
        )
        if missing:
            _extract_missing(
                model, windows, {x: manifests[x] for x in missing}, finished, forward or model.residual_stream
            )
        if not rank():
            tokens = {**identity, "documents": {split: list(w.documents) for split, w in windows.items()}}
            if not _intact(finished / "tokens", tokens, windows):
                _write_tokens(windows, finished / "tokens", tokens)
            link_folders([finished / "tokens", *folders.values()], folder)
    return {layer: json.loads((layer_folder(folder, layer) / "manifest.json").read_text()) for layer in layers}


def manifest(model: LanguageModel, windows: dict[str, Windows], layer: Layer, window_rule: dict) -> dict:
    """The manifest that `extract` would give a layer, but for the digests of its files.

    Raises:
        ValueError: a layer that the model does not have.
    """
    [layer] = language_model.check_layers(model, [layer])
    return _manifest(layer, model, _identity(model, windows, window_rule))


def decided_by(model: LanguageModel, windows: dict[str, Windows], window_rule: dict) -> dict:
    """All that decides the activations of a model on windows, as JSON."""
    identity = _identity(model, windows, window_rule)
    return {**identity, "fingerprint": fingerprint(model.model), "version": version("extract")}


def _key(identity: dict) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def _take_over(first: Path, finished: Path) -> None:
    """Rename activations that are kept under their first key; their numbers are those of version 1."""
    if version("extract") == 1 and first.is_dir() and not finished.exists():
        first.rename(finished)


def _intact(folder: Path, manifest: dict, splits: Iterable[str]) -> bool:
    """Whether a folder of the pool is as it was written, with this manifest; a damaged one is removed."""
    if not folder.exists():
        return False
    try:
        found = verified(folder, splits)
        if found != {**manifest, "sha256": found["sha256"]}:
            raise StoreError(f"{folder / 'manifest.json'} is altered; delete {folder} and extract it again")
    except StoreError as error:
        print(f"{error} (done now)", file=sys.stderr)
        shutil.rmtree(folder)
        return False
    return True


def _extract_missing(
    model: LanguageModel, windows: dict[str, Windows], manifests: dict[Layer, dict], finished: Path, forward: Callable
) -> None:
    """One pass over all splits for the layers of `manifests`, in a folder for unfinished work; each layer then moves to
    `finished`. Of several processes the first one writes."""
    work = finished.with_name(f"{finished.name}-unfinished")
    files = {} if rank() else _files(model, windows, manifests, work)
    for split in windows:
        _fill(windows[split], split, list(manifests), {layer: found[split] for layer, found in files.items()}, forward)
    if rank():
        return
    finished.mkdir(parents=True, exist_ok=True)
    for layer, manifest in manifests.items():
        digests = {file.path.name: file.finish() for file in files[layer].values()}
        write_json(layer_folder(work, layer) / "manifest.json", {**manifest, "sha256": digests})
        os.rename(layer_folder(work, layer), layer_folder(finished, layer))
    with contextlib.suppress(OSError):  # not empty: it holds layers of another call that was interrupted
        work.rmdir()


def _files(model, windows: dict[str, Windows], layers: Iterable[Layer], work: Path) -> dict[Layer, dict]:
    """The file of each layer and split, at its full size; none that was not begun before, if the disk lacks room."""
    files: dict[Layer, dict[str, GrowingFile]] = {}
    try:
        for layer in layers:
            files[layer] = {}
            layer_folder(work, layer).mkdir(parents=True, exist_ok=True)
            for split, w in windows.items():
                path = layer_folder(work, layer) / f"{split}.safetensors"
                files[layer][split] = GrowingFile(path, (*w.tokens.shape, model.d_model))
    except OSError:
        for file in (file for of_layer in files.values() for file in of_layer.values() if not file.rows):
            file.path.unlink()
        raise
    return files


def _identity(model: LanguageModel, windows: dict[str, Windows], rule: dict) -> dict:
    return {
        "model": model.name,
        "revision": model.revision,
        "quantisation": model.quantisation,
        "batch_windows": BATCH_WINDOWS,
        "windows": {
            **rule,
            **{
                split: {"count": len(w.tokens), "corpus_sha256": w.digest, "tokens_sha256": _tokens_digest(w)}
                for split, w in windows.items()
            },
        },
        "versions": {m.__name__: m.__version__ for m in (torch, transformers, safetensors)},
    }


def _tokens_digest(windows: Windows) -> str:
    return hashlib.sha256(windows.tokens.tobytes()).hexdigest()


def _fill(
    windows: Windows, split: str, layers: list[Layer], files: dict[Layer, GrowingFile], forward: Callable
) -> None:
    """Run the model over the windows that are not yet written, and write each batch to the file of each layer."""
    n, T = windows.tokens.shape
    first = from_first(min((file.rows for file in files.values()), default=0))
    for file in files.values():
        file.go_back(first)
    tokens = torch.from_numpy(windows.tokens.astype("int64"))
    with progress(f"extract {split}", n * T, "tokens", done=first * T) as advance:
        batches = tokens[first:].split(BATCH_WINDOWS) if first < n else ()
        for batch, found in zip(batches, in_turn(batches, lambda batch: forward(batch, layers)), strict=not rank()):
            for layer, values in found.items():
                files[layer].append(values)
            advance(batch.numel())
        if rank():  # what it did, the first one has
            advance((n - first) * T)


def _write_tokens(windows: dict[str, Windows], folder: Path, manifest: dict) -> None:
    work = folder.with_name(".tokens")
    shutil.rmtree(work, ignore_errors=True)  # left by a run that was killed
    work.mkdir(parents=True)
    try:
        for split, w in windows.items():
            content = save({"tokens": w.tokens, "document": w.document, "start": w.start})
            write(work / f"{split}.safetensors", content)
        digests = {f"{split}.safetensors": digest(work / f"{split}.safetensors") for split in windows}
        write_json(work / "manifest.json", {**manifest, "sha256": digests})
        os.rename(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _manifest(layer: Layer, model: LanguageModel, identity: dict) -> dict:
    return {
        **identity,
        "layer": layer,
        "hook": "input of block 0" if layer == "embedding" else f"output of block {layer} (resid_post)",
        "depth": 0.0 if layer == "embedding" else (int(layer) + 1) / model.n_layers,
        "d_in": model.d_model,
        "dtype": "bfloat16",
    }
