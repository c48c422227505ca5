"""C09a, C09b: do the position weights follow how hard a position is to reconstruct?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import rankdata

from lens.measure.stats import (
    autocorrelation_length,
    circular_shifts,
    correlation,
    draws_component,
    fisher_z,
    interval,
    moving_blocks,
    pseudovalues,
    seed_component,
    shift_p_value,
)
from lens.report.evidence.readings import INPUT, METHOD, Evidence, Measured, Missing, Reading, attempt

DRAWS = 2_000  # bootstrap samples of positions
BOOTSTRAP_SEED = 0  # fixed: the same tables always give the same intervals
SETTLED = 8  # first text position after the steep start of a window

Pairing = Callable[[np.ndarray], np.ndarray]
"""From z `[S, S']` (weights of seed S, error of seed S') to its mean over the pairs that count."""


def own_error(data: Measured) -> Evidence:
    """C09a: position weights against the held-out error of the same run."""

    def curves(positions: range) -> tuple[np.ndarray, np.ndarray]:
        return _weights(data, METHOD, positions), data.curve(METHOD, "mse", positions)

    return Evidence(_readings(data, curves, _same_seed))


def other_error(data: Measured) -> Evidence:
    """C09b: position weights against the held-out error of plain dictionaries trained with other seeds."""
    if len(data.seeds) < 2:
        raise Missing("one training seed: there is no other seed's error")

    def curves(positions: range, variant: str = METHOD) -> tuple[np.ndarray, np.ndarray]:
        return _weights(data, variant, positions), data.curve("standard", "mse", positions)

    def control() -> Reading:
        return _reading("Pearson, shuffled_positions", *curves(data.text, "shuffled_positions"), _other_seeds)

    def input_deviation() -> Reading:
        error = data.curve("standard", "mse", data.text)
        deviation = np.broadcast_to(data.curve(INPUT, "sq_deviation", data.text), error.shape)
        return _reading("Pearson of the input's squared deviation and the same error", deviation, error, _same_seed)

    return Evidence(
        _readings(data, curves, _other_seeds),
        controls={"shuffled_positions": attempt("Pearson, shuffled_positions", control)},
        context=(attempt("Pearson of the input's squared deviation and the same error", input_deviation),),
    )


def _weights(data: Measured, variant: str, positions: range) -> np.ndarray:
    weights = data.curve(variant, "position_weight", positions)
    if (np.ptp(weights, axis=-1) == 0).any():
        raise Missing(f"the position weights of variant {variant!r} do not vary")
    return weights


def _same_seed(z: np.ndarray) -> np.ndarray:
    return np.diagonal(z, axis1=-2, axis2=-1).mean(axis=-1)


def _other_seeds(z: np.ndarray) -> np.ndarray:
    n = z.shape[-1]
    if n < 2:
        return np.full(z.shape[:-2], np.nan)
    return (z.sum(axis=(-2, -1)) - np.trace(z, axis1=-2, axis2=-1)) / (n * (n - 1))


def _readings(data: Measured, curves: Callable, pairing: Pairing) -> tuple[Reading, ...]:
    x, y = curves(data.text)
    readings = [_reading("Pearson", x, y, pairing), _reading("Spearman", x, y, pairing, ranks=True)]
    name = f"Pearson from position {SETTLED}"
    readings.append(attempt(name, lambda: _reading(name, *curves(range(SETTLED, data.length)), pairing)))
    if len(data.layers) > 1:
        readings += [
            _reading(f"Pearson, layer {layer}", x[i : i + 1], y[i : i + 1], pairing)
            for i, layer in enumerate(data.layers)
        ]
    return tuple(readings)


def _reading(name: str, x_LSn: np.ndarray, y_LSn: np.ndarray, pairing: Pairing, ranks: bool = False) -> Reading:
    """Correlation over positions, layers averaged as Fisher z, with its interval over seeds and positions.

    Seeds vary by the jackknife, because pairs of seeds share seeds; positions by a moving-block bootstrap
    with blocks as long as the curves' autocorrelation. p is that of the circular shift of every error curve
    against the weights.
    """

    def z(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """[S, S']"""
        if ranks:
            x, y = rankdata(x, axis=-1), rankdata(y, axis=-1)
        return fisher_z(correlation(x[:, :, None, :], y[:, None, :, :])).mean(axis=0)

    n_seeds, n = x_LSn.shape[1:]
    block = max(autocorrelation_length(curve) for curves in (x_LSn, y_LSn) for curve in curves.mean(axis=1))
    samples = moving_blocks(n, block, DRAWS, np.random.default_rng(BOOTSTRAP_SEED))
    pairs = z(x_LSn, y_LSn)
    estimate = pairing(pairs)
    left_out = [pairing(np.delete(np.delete(pairs, s, axis=0), s, axis=1)) for s in range(n_seeds) if n_seeds > 1]
    found = interval(
        estimate,
        seed_component(pseudovalues(estimate, left_out)),
        draws_component(np.array([pairing(z(x_LSn[..., s], y_LSn[..., s])) for s in samples]), n // block),
    )
    shifted = np.array([pairing(z(x_LSn, y)) for y in circular_shifts(y_LSn)])
    detail = f"interval over seeds and positions (blocks of {block})" if np.isfinite(found.se) else "too few seeds"
    return Reading(name, found, "correlation", n_seeds, p=shift_p_value(shifted), detail=detail)
