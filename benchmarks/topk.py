"""Training of dictionaries that keep few features, with gradients of those alone and by the definition, in one race.

    python -m benchmarks.topk [--d-sae 10240] [--k 32] [--rounds 3] [--seconds 5]

The definition forms every gradient over all d_sae features, as autograd does of what the architecture says.
"""

from __future__ import annotations

import argparse
import time
from itertools import cycle

import torch

from benchmarks.rounds import race, steps_for
from benchmarks.setting import D_IN, POSITIONS, TOKENS, batches, use_all_cores
from lens.dictionaries.dictionary import Dictionary, Info
from lens.training.gradients import Workspace
from lens.training.recipe import build
from lens.training.run import Run

ARCHITECTURES = ("topk", "batch_topk", "matryoshka")


class Step:
    """Optimiser steps of one architecture."""

    def __init__(self, architecture: str, d_sae: int, k: int, few: bool):
        fields = {"architecture": architecture, "k": k, "position": "none", "position_weights": "uniform"}
        recipe = build(fields | {"steps": 10_000, "expansion": d_sae // D_IN})
        info = Info(D_IN, d_sae, POSITIONS + 1, architecture=architecture, settings=recipe.settings, name=architecture)
        dictionary = Dictionary.initialise(info, torch.zeros(D_IN), seed=0)
        if not few:
            dictionary.architecture.select_few = lambda *_: None
        self.training, self.data = Run(recipe, dictionary, Workspace()), cycle(batches(POSITIONS + 1))

    def run(self, steps: int) -> float:
        start = time.perf_counter()
        for _ in range(steps):
            self.training.step(next(self.data), None, log=False)
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.topk", description=__doc__.splitlines()[0])
    parser.add_argument("--d-sae", type=int, default=16 * D_IN, help="features, a multiple of 640 (default: 10240)")
    parser.add_argument("--k", type=int, default=32, help="features kept of a vector (default: 32)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each race (default: 3)")
    parser.add_argument("--seconds", type=float, default=5, help="of each contender per round (default: 5)")
    asked = parser.parse_args()
    print(f"{use_all_cores()} threads, d_in {D_IN}, d_sae {asked.d_sae}, k {asked.k}, {TOKENS} tokens a step")
    print("architecture   tokens/s   of few / of all features   ratio (of each round)")
    for architecture in ARCHITECTURES:
        contenders = {name: Step(architecture, asked.d_sae, asked.k, name == "few") for name in ("few", "all")}
        steps = {name: steps_for(contender, asked.seconds) for name, contender in contenders.items()}
        found = race(contenders, TOKENS, steps, asked.rounds)
        ratios = " ".join(f"{ratio:.2f}" for ratio in found.ratios("few", "all"))
        rates = f"{found.rate('few'):>8.0f} / {found.rate('all'):.0f}"
        print(f"{architecture:<12} {rates:>36} {found.ratio('few', 'all'):>8.2f} ({ratios})", flush=True)


if __name__ == "__main__":
    main()
