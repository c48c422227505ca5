"""C09a, C09b, C24, C37: do the position weights follow how hard a position is to reconstruct?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import hypergeom, rankdata

from lens.measure.stats import (
    Component,
    Interval,
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
from paper.evidence.compare import for_controls, mean_over_layers
from paper.evidence.measured import INPUT, METHOD, Measured, Missing
from paper.evidence.readings import Evidence, Measures, Reading, attempt, exact, measure, over_seeds

DRAWS = 2_000  # bootstrap samples of positions
BOOTSTRAP_SEED = 0  # fixed: the same tables always give the same intervals
TOP = 16  # positions that count as challenging
SHUFFLED = "shuffled_positions"
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

    beyond = f"{METHOD} - {SHUFFLED}"

    def control() -> Reading:
        return _reading(f"Pearson, {SHUFFLED}", *curves(data.text, SHUFFLED), _other_seeds)

    def difference() -> Reading:
        (own, error), (shuffled, _) = curves(data.text), curves(data.text, SHUFFLED)
        found, detail = _resampled((own, shuffled, error), lambda a, b, e: _z(a, e) - _z(b, e), _other_seeds)
        return Reading(beyond, found, n_seeds=len(data.seeds), detail=f"difference of Fisher z; {detail}")

    def input_deviation() -> Reading:
        error = data.curve("standard", "mse", data.text)
        deviation = np.broadcast_to(data.curve(INPUT, "sq_deviation", data.text), error.shape)
        return _reading("Pearson of the input's squared deviation and the same error", deviation, error, _same_seed)

    def shared(name: str, x: Callable[[range], np.ndarray], y: Callable[[range], np.ndarray], at: range) -> Reading:
        return attempt(name, lambda: _reading(name, x(at), y(at), _other_seeds))

    def error(variant: str) -> Callable[[range], np.ndarray]:
        return lambda at: data.curve(variant, "mse", at)

    def weights(at: range) -> np.ndarray:
        return _weights(data, METHOD, at)

    return Evidence(
        _readings(data, curves, _other_seeds),
        controls={SHUFFLED: attempt(f"Pearson, {SHUFFLED}", control)},
        differences={beyond: attempt(beyond, difference)},
        context=(
            attempt("Pearson of the input's squared deviation and the same error", input_deviation),
            shared("Pearson of the method's error and the same error", error(METHOD), error("standard"), data.text),
            shared("Pearson, late positions", weights, error("standard"), data.late),
            shared("Pearson of the weights of two seeds, late positions", weights, weights, data.late),
        ),
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

    p is that of the circular shift of every error curve against the weights.
    """
    z = _rank_z if ranks else _z
    found, detail = _resampled((x_LSn, y_LSn), z, pairing)
    shifted = np.array([pairing(z(x_LSn, y)) for y in circular_shifts(y_LSn)])
    return Reading(name, found, "correlation", x_LSn.shape[1], p=shift_p_value(shifted), detail=detail)


def _z(x_LSn: np.ndarray, y_LSn: np.ndarray) -> np.ndarray:
    """Fisher z of every pair of seeds `[S, S']`, mean over layers."""
    return fisher_z(correlation(x_LSn[:, :, None, :], y_LSn[:, None, :, :])).mean(axis=0)


def _rank_z(x_LSn: np.ndarray, y_LSn: np.ndarray) -> np.ndarray:
    return _z(rankdata(x_LSn, axis=-1), rankdata(y_LSn, axis=-1))


