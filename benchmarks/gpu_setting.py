"""What the contenders of `benchmarks.gpu` have in common: sizes, batches, the clock and the count of memory.

Imported in processes of other libraries too, so it needs PyTorch and nothing else.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

K = 32  # features that a vector keeps, where an architecture has them counted
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Size:
    """What is measured: width d of the inputs, widths of the dictionaries as its multiples, vectors of a step."""

    d: int
    expansions: tuple[int, ...]
    windows: int
    positions: int
    seconds: float
    """of each contender per round"""
    matmul: int
    """rows and columns of the product that gives the matmul rate"""
    model: str
    rounds: int = 3

    @property
    def tokens(self) -> int:
        return self.windows * self.positions


FULL = Size(2304, (16, 32), 64, 128, 1.5, 8192, "gemma-2-2b")
SMALL = Size(32, (32,), 2, 8, 0.01, 64, "gemma-3-tiny", rounds=1)


def batches(size: Size, device: torch.device, count: int = 4) -> list[Tensor]:
    """Gaussian stand-ins for activations: bf16 windows [windows, positions + 1, d], the first position of which is left
    out of training, with unit mean squared norm."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, size.windows, size.positions + 1, size.d, generator=generator) / size.d**0.5
    return list(x.to(torch.bfloat16).to(device))


def seconds_per_step(step: Callable[[], None], device: torch.device, seconds: float, rounds: int) -> list[float]:
    """In each round, after three steps that nobody counts; steps of a round fill about `seconds`."""

    def run(steps: int) -> float:
        wait(device)
        start = time.perf_counter()
        for _ in range(steps):
            step()
        wait(device)
        return time.perf_counter() - start

    run(3)
    steps = max(1, round(seconds / (run(2) / 2)))
    return [run(steps) / steps for _ in range(rounds)]


def measured(
    make: Callable[[], Callable[[], None]], size: Size, device: torch.device, left: Callable[[], float]
) -> dict | str:
    """Seconds per step of every round, and the peak of memory; or why they were not measured."""
    if left() <= 0:
        return f"{NOT_MEASURED}: the time is over"
    try:
        with memory(device) as peak:
            taken = seconds_per_step(make(), device, size.seconds, size.rounds)
        return {"seconds": [float(f"{s:.6g}") for s in taken], "peak": peak()}
    except Exception as error:  # the report names it, and the other contenders go on
        return why(error)


@contextmanager
def memory(device: torch.device) -> Iterator[Callable[[], int | None]]:
    """Yields the peak of bytes that were allocated inside; None on a CPU, where nobody counts."""
    gc.collect()
    if device.type != "cuda":
        yield lambda: None
        return
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    yield torch.cuda.max_memory_allocated


def why(error: Exception) -> str:
    """That something was not measured, and the first clause of the reason."""
    reason = str(error).partition(";")[0].partition("\n")[0]
    return f"{NOT_MEASURED}: {type(error).__name__}: {reason[:200]}"


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
