"""Contenders take turns, round after round, so that what else the machine does hits all of them alike."""

from __future__ import annotations

import statistics
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

K = TypeVar("K", bound=Hashable)


class Contender(Protocol):
    def run(self, steps: int) -> float:
        """Take `steps` steps; the seconds they took."""


@dataclass(frozen=True)
class Race:
    """Seconds per step of each contender in each round."""

    seconds: dict[str, list[float]]
    tokens: int
    """per step, the same for all"""

    @classmethod
    def from_json(cls, content: dict) -> Race:
        return cls(content["seconds"], content["tokens"])

    def as_json(self) -> dict:
        return {"seconds": {name: rounded(values) for name, values in self.seconds.items()}, "tokens": self.tokens}

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
    """Contenders that take the same number of `tokens` per step, in turn (see `take_turns`)."""
    return Race(take_turns(contenders, steps, rounds), tokens)


def take_turns(contenders: Mapping[K, Contender], steps: Mapping[K, int], rounds: int) -> dict[K, list[float]]:
    """Let each contender take its number of steps in each of `rounds` rounds, in turn; every other round backwards.

    Args:
        steps: of each contender per round.

    Returns:
        Seconds per step of each contender, one per round.
    """
    taken: dict[K, list[float]] = {name: [] for name in contenders}
    for index in range(rounds):
        for name in list(contenders)[:: -1 if index % 2 else 1]:
            taken[name].append(contenders[name].run(steps[name]) / steps[name])
    return taken


def steps_for(contender: Contender, seconds: float) -> int:
    """Steps that fill about `seconds`, judged after a first call that warms caches and allocators."""
    contender.run(1)
    return max(1, round(seconds / (contender.run(3) / 3)))


def rounded(values: Iterable[float]) -> list[float]:
    """Six significant digits, as files hold them."""
    return [float(f"{value:.6g}") for value in values]
