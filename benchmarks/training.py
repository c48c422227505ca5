"""Training speed at d = d_sae = 640, 2048 tokens a step: ours, the peers', and the two yardsticks, in one race."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path

import torch

from benchmarks import environment
from benchmarks.baselines import BareProducts, PlainLoop
from benchmarks.rounds import Race, race, steps_for
from benchmarks.setting import D_IN, D_SAE, POSITIONS, TOKENS, batches
from lens import checkout
from lens.dictionaries.dictionary import Dictionary, Info
from lens.training import recipe_file
from lens.training.gradients import Workspace
from lens.training.recipe import recipe
from lens.training.run import Run

BARE, PLAIN = "five bare bf16 products", "plain PyTorch loop"
OURS, OURS_PLAIN = "ours: TemporalLens", "ours: standard SAE"
PEERS = ("dictionary-learning", "sae-lens", "eai-sparsify")
LOG_EVERY = 20  # as in the studies
ENDLESS = 10**6  # steps of the schedules: far more than are ever taken


class Ours:
    """The optimiser step of our training, on windows of a BOS, which it leaves out, and `positions` further tokens."""

    def __init__(self, variant: str, positions: int = POSITIONS):
        chosen = recipe(variant, recipe_file.read(checkout.root() / "paper" / "recipes.yaml"), ENDLESS)
        info = Info(
            d_in=D_IN,
            d_sae=D_SAE,
            n_positions=positions + 1,
            position=chosen.position,
            settings=chosen.settings,
            name=variant,
        )
        self.training = Run(chosen, Dictionary.initialise(info, torch.zeros(D_IN), seed=0), Workspace())
        self.data = cycle(batches(positions + 1))

    def run(self, steps: int) -> float:
        start = time.perf_counter()
        for _ in range(steps):
            self.training.step(next(self.data), None, log=self.training.steps_done % LOG_EVERY == 0)
        return time.perf_counter() - start


class Peer:
    """A peer in a process of its own environment; its clock covers its training steps alone."""

    def __init__(self, name: str, log: Path):
        self.name, self.log = name, log
        self.process = subprocess.Popen(
            [environment.python(), "-m", "benchmarks.worker", name],
            cwd=checkout.root(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log.open("w"),
            text=True,
        )
        self.versions = self._answer()["versions"]

    def run(self, steps: int) -> float:
        self.process.stdin.write(json.dumps({"steps": steps}) + "\n")
        self.process.stdin.flush()
        return self._answer()["seconds"]

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the {self.name} process stopped:\n{self.log.read_text()[-2000:]}")
        return json.loads(line)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def measure(rounds: int, seconds: float) -> tuple[Race, dict[str, str]]:
    """The race, and the versions of the peers."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        contenders = {BARE: BareProducts(), PLAIN: PlainLoop()}
        versions = {}
        for name in PEERS:
            contenders[name] = peer = Peer(name, folder / name)
            stack.callback(peer.close)
            versions |= peer.versions
        contenders |= {OURS: Ours("temporallens"), OURS_PLAIN: Ours("standard")}
        steps = {name: steps_for(contender, seconds) for name, contender in contenders.items()}
        return race(contenders, TOKENS, steps, rounds), versions
