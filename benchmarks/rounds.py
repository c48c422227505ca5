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
    tokens: dict[str, int]
    """tokens per step"""

    def rate(self, name: str) -> float:
        """Median over rounds of tokens per second."""
        return self.tokens[name] / statistics.median(self.seconds[name])

    def ratios(self, name: str, other: str) -> list[float]:
        """How many times as fast as `other`, within each round."""
        own, others = self.seconds[name], self.seconds[other]
        return [self.tokens[name] / a / (self.tokens[other] / b) for a, b in zip(own, others, strict=True)]

    def ratio(self, name: str, other: str) -> float:
        """Median over rounds of `ratios`."""
        return statistics.median(self.ratios(name, other))


def race(contenders: Mapping[str, Contender], tokens: Mapping[str, int], rounds: int, seconds: float) -> Race:
    """Let each contender run for about `seconds` in each of `rounds` rounds, in turn; every other round backwards."""
    steps = {name: _steps_for(contender, seconds) for name, contender in contenders.items()}
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for index in range(rounds):
        for name in list(contenders)[:: -1 if index % 2 else 1]:
            taken[name].append(contenders[name].run(steps[name]) / steps[name])
    return Race(taken, dict(tokens))


def _steps_for(contender: Contender, seconds: float) -> int:
    """Steps that fill `seconds`, judged after a first call that warms caches and allocators."""
    contender.run(1)
    return max(1, round(seconds / (contender.run(2) / 2)))