def _resampled(
    curves: tuple[np.ndarray, ...], statistic: Callable[..., np.ndarray], pairing: Pairing
) -> tuple[Interval, str]:
    """Interval over seeds and positions of a statistic of pairs of seeds `[S, S']`, and what it is over.

    Seeds vary by the jackknife, because pairs of seeds share seeds; positions by a circular-block bootstrap with blocks
    as long as the curves' autocorrelation.
    """
    n_seeds, n = curves[0].shape[1:]
    block = max(autocorrelation_length(curve) for each in curves for curve in each.mean(axis=1))
    samples = moving_blocks(n, block, DRAWS, np.random.default_rng(BOOTSTRAP_SEED))
    draws = np.array([pairing(statistic(*(curve[..., s] for curve in curves))) for s in samples])
    estimate, seeds = _jackknife(statistic(*curves), pairing)
    found = interval(estimate, seeds, draws_component(draws, n // block))
    over = f"interval over seeds and positions (blocks of {block})" if np.isfinite(found.se) else "too few seeds"
    return found, over


def _jackknife(pairs_SS: np.ndarray, pairing: Pairing) -> tuple[float, Component]:
    """Mean over pairs of seeds and its variance over seeds."""
    n_seeds, estimate = len(pairs_SS), float(pairing(pairs_SS))
    left_out = [pairing(np.delete(np.delete(pairs_SS, s, 0), s, 1)) for s in range(n_seeds) if n_seeds > 1]
    return estimate, seed_component(pseudovalues(estimate, left_out))


def over_emphasis(data: Measured) -> Evidence:
    """C24: the largest position weight late in training, without and with the BOS position.

    Early weights are those of an average that has hardly begun; late ones are means over the last tenth of training.
    """
    ablated, effective, bos = data.ablated(), "effective number of positions", "bos_included"

    def largest(name: str, where: Measured, variant: str, positions: range) -> Reading:
        weights = where.curve(variant, "position_weight", positions)
        return over_seeds(name, weights.max(axis=-1).mean(axis=0), "plain")

    without = largest("BOS left out", data, METHOD, data.text)
    with_bos = largest("BOS trained on", ablated, bos, range(data.length))
    control = f"{without.name}, {SHUFFLED}"

    def effective_number(name: str, where: Measured, variant: str) -> Reading:
        return attempt(name, lambda: mean_over_layers(where, name, variant, "weight_effective_positions"))

    return Evidence(
        (with_bos, without),
        context=(
            attempt(control, lambda: largest(control, data, SHUFFLED, data.text)),
            effective_number(f"{effective}, {without.name}", data, METHOD),
            effective_number(f"{effective}, {with_bos.name}", ablated, bos),
        ),
        measures={"largest_weight_with_bos": measure(with_bos), "largest_weight_without_bos": measure(without)},
    )


def challenging_positions(data: Measured) -> Evidence:
    """C37: how many of the 16 positions with the largest weights are among the 16 with the largest error of standard
    dictionaries of other seeds.

    p is that of circular shifts of the error curves. The hypergeometric one stands beside it: neighbouring positions
    are alike, so that it finds far too much.
    """
    if len(data.seeds) < 2:
        raise Missing("one training seed: there is no other seed's error")
    if len(data.text) < 2 * TOP:
        raise Missing(f"windows of {data.length} hold fewer than {2 * TOP} text positions")
    name, control, beyond = f"overlap of {TOP}", SHUFFLED, f"{METHOD} - {SHUFFLED}"

    def difference() -> Reading:
        found = interval(*_jackknife(_pairs(data, METHOD) - _pairs(data, SHUFFLED), _other_seeds))
        return Reading(beyond, found, n_seeds=len(data.seeds), detail="interval over seeds")

    def measures(variant: str) -> Measures:
        found = _overlap(data, name, variant)
        return {"overlap": measure(found), "overlap_p": measure(exact("p", found.p))}

    return Evidence(
        (_overlap(data, name, METHOD),),
        controls={control: attempt(control, lambda: _overlap(data, f"{name}, {control}", control))},
        differences={beyond: attempt(beyond, difference)},
        measures=measures(METHOD),
        control_measures=for_controls([control], measures),
        null=TOP * TOP / len(data.text),
    )


def _overlap(data: Measured, name: str, variant: str) -> Reading:
    estimate, seeds = _jackknife(_pairs(data, variant), _other_seeds)
    error, n = data.curve("standard", "mse", data.text), len(data.text)
    weights = _weights(data, variant, data.text)
    shifted = np.array([_other_seeds(_common(weights, e)) for e in circular_shifts(error)])
    too_liberal = float(hypergeom.sf(np.floor(estimate) - 1, n, TOP, TOP))
    detail = f"chance {TOP * TOP / n:.1f}; p of circular shifts; the hypergeometric p, too liberal: {too_liberal:.2g}"
    return Reading(name, interval(estimate, seeds), n_seeds=len(data.seeds), p=shift_p_value(shifted), detail=detail)


def _pairs(data: Measured, variant: str) -> np.ndarray:
    return _common(_weights(data, variant, data.text), data.curve("standard", "mse", data.text))


def _common(weights_LSn: np.ndarray, error_LSn: np.ndarray) -> np.ndarray:
    """How many of the top positions of weights and of errors agree, `[S, S']`; mean over layers."""
    top_w, top_e = (np.argsort(np.argsort(-x, axis=-1), axis=-1) < TOP for x in (weights_LSn, error_LSn))
    return (top_w[:, :, None] & top_e[:, None]).sum(-1).mean(axis=0)
