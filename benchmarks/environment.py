"""The peers' environment `.venv-bench`, made on first use beside the project's own and kept apart from it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from lens import checkout

FOLDER = checkout.root() / ".venv-bench"
REQUIREMENTS = Path(__file__).with_name("requirements-peers.txt")


def python() -> str:
    """Its interpreter."""
    return str(FOLDER / ("Scripts" if sys.platform == "win32" else "bin") / "python")


def prepare() -> None:
    """Make the environment, unless it holds what is asked: the peers as pinned, with the project's PyTorch."""
    pytorch = f"torch=={torch.__version__.split('+')[0]}"
    made, wanted = FOLDER / "made-from.txt", f"{pytorch}\n{REQUIREMENTS.read_text()}"
    if made.is_file() and made.read_text() == wanted:
        return
    print(f"making the peers' environment {FOLDER.name} (some minutes, once)", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", FOLDER], check=True)
    constraint = FOLDER / "constraint.txt"
    constraint.write_text(pytorch + "\n")
    _pip("install", "-c", constraint, "torch")  # first and alone, or a peer's demands decide which build comes
    _pip("install", "-c", constraint, "-r", REQUIREMENTS)
    _pip("uninstall", "-y", "torchvision")  # comes along built for CUDA and then breaks `import transformers`
    made.write_text(wanted)


def _pip(*arguments: str | Path) -> None:
    subprocess.run([python(), "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments], check=True)


if __name__ == "__main__":
    prepare()
