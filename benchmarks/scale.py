"""What many runs, many processes and streaming cost: `python -m benchmarks.scale [--only PART] [--small]`.

- together: a step of ten runs that share their batches, for each of them, over a step of one alone (drawing included)
- processes: four runs in one process of one thread, over the same in two such processes of one torchrun call
- streaming: training fed by a language model, over its forward passes alone plus training alone
- memory: peak of a run above what the imports take, over weights, moments, and a batch with its codes and gradients

Contenders take turns, and ratios are those within a round: medians, with the lowest and highest. Writes
`results/benchmarks/scale.md`; wants a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import machine
from benchmarks.rounds import steps_for, take_turns
from benchmarks.setting import use_all_cores
from lens import checkout, files, processes
from lens.dictionaries.dictionary import Dictionary, Info
from lens.training.gradients import Workspace
from lens.training.recipe import build
from lens.training.run import Run
from lens.training.source import Stored

KINDS = {
    "ReLU, mask, d_sae = d": {"expansion": 1},
    "ReLU, mask, d_sae = 4 d": {"expansion": 4},
    "BatchTopK, L0 32, d_sae = 4 d": {"architecture": "batch_topk", "position": "none", "k": 32, "expansion": 4},
}
OF_MEMORY = {
    "ReLU, mask": {"expansion": 16},
    "TopK, L0 32": {"architecture": "topk", "position": "none", "k": 32, "expansion": 16},
}
TOGETHER, WINDOWS, LENGTH = 10, 16, 129
HEAD = "| what | of | ratio (lowest to highest round) | goal |\n|---|---|---|---|\n"


class Runs:
    """Steps of some runs that share each batch."""

    def __init__(self, fields: dict, count: int, d: int):
        recipe = build({"steps": 100_000, "batch_windows": WINDOWS, **fields})
        workspace = Workspace()
        self.runs = [Run(recipe, _start(recipe, d, seed), workspace) for seed in range(count)]
        self.batches = Stored(_activations(d)).batches(WINDOWS, 100_000, 0)

    def run(self, steps: int) -> float:
        start = time.perf_counter()
        for x in itertools.islice(self.batches, steps):
            for run in self.runs:
                run.step(x, None, log=False)
        return time.perf_counter() - start


def _start(recipe, d: int, seed: int = 0) -> Dictionary:
    info = Info(
        d, recipe.expansion * d, LENGTH, architecture=recipe.architecture, position=recipe.position,
        settings=recipe.settings, seed=seed,
    )  # fmt: skip
    return Dictionary.initialise(info, torch.zeros(d), seed)


def _activations(d: int, windows: int = 256) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(windows, LENGTH, d, generator=generator) / d**0.5).to(torch.bfloat16)


def together(d: int, rounds: int, seconds: float) -> Iterator[tuple[str, str, list[float], str]]:
    for name, fields in KINDS.items():
        contenders = {"alone": Runs(fields, 1, d), "together": Runs(fields, TOGETHER, d)}
        taken = take_turns(contenders, {n: steps_for(c, seconds) for n, c in contenders.items()}, rounds)
        ratios = [b / TOGETHER / a for a, b in zip(taken["alone"], taken["together"], strict=True)]
        yield f"{TOGETHER} runs at once, cost per run over one alone", name, ratios, "≤ 1.0"


def several_processes(d: int, rounds: int, seconds: float) -> Iterator[tuple[str, str, list[float], str]]:
    steps = max(20, round(seconds * 40))
    pairs = [(_trained(1, d, steps), _trained(2, d, steps)) for _ in range(rounds)]
    ratios = [one / two for one, two in pairs]
    yield "two processes over one, a thread each", f"four runs, ReLU, mask, d_sae = d, {steps} steps", ratios, "≥ 1.8"


def _trained(count: int, d: int, steps: int) -> float:
    """Seconds that so many processes take to train four runs, from when all have started."""
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        command = [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count),
            "-m", "benchmarks.scale", "--worker", folder, str(d), str(steps),
        ]  # fmt: skip
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(checkout.root())}
        done = subprocess.run(command, env=environment, cwd=checkout.root(), capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        return json.loads(done.stdout.splitlines()[-1])


def _work(folder: Path, d: int, steps: int) -> None:
    from lens.training.train import train_layer

    recipes = {name: build({"steps": steps, "position": name}) for name in ("mask", "none")}
    data = _activations(d)
    train_layer(  # what is loaded at the first step
        data[:16], {"first": build({"steps": 1, "processes": "batch"})}, [0], folder / "first", folder / "pool",
        data_digest="first",
    )  # fmt: skip
    processes.wait_for_all()
    start = time.perf_counter()
    train_layer(data, recipes, [0, 1], folder / "out", folder / "pool", data_digest="benchmark")
    processes.wait_for_all()
    if not processes.rank():
        print(json.dumps(time.perf_counter() - start), flush=True)


def streaming(d: int, rounds: int, seconds: float) -> Iterator[tuple[str, str, list[float], str]]:
    from benchmarks.extraction import MODEL
    from lens.activations import corpus, models
    from lens.training.stream import Stream

    model = models.load(MODEL if d == 640 else "random:gemma-3-tiny", device="cpu")
    stream = Stream(model, model.n_layers // 2 - 1, corpus.load("tiny-shakespeare"), 256, LENGTH - 1)
    steps = max(2, round(seconds))
    held = list(stream.batches(WINDOWS, steps, 0))
    recipe = build({"steps": 100_000, "expansion": 4})
    info = Info(model.d_model, 4 * model.d_model, LENGTH - 1, position="mask", settings=recipe.settings)
    run = Run(recipe, Dictionary.initialise(info, torch.zeros(model.d_model), 0), Workspace())

    def train(batches: Iterator[Tensor]) -> None:
        for x in batches:
            run.step(x, None, log=False)

    ratios = []
    for _ in range(rounds):
        model_alone = _seconds(lambda: list(stream.batches(WINDOWS, steps, 0)))
        training_alone = _seconds(lambda: train(iter(held)))
        both = _seconds(lambda: train(stream.batches(WINDOWS, steps, 0)))
        ratios.append(both / (model_alone + training_alone))
    yield "streaming, over the model alone plus training alone", f"{model.name}, {steps} steps", ratios, "≤ 1.1"


def memory(d: int, rounds: int, seconds: float) -> Iterator[tuple[str, str, list[float], str]]:
    for name, fields in OF_MEMORY.items():
        command = [sys.executable, "-m", "benchmarks.scale", "--peak", json.dumps(fields), str(d)]
        done = subprocess.run(command, cwd=checkout.root(), capture_output=True, text=True, check=True)
        n, tokens = fields["expansion"] * d, WINDOWS * (LENGTH - 1)
        needed = 3 * 4 * 2 * d * n + 2 * tokens * (d + 2 * n)  # fp32 weights and moments; a batch, its codes in bf16
        of = f"{name}, d_sae = {fields['expansion']} d, {needed / 1e6:.0f} MB needed"
        yield "peak memory of a run over what it needs", of, [json.loads(done.stdout) / needed], "≤ 1.3"


def _peak(fields: dict, d: int) -> None:
    """Bytes that five steps of a run take above those that were held before it was made."""
    Runs({"expansion": 1}, 1, 64).run(1)  # what the first step imports
    [x] = _activations(d, WINDOWS).split(WINDOWS)
    before = _held("VmRSS")
    recipe = build({"steps": 100, **fields})
    run = Run(recipe, _start(recipe, d), Workspace())
    for _ in range(5):
        run.step(x, None, log=False)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before)


def _held(what: str) -> int:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what)]
    return int(line.split()[1]) * 1024


def _seconds(do: Callable[[], object]) -> float:
    start = time.perf_counter()
    do()
    return time.perf_counter() - start


PARTS = {"together": together, "processes": several_processes, "streaming": streaming, "memory": memory}


def main() -> None:
    if sys.argv[1:2] == ["--worker"]:
        with contextlib.redirect_stderr(io.StringIO()):
            return _work(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    if sys.argv[1:2] == ["--peak"]:
        return _peak(json.loads(sys.argv[2]), int(sys.argv[3]))
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=PARTS, help="measure this part alone, and print it")
    parser.add_argument("--small", action="store_true", help="toy sizes, which try it out; printed, not written")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default: 5)")
    asked = parser.parse_args()
    d, seconds = (64, 0.2) if asked.small else (640, 4.0)
    this = machine.describe(use_all_cores())
    text = HEAD
    for part in [asked.only] if asked.only else PARTS:
        for what, of, ratios, goal in PARTS[part](d, asked.rounds, seconds):
            spread = f" ({min(ratios):.2f} to {max(ratios):.2f})" if len(ratios) > 1 else ""
            line = f"| {what} | {of} | {statistics.median(ratios):.2f}{spread} | {goal} |\n"
            print(line, end="", flush=True)
            text += line
    if not (asked.only or asked.small):
        note = f"\n`python -m benchmarks.scale`, d = {d}; {this['processor']}, {this['threads']} threads, load "
        note += f"{this['load_before']} before the start, PyTorch {torch.__version__}.\n"
        files.write(checkout.root() / "results" / "benchmarks" / "scale.md", (text + note).encode())


if __name__ == "__main__":
    main()
