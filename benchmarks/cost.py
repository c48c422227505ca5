"""What the masks cost: seconds per training step, with them and without, and parameters, for windows of 32 to 512.

Every step takes 16 windows, whatever their length T, so the tokens of a step grow with T.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from benchmarks.rounds import rounded, steps_for, take_turns
from benchmarks.setting import D_IN, D_SAE, WINDOWS
from benchmarks.training import LOG_EVERY, Ours

LENGTHS = (32, 64, 128, 256, 512)
VARIANTS = ("temporallens", "standard")


@dataclass(frozen=True)
class Cost:
    """Seconds per step of each variant at each length, one per repetition."""

    seconds: dict[str, dict[int, list[float]]]

    @classmethod
    def from_json(cls, content: dict) -> Cost:
        lengths = content["lengths"]
        return cls({v: {T: by_length[str(T)] for T in lengths} for v, by_length in content["seconds"].items()})

    def as_json(self) -> dict:
        lengths = list(self.seconds[VARIANTS[0]])
        return {
            "lengths": lengths,
            "seconds": {v: {str(T): rounded(s) for T, s in by.items()} for v, by in self.seconds.items()},
            "tokens_per_step": {str(T): WINDOWS * T for T in lengths},
            "parameters": {str(T): {"masks": mask_parameters(T), "all": all_parameters(T)} for T in lengths},
        }

    def slopes(self, variant: str) -> list[float]:
        """Slope of log seconds on log T within each repetition; 1 where cost is linear in the length."""
        log_T = [math.log(T) for T in self.seconds[variant]]
        rounds = zip(*self.seconds[variant].values(), strict=True)
        return [statistics.linear_regression(log_T, [math.log(s) for s in row]).slope for row in rounds]

    def overhead(self, T: int) -> list[float]:
        """Seconds with masks and weights over seconds without, minus 1, within each repetition."""
        pairs = zip(*(self.seconds[variant][T] for variant in VARIANTS), strict=True)
        return [masked / plain - 1 for masked, plain in pairs]


def mask_parameters(T: int) -> int:
    return T * D_SAE


def all_parameters(T: int) -> int:
    """Encoder, decoder, both biases and the masks."""
    return 2 * D_IN * D_SAE + D_IN + D_SAE + mask_parameters(T)


def measure(rounds: int, seconds: float) -> Cost:
    """Both variants at every length take turns; each takes about `seconds` per round.

    A turn is a multiple of LOG_EVERY steps, so that the dearer logged steps have the same share in all of them.
    """
    contenders = {(variant, T): Ours(variant, T) for T in LENGTHS for variant in VARIANTS}
    steps = {key: -(-steps_for(one, seconds) // LOG_EVERY) * LOG_EVERY for key, one in contenders.items()}
    taken = take_turns(contenders, steps, rounds)
    return Cost({variant: {T: taken[variant, T] for T in LENGTHS} for variant in VARIANTS})
