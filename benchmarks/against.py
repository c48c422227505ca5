"""Is this code slower than it was? `python -m benchmarks.against REV` runs the stages of both, turn by turn.

A stage is its notebook up to the first figure, whatever a revision calls its functions; it is timed on a study of the
size of `smoke` and on a layer of the width of `quick`, after a round that warms caches. A ratio above 1 says that HEAD
is faster.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STAGES = {"extraction": "01_extract", "training": "02_train", "analysis": "04_analysis"}
STUDIES = {
    "smoke": ("studies/smoke/params.yaml", 1, {}, 20),
    "width_640": ("params.yaml", 8, {"train": 128, "test": 64, "contrast": 32}, 50),
}
"""params file, layer, windows and steps of each study that is timed"""


def prepare(tree: Path, fp32: bool) -> None:
    """Write the timed studies into a tree, as its own params files with one layer and seed, and no ablations."""
    from ruamel.yaml import YAML

    yaml = YAML()
    for name, (source, layer, windows, steps) in STUDIES.items():
        params = yaml.load((tree / source).read_text())
        params |= {"study": f"timed_{name}", "params_file": f"studies/timed_{name}/params.yaml"}
        params |= {"layers": [layer], "main_layers": [layer], "seeds": [0], "control_seeds": [0]}
        params["windows"] |= windows
        params["training"]["steps"] = steps
        if fp32:
            params["training"]["overrides"] = {**(params["training"].get("overrides") or {}), "precision": "fp32"}
        params["ablations"] |= {"layers": [], "variants": [], "seeds": []}
        file = tree / params["params_file"]
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w") as stream:
            yaml.dump(params, stream)


def stages(tree: Path, name: str) -> dict[str, float]:
    """Seconds of each stage of one study, made anew; runs in a process that imports the tree's own library."""
    for folder in ("artifacts/pool", f"artifacts/timed_{name}", f"results/timed_{name}"):
        shutil.rmtree(tree / folder, ignore_errors=True)
    seconds = {}
    for stage, notebook in STAGES.items():
        start = time.perf_counter()
        _run(tree / "notebooks" / f"{notebook}.ipynb", name)
        seconds[stage] = time.perf_counter() - start
    return seconds


def _run(notebook: Path, name: str) -> None:
    """The cells of a notebook before its first figure."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    for cell in json.loads(notebook.read_text())["cells"]:
        source = "".join(cell["source"])
        if "\nshow(" in f"\n{source}".replace("\n    show(", "\nshow("):
            return
        if cell["cell_type"] == "code":
            exec(compile(source, str(notebook), "exec"), namespace)
        if "parameters" in cell["metadata"].get("tags", []):
            given = {"study": f"timed_{name}", "layer": STUDIES[name][1], "out": f"results/timed_{name}"}
            namespace |= {key: value for key, value in given.items() if key in namespace}


def work(tree: Path) -> None:
    """Answer each study's name on standard input with its seconds, as JSON on a line."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    for line in sys.stdin:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            seconds = stages(tree, line.strip())
        print(json.dumps(seconds), file=answers)


class Tree:
    """One revision in a folder of its own, and a process that runs its stages."""

    def __init__(self, revision: str, folder: Path, models: Path, fp32: bool):
        folder.mkdir()
        archive = subprocess.run(["git", "archive", revision, ":!results"], check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
        prepare(folder, fp32)
        if models.is_dir():  # dequantised already
            (folder / "artifacts").mkdir(exist_ok=True)
            (folder / "artifacts" / "models").symlink_to(models)
        environment = os.environ | {"PYTHONPATH": str(folder)}
        command = [sys.executable, "-P", str(Path(__file__).resolve()), "--work", str(folder), revision]
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def run(self, study: str) -> dict[str, float]:
        assert self.process.stdout is not None
        print(study, file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())


def main(revision: str, rounds: int, studies: list[str], fp32: bool) -> None:
    from lens import checkout

    with tempfile.TemporaryDirectory() as folder:
        models = checkout.root() / "artifacts" / "models"
        trees = {name: Tree(name, Path(folder) / str(i), models, fp32) for i, name in enumerate((revision, "HEAD"))}
        for study in studies:
            taken = {name: [] for name in trees}
            for i in range(rounds + 1):
                for name in list(trees)[:: -1 if i % 2 else 1]:
                    taken[name].append(trees[name].run(study))
            for stage in STAGES:
                old, new = ([row[stage] for row in taken[name][1:]] for name in trees)
                ratio = statistics.median(a / b for a, b in zip(old, new, strict=True))
                shown = " ".join(f"{statistics.median(x):8.3f} s" for x in (old, new))
                print(f"{study:10} {stage:10} {shown}  ratio {ratio:.3f}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.against", description=__doc__)
    parser.add_argument("revision", help="what HEAD is compared with")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=STUDIES, help="time this study alone")
    parser.add_argument("--fp32", action="store_true", help="train in fp32: processors without bf16 instructions")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.work)
    else:
        main(
            arguments.revision, arguments.rounds, [arguments.only] if arguments.only else list(STUDIES), arguments.fp32
        )
