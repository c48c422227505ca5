"""What reading activations adds to training: opening a verified store once, drawing a batch from it at every step."""

from __future__ import annotations

import contextlib
import io
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import training
from benchmarks.extraction import LENGTH, random_windows, scratch_folder
from benchmarks.rounds import race, rounded
from benchmarks.setting import D_IN, TOKENS, WINDOWS
from lens.activations.extract import extract
from lens.activations.language_model import LanguageModel
from lens.activations.layers import Layer
from lens.activations.statistics import input_statistics
from lens.activations.store import open_layer
from lens.training.source import window_order

STORE_WINDOWS, LAYER, STEPS = 2048, 8, 1000  # of the quick study, for one dictionary
STORE_MB = STORE_WINDOWS * LENGTH * D_IN * 2 / 1e6  # bf16


@dataclass(frozen=True)
class Reading:
    """Seconds spent on reading beside seconds spent on training."""

    opening: list[float]
    """opening a store with all digests compared, and the moments of its activations [s]"""
    drawing: list[float]
    """drawing one batch [s]"""
    step: list[float]
    """one TemporalLens training step [s], in the same rounds"""

    @classmethod
    def from_json(cls, content: dict) -> Reading:
        return cls(content["opening"], content["drawing"], content["step"])

    def as_json(self) -> dict:
        return {name: rounded(values) for name, values in asdict(self).items()}

    @property
    def share(self) -> float:
        """Reading, with the opening spread over one run of STEPS steps, per time of a training step."""
        opening = statistics.median(self.opening) / STEPS
        return statistics.median((opening + draw) / step for draw, step in zip(self.drawing, self.step, strict=True))


class Draws:
    """Batches drawn as training draws them, from the memory-mapped store."""

    def __init__(self, activations: Tensor):
        self.activations = activations
        self.order = window_order(len(activations), WINDOWS, 10**6, seed=0)

    def run(self, steps: int) -> float:
        start = time.perf_counter()
        for _ in range(steps):
            self.activations.index_select(0, next(self.order))
        return time.perf_counter() - start


def measure(model: LanguageModel, rounds: int) -> Reading:
    with scratch_folder() as folder:
        store = _write_store(model, Path(folder))
        opening = []
        for _ in range(rounds):
            start = time.perf_counter()
            activations = open_layer(store, LAYER, "train").activations
            input_statistics(activations)
            opening.append(time.perf_counter() - start)
        contenders = {"draw": Draws(activations), "step": training.Ours("temporallens")}
        for contender in contenders.values():  # warm
            contender.run(5)
        seconds = race(contenders, TOKENS, {"draw": 100, "step": 50}, rounds).seconds
    return Reading(opening, seconds["draw"], seconds["step"])


def _write_store(model: LanguageModel, folder: Path) -> Path:
    """A store of the size of the quick study, written by `extract` with noise in place of the forward pass."""
    seeds = count()

    def noise(tokens: Tensor, layers: Sequence[Layer]) -> dict[Layer, Tensor]:
        generator = torch.Generator().manual_seed(next(seeds))
        shape = (len(tokens), LENGTH, model.d_model)
        return {layer: torch.randn(shape, generator=generator) for layer in layers}

    windows = {"train": random_windows(model, STORE_WINDOWS), "test": random_windows(model, WINDOWS)}
    with contextlib.redirect_stderr(io.StringIO()):  # no progress bars among the tables
        extract(model, windows, [LAYER], folder / "store", folder / "pool", window_rule={}, forward=noise)
    return folder / "store"
