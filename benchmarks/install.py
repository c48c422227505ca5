"""Is there a library to install and use? `python -m benchmarks.install` builds the wheel, installs it with all that it
needs in an environment of its own, outside any checkout, and uses it there; claim C32 is judged on what that leaves in
results/benchmarks/install.json. A few minutes, most of them for PyTorch.
"""

from __future__ import annotations

import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lens import checkout

MODEL = "random:gemma-3-tiny"  # reads bytes, so it needs no download
FIT = f"""
import lens
lens.fit({MODEL!r}, 1, "text.txt", "work", steps=20, windows=64, length=16).save("dictionary")
"""
LOAD = """
import lens, torch
dictionary = lens.load("dictionary")
x = torch.randn(2, 16, 32)
assert dictionary(x).shape == dictionary.decode(dictionary.encode(x)).shape == x.shape
"""
PROFILE = ["profile", "dictionary", MODEL, "text.txt", "--out", "profile", "--windows", "32", "--fidelity", "4"]


def wheel(folder: Path, *options: str) -> Path:
    """The wheel of this checkout, built in `folder` from a copy, so that the checkout stays as it is."""
    source = folder / "source"
    shutil.copytree(checkout.root() / "lens", source / "lens", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(checkout.root() / name, source)
    pip("wheel", "--no-deps", *options, "--wheel-dir", folder, source)
    return next(folder.glob("*.whl"))


def pip(*arguments: str | Path, python: Path | None = None) -> None:
    """Run pip, for another interpreter if one is named."""
    other = ["--python", python] if python else []
    subprocess.run([sys.executable, "-m", "pip", *other, "--quiet", *arguments], env=elsewhere(), check=True)


def use(environment: Path, folder: Path) -> dict[str, bool]:
    """Whether each thing that a library is for works in an environment; run in `folder`, outside any checkout."""
    words = "when in the course of human events it becomes necessary for one people to dissolve the bands".split()
    text = random.Random(0).choices(words, k=20_000)
    (folder / "text.txt").write_text("\n\n".join(" ".join(text[i : i + 200]) for i in range(0, len(text), 200)))
    python, lens = environment / "bin" / "python", environment / "bin" / "lens"
    commands = {
        "imports": [python, "-c", "import lens; print(lens.__version__, *(getattr(lens, n) for n in dir(lens)))"],
        "help": [lens, "--help"],
        "fit": [python, "-c", FIT],
        "load": [python, "-c", LOAD],
        "profile": [lens, *PROFILE],
    }
    return {name: _works(name, command, folder) for name, command in commands.items()}


def _works(name: str, command: list, folder: Path) -> bool:
    done = subprocess.run(command, cwd=folder, env=elsewhere(), capture_output=True, text=True)
    if done.returncode:
        print(f"{name} fails:\n{done.stderr}", file=sys.stderr)
    return done.returncode == 0


def elsewhere() -> dict[str, str]:
    """The environment of a process that shall find nothing of the checkout."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def main() -> None:
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        built = wheel(folder)
        environment = folder / "environment"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
        python = environment / "bin" / "python"
        pip("install", "--constraint", checkout.root() / "requirements.txt", built, python=python)
        works = use(environment, folder)
    found = {"wheel": True, **works, "python": platform.python_version(), "seconds": round(time.perf_counter() - start)}
    path = checkout.root() / "results" / "benchmarks" / "install.json"
    path.write_text(json.dumps(found, indent=1) + "\n")
    print(path.read_text(), end="")


if __name__ == "__main__":
    main()
