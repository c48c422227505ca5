"""Time and memory of the verdicts on position of a wide dictionary, without the language model's passes.

    python -m benchmarks.specialisation_cost [--features 16384] [--windows 256] [--readings 4]

Inputs are Gaussian, with a mean that moves with the position, so that nearly all features that fire often enough have
to be tested. Writes `results/benchmarks/specialisation_cost.json`.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from benchmarks.machine import describe
from benchmarks.setting import use_all_cores
from lens import checkout, files
from lens.activations.offset_windows import TILES, OffsetWindows
from lens.activations.store import LayerStore
from lens.dictionaries.dictionary import Dictionary, Info
from lens.measure.position_information import MIN_FIRINGS
from lens.profiling.specialisation import specialisation

OUT = checkout.root() / "results" / "benchmarks" / "specialisation_cost.json"
D, T, L0, DOCUMENTS = 640, 128, 64, 16
MOVING = 0.1  # share of the variance that the position makes
GIB = 2**20  # of the units of ru_maxrss


def inputs(n: int, generator: torch.Generator) -> Tensor:
    """Windows [n, T, D] in bf16 whose mean turns with the position."""
    turn = torch.linspace(0, 6.28, T)[:, None] * torch.arange(1, D + 1) / D
    return (torch.randn(n, T, D, generator=generator) + (2 * MOVING) ** 0.5 * turn.cos()).bfloat16()


def dictionary(features: int, generator: torch.Generator) -> Dictionary:
    """Random unit directions, with thresholds by which `L0` of the features fire on a vector."""
    W = torch.nn.functional.normalize(torch.randn(features, D, generator=generator), dim=1)
    scores = inputs(2, generator).float().flatten(0, 1) @ W.T
    threshold = scores.flatten()[::7].quantile(1 - L0 / features).expand(features).clone()
    weights = {"W_enc": W.T.contiguous(), "W_dec": W, "b_dec": torch.zeros(D), "threshold": threshold}
    return Dictionary(Info(D, features, architecture="jumprelu"), weights | {"b_enc": torch.zeros(features)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--features", type=int, default=16384)
    parser.add_argument("--windows", type=int, default=256)
    parser.add_argument("--readings", type=int, default=4)
    asked = parser.parse_args()
    threads, generator = use_all_cores(), torch.Generator().manual_seed(0)
    n, G, P = asked.windows, asked.windows // (2 * TILES), T - 1
    sae = dictionary(asked.features, generator)
    tokens, start = torch.zeros(n, T, dtype=torch.int32), torch.zeros(n, dtype=torch.long)
    names = tuple(map(str, range(DOCUMENTS)))
    store = LayerStore(inputs(n, generator), tokens, torch.arange(n) % DOCUMENTS, start, names, {})
    even = np.tile(np.arange(asked.readings) * P // asked.readings, (G, 1))
    phase = np.random.default_rng(0).permuted(even, axis=1)
    shape = G, asked.readings, TILES + 1, T
    drawn = OffsetWindows(np.zeros(shape, np.int32), phase, np.arange(G) % DOCUMENTS, True)

    def read() -> Iterator[Tensor]:
        for _ in range(G):
            yield inputs(asked.readings * (TILES + 1), generator).unflatten(0, shape[1:3])

    before, clock = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    with torch.no_grad():
        found = specialisation(sae, store, drawn, read(), np.ones(asked.features, bool))
    result = {
        "asked": vars(asked),
        "machine": describe(threads),
        "seconds": round(time.perf_counter() - clock, 1),
        "cpu_seconds": round(time.process_time(), 1),
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / GIB, 2),
        "gib_before": round(before / GIB, 2),
        "features_tested": int((found["verdict"] != "too few firings").sum()),
        "least_firings": MIN_FIRINGS,
        "features_moved": int(found["moved"].sum()),
    }
    files.write(OUT, (json.dumps(result, indent=1) + "\n").encode())
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
