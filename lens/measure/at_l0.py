"""Errors of a dictionary at exactly one L0, whatever it was trained to.

A dictionary with a threshold for inference (BatchTopK, saved as JumpReLU, and JumpReLU itself) has any L0 that one asks
for: the threshold is multiplied by factors until two of them have L0 on both sides of it, and log errors are taken to
be linear in log L0 between the two. No other weight changes. Without it, two dictionaries with L0 .97 and 1.04 times
the same number differ by some percent of their error because of that alone: it falls by about 1 % for each percent of
L0. Train those that are compared with the same k all the same: features that were learned with another k are others,
which is worth about a tenth of that (`tests/measure/test_at_l0.py`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from math import log
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lens.dictionaries.dictionary import Dictionary
from lens.errors import DictionaryError
from lens.measure.reconstruction import CHUNK, by_block

NEAR = 0.05  # of the L0: both sides are at most this far from it
BEYOND = 0.015  # of the L0: how far on the other side of it the next factor is to bring it
TRIES = 10
SLOPE = -1.0  # of log L0 by the log of the threshold, until two factors were tried
LARGEST_STEP = 4.0  # a value is multiplied or divided by at most this from one try to the next


class Sums(NamedTuple):
    """Sums over ordinary tokens (see `lens.measure.reconstruction.InputMoments`) of each block of windows."""

    sq_error: np.ndarray
    """[n_blocks, T] of ||x - x_hat||^2"""
    active: np.ndarray
    """[n_blocks, T] of ||f||_0"""


class AtL0(NamedTuple):
    """Sums at the L0 that was asked for, and how they were come by."""

    sums: Sums
    l0: float
    """with the threshold as it was trained"""
    factors: tuple[float, float]
    """of the threshold, with L0 below and above the one asked for"""
    l0s: tuple[float, float]
    """with these"""
    slope: float
    """of the log of the error at all text positions by log L0, between the two"""


def at_l0(sae: Dictionary, target: float, tokens: float, sums: Callable[[Dictionary], Sums]) -> AtL0:
    """Sums of a dictionary where its L0 over text positions is `target`.

    Args:
        tokens: ordinary tokens at text positions, of all blocks.
        sums: of the dictionary with another threshold; see `sums_of`.

    Raises:
        DictionaryError: it has no threshold, or no factor of it brings the L0 to both sides of the target.
    """
    name = sae.info.name or "the dictionary"
    threshold = getattr(sae.architecture, "threshold", None)
    if threshold is None or sae.architecture.span > 1:
        raise DictionaryError(
            f"{name} ({sae.info.architecture}) has no threshold that brings its L0 to {target:g}: train batch_topk or "
            "jumprelu"
        )
    other, found = copy.deepcopy(sae), {}

    def tried(factor: float) -> float:
        with torch.no_grad():
            other.architecture.get_parameter("threshold").copy_(threshold * factor)
        found[factor] = sums(other)
        return float(found[factor].active[:, 1:].sum() / tokens)

    l0s, two = bracket(tried, target)
    if two is None:
        said = ", ".join(f"{l0:.3g} at {factor:.3g}" for factor, l0 in sorted(l0s.items()))
        raise DictionaryError(
            f"{name}: no factor of its threshold brings L0 to both sides of {target:g} within {NEAR:.0%} of it (L0 "
            f"{said} times the threshold): train it nearer to that L0"
        )
    low, high = two
    sides = log(l0s[low]), log(l0s[high])
    weight = (log(target) - sides[0]) / (sides[1] - sides[0])
    between = Sums(*(_between(a, b, weight) for a, b in zip(found[low], found[high], strict=True)))
    totals = [found[factor].sq_error[:, 1:].sum() for factor in two]
    return AtL0(between, l0s[1.0], two, (l0s[low], l0s[high]), log(totals[1] / totals[0]) / (sides[1] - sides[0]))


def bracket(l0_of: Callable[[float], float], target: float) -> tuple[dict[float, float], tuple[float, float] | None]:
    """L0 by each factor of the threshold that was tried, 1 first, and the two of them with the nearest L0 below the
    target and the nearest one at it or above; None where these are not found within `NEAR`."""
    l0s = {1.0: l0_of(1.0)}
    while True:
        below, above = (
            min((f for f, l0 in l0s.items() if (l0 < target) == side), key=lambda f: abs(l0s[f] - target), default=None)
            for side in (True, False)
        )
        far = [f is None or abs(l0s[f] / target - 1) > NEAR for f in (below, above)]
        if below is not None and above is not None and not any(far):
            return l0s, (below, above)
        aim = target * (1 - BEYOND if far[0] else 1 + BEYOND)
        sides = l0s if below is None or above is None else (below, above)
        known = [(f, l0s[f]) for f in sides if l0s[f] > 0]
        factor = next_value(known, aim, SLOPE) if known else min(l0s) / LARGEST_STEP
        if len(l0s) == TRIES or factor in l0s:
            return l0s, None
        l0s[factor] = l0_of(factor)


def next_value(tried: Sequence[tuple[float, float]], target: float, slope: float) -> float:
    """The value to try after those tried, [(value, L0)]: log L0 as a line in the log of the value, through the two
    nearest tries if it rises or falls as `slope` says, else through the nearest one with that slope."""
    near = sorted(tried, key=lambda one: abs(log(one[1] / target)))[:2]
    (value, l0), *others = near
    for other, other_l0 in others:
        found = log(l0 / other_l0) / log(value / other)
        slope = found if found * slope > 0 else slope
    factor = (target / l0) ** (1 / slope)
    return value * min(max(factor, 1 / LARGEST_STEP), LARGEST_STEP)


@torch.no_grad()
def sums_of(sae: Dictionary, activations: Tensor, block: Tensor, n_blocks: int, scale: float, ordinary: Tensor) -> Sums:
    """Sums of a dictionary over windows [n, T, d] of held-out activations, in fp32.

    Args:
        block: [n] block of each window.
        scale: errors are those of activations times this.
        ordinary: [n, T] tokens that count.
    """
    found = Sums(*(np.zeros((n_blocks, activations.shape[1])) for _ in Sums._fields))
    for rows in torch.arange(len(activations)).split(CHUNK):
        x = activations[rows].float()
        codes = sae.encode(x)
        error = (sae.decode(codes) - x).mul_(scale).square().sum(-1)
        for total, values in zip(found, (error, codes.l0()), strict=True):
            total += by_block(values * ordinary[rows], block[rows], n_blocks)
    return found


def _between(low: np.ndarray, high: np.ndarray, weight: float) -> np.ndarray:
    """Sums whose logs lie between those of two; 0 where one of them is."""
    both = (low > 0) & (high > 0)
    return np.where(both, np.where(both, low, 1) ** (1 - weight) * np.where(both, high, 1) ** weight, 0)
