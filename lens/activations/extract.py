"""Text and a language model in, a store of residual-stream activations out: one pass for all layers, resumable."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import safetensors
import torch
import transformers
from safetensors.numpy import save_file
from tqdm import tqdm

from lens.activations import language_model
from lens.activations.corpus import Windows
from lens.activations.language_model import LanguageModel
from lens.activations.layers import Layer
from lens.activations.store import GrowingFile, digest, layer_folder, link_folders, write_json
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
    forward: Callable | None = None,
) -> dict[Layer, dict]:
    """Write the activations of `layers` on `windows` into `folder` (see `lens.activations.store` for its shape).

    All layers come from one pass that stops after the last of them. Finished layers are kept in `pool` under a digest
    of all that decides them, so a study that asks for one layer more extracts that one; after an interruption the same
    call goes on at the first batch not yet written. `folder` holds hard links to the pool and appears all at once.

    Args:
        window_rule: how the windows were cut; recorded in the manifests.
        forward: stands in for `model.residual_stream` (tests use it to interrupt).

    Returns:
        The manifest of each layer, by layer.

    Raises:
        ConfigError: a layer that the model does not have.
    """
    layers = language_model.check_layers(model, layers)
    identity = _identity(model, windows, window_rule)
    finished = pool / f"activations-{_pool_key(identity)}"
    missing = [layer for layer in layers if not layer_folder(finished, layer).is_dir()]
    if missing:
        _extract_missing(model, windows, missing, finished, identity, forward or model.residual_stream)
    if not (finished / "tokens").is_dir():
        _write_tokens(windows, finished / "tokens", identity)
    link_folders([finished / "tokens", *(layer_folder(finished, layer) for layer in layers)], folder)
    return {layer: json.loads((layer_folder(folder, layer) / "manifest.json").read_text()) for layer in layers}


def _pool_key(identity: dict) -> str:
    """Of all that decides the activations; version 1, from before there were versions, is not named in it."""
    number = version("extract")
    return _key(identity if number == 1 else {**identity, "version": number})


def _key(identity: dict) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def _extract_missing(model, windows, layers: Sequence[Layer], finished: Path, identity: dict, forward) -> None:
    """One pass over both splits for `layers`, in a work folder of its own; each layer then moves to `finished`."""
    work = finished.with_name(f"{finished.name}-unfinished-{_key({'layers': [str(layer) for layer in layers]})}")
    for layer in layers:
        layer_folder(work, layer).mkdir(parents=True, exist_ok=True)
    for split in windows:
        _fill(model, windows[split], layers, work, split, forward)
    finished.mkdir(parents=True, exist_ok=True)
    for layer in layers:
        _write_manifest(layer_folder(work, layer), layer, model, identity)
        os.rename(layer_folder(work, layer), layer_folder(finished, layer))
    shutil.rmtree(work)


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


def _fill(model, windows: Windows, layers, work: Path, split: str, forward) -> None:
    """Run the model over the windows that are not yet written, and write each batch in place."""
    n, T = windows.tokens.shape
    shape = (n, T, model.d_model)
    files = {layer: GrowingFile(layer_folder(work, layer) / f"{split}.safetensors", shape) for layer in layers}
    progress_file = work / "done.json"
    done = json.loads(progress_file.read_text()) if progress_file.exists() else {}
    first = done.get(split, 0)
    tokens = torch.from_numpy(windows.tokens.astype("int64"))
    with tqdm(
        total=n * T, initial=first * T, desc=f"extract {split}", unit="token", unit_scale=True, mininterval=2
    ) as bar:
        for start in range(first, n, BATCH_WINDOWS):
            batch = tokens[start : start + BATCH_WINDOWS]
            for layer, values in forward(batch, layers).items():
                files[layer].write(start, values)
            done[split] = start + len(batch)
            write_json(progress_file, done)
            bar.update(batch.numel())


def _write_tokens(windows: dict[str, Windows], folder: Path, identity: dict) -> None:
    work = folder.with_name(f".{folder.name}.{os.getpid()}")
    work.mkdir(parents=True)
    for split, w in windows.items():
        save_file({"tokens": w.tokens, "document": w.document, "start": w.start}, work / f"{split}.safetensors")
    documents = {split: list(w.documents) for split, w in windows.items()}
    write_json(work / "manifest.json", {**identity, "documents": documents, "sha256": _digests(work)})
    os.rename(work, folder)


def _write_manifest(folder: Path, layer: Layer, model: LanguageModel, identity: dict) -> None:
    manifest = {
        **identity,
        "layer": layer,
        "hook": "input of block 0" if layer == "embedding" else f"output of block {layer} (resid_post)",
        "depth": 0.0 if layer == "embedding" else (int(layer) + 1) / model.n_layers,
        "d_in": model.d_model,
        "dtype": "bfloat16",
        "sha256": _digests(folder),
    }
    write_json(folder / "manifest.json", manifest)


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: digest(path) for path in sorted(folder.glob("*.safetensors"))}
