"""The environments of the peers and of SAEBench, made on first use beside the project's own and kept apart from it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from lens import checkout

FOLDER = checkout.root() / ".venv-bench"
SAEBENCH = checkout.root() / ".venv-saebench"
WITHOUT_DEPENDENCIES = ("sae-bench==0.6.0",)  # it asks for sae-probes, and so for xgboost with CUDA: half a gigabyte


def python(folder: Path | None = None) -> str:
    """The interpreter of an environment, by default the peers'."""
    return str((folder or FOLDER) / ("Scripts" if sys.platform == "win32" else "bin") / "python")


def prepare() -> None:
    """Make the environment, unless it holds what is asked: the peers as pinned, with the project's PyTorch."""
    _make(FOLDER, Path(__file__).with_name("requirements-peers.txt"), ())


def prepare_saebench() -> None:
    """The same for SAEBench, which goes with older releases than the project's and the peers'."""
    _make(SAEBENCH, Path(__file__).with_name("requirements-saebench.txt"), WITHOUT_DEPENDENCIES)


def _make(folder: Path, requirements: Path, alone: tuple[str, ...]) -> None:
    pytorch = f"torch=={torch.__version__.split('+')[0]}"
    made, wanted = folder / "made-from.txt", "\n".join([pytorch, *alone, requirements.read_text()])
    if made.is_file() and made.read_text() == wanted:
        return
    print(f"making the environment {folder.name} (some minutes, once)", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    constraint = folder / "constraint.txt"
    constraint.write_text(pytorch + "\n")

    def pip(*arguments: str | Path) -> None:
        subprocess.run([python(folder), "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments], check=True)

    pip("install", "-c", constraint, "torch")  # first and alone, or a peer's demands decide which build comes
    pip("install", "-c", constraint, "-r", requirements)
    for package in alone:
        pip("install", "--no-deps", package)
    pip("uninstall", "-y", "torchvision")  # comes along built for CUDA and then breaks `import transformers`
    made.write_text(wanted)


if __name__ == "__main__":
    prepare()
