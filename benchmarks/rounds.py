"""Contenders take turns, round after round, so that what else the machine does hits all of them alike."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


class Contender(Protocol):
    def run(self, steps: int) -> float:
        """Take `steps` steps; the seconds they took."""


@dataclass(frozen=True)
class Race:
    """Seconds per step of each contender in each round."""

    seconds: dict[str, list[float]]
    tokens: int
    """per step, the same for all"""

    def rate(self, name: str) -> float:
        """Median over rounds of tokens per second."""
        return self.tokens / statistics.median(self.seconds[name])

    def ratios(self, name: str, other: str) -> list[float]:
        """How many times as fast as `other`, within each round."""
        return [b / a for a, b in zip(self.seconds[name], self.seconds[other], strict=True)]

    def ratio(self, name: str, other: str) -> float:
        """Median over rounds of `ratios`."""
        return statistics.median(self.ratios(name, other))


def race(contenders: Mapping[str, Contender], tokens: int, steps: Mapping[str, int], rounds: int) -> Race:
    """Let each contender take its number of steps in each of `rounds` rounds, in turn; every other round backwards.

    Args:
        tokens: per step.
        steps: of each contender per round.
    """
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for index in range(rounds):
        for name in list(contenders)[:: -1 if index % 2 else 1]:
            taken[name].append(contenders[name].run(steps[name]) / steps[name])
    return Race(taken, tokens)


def steps_for(contender: Contender, seconds: float) -> int:
    """Steps that fill about `seconds`, judged after a first call that warms caches and allocators."""
    contender.run(1)
    return max(1, round(seconds / (contender.run(3) / 3)))
