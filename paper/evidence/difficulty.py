"""C09a, C09b, C24, C37: do the position weights follow how hard a position is to reconstruct?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import hypergeom, rankdata

from lens.measure import stats
from lens.measure.stats import Component, Interval, correlation, draws_component, fisher_z, interval, seed_component
from paper.evidence.compare import for_controls, of_metrics, weight_variation
from paper.evidence.compare import largest as largest_of
from paper.evidence.measured import BASELINE, INPUT, METHOD, NULL, Measured, Missing
from paper.evidence.readings import Evidence, Measures, Reading, attempt, measure, measure_p, over_seeds
from paper.verdicts import Measure

DRAWS = 2_000  # bootstrap samples of positions
BOOTSTRAP_SEED = 0  # fixed: the same tables always give the same intervals
AT_ONCE = 50  # draws: their products take megabytes
TOP = 16  # positions that count as challenging
SETTLED = 8  # first text position after the steep start of a window

Pairing = Callable[[np.ndarray], np.ndarray]
"""From z `[S, S']` (weights of seed S, error of seed S') to its mean over the pairs that count."""
Curve = Callable[[range], np.ndarray]  # of text positions: values [L, S, n]


def own_error(data: Measured) -> Evidence:
    """C09a: position weights against the held-out error of the same run."""
    return Evidence(_readings(data, _weights(data), _error(data, METHOD), _same_seed))


def other_error(data: Measured) -> Evidence:
    """C09b: position weights against the held-out error of plain dictionaries trained with other seeds."""
    if len(data.seeds) < 2:
        raise Missing("one training seed: there is no other seed's error")
    weights, error = _weights(data), _error(data, BASELINE)

    def difference(control: str) -> Reading:
        curves = (weights(data.text), _weights(data, control)(data.text), error(data.text))
        found, detail = _resampled(curves, lambda a, b, e: _z(a, e) - _z(b, e), _other_seeds)
        name = f"{METHOD} - {control}"
        return Reading(name, found, n_seeds=len(data.seeds), detail=f"difference of Fisher z; {detail}")

    def shared(name: str, x: Curve, y: Curve, at: range) -> Reading:
        return attempt(name, lambda: _reading(name, x(at), y(at), _other_seeds))

    controls = {INPUT: "Pearson of the input's squared deviation and the same error", NULL: f"Pearson, {NULL}"}
    return Evidence(
        _readings(data, weights, error, _other_seeds),
        controls={v: shared(name, _weights(data, v), error, data.text) for v, name in controls.items()},
        differences={n: attempt(n, lambda v=v: difference(v)) for v in controls for n in [f"{METHOD} - {v}"]},
        context=(
            shared("Pearson of the method's error and the same error", _error(data, METHOD), error, data.text),
            shared("Pearson, late positions", weights, error, data.late),
            shared("Pearson of the weights of two seeds, late positions", weights, weights, data.late),
        ),
    )


def _error(data: Measured, variant: str) -> Curve:
    return lambda at: data.curve(variant, "mse", at)


def _weights(data: Measured, variant: str = METHOD) -> Curve:
    """The position weights of a variant; of the activations, what weighs positions without any training: how far they
    deviate from their mean."""

    def at(positions: range) -> np.ndarray:
        if variant == INPUT:
            deviation = data.curve(INPUT, "sq_deviation", positions)
            return np.broadcast_to(deviation, (len(data.layers), len(data.seeds), len(positions)))
        weights = data.curve(variant, "position_weight", positions)
        if (np.ptp(weights, axis=-1) == 0).any():
            raise Missing(f"the position weights of variant {variant!r} do not vary")
        return weights

    return at


def _same_seed(z: np.ndarray) -> np.ndarray:
    return np.diagonal(z, axis1=-2, axis2=-1).mean(axis=-1)


def _other_seeds(z: np.ndarray) -> np.ndarray:
    n = z.shape[-1]
    if n < 2:
        return np.full(z.shape[:-2], np.nan)
    return (z.sum(axis=(-2, -1)) - np.trace(z, axis1=-2, axis2=-1)) / (n * (n - 1))


def _readings(data: Measured, weights: Curve, error: Curve, pairing: Pairing) -> tuple[Reading, ...]:
    x, y = weights(data.text), error(data.text)
    name, settled = f"Pearson from position {SETTLED}", range(SETTLED, data.length)
    by_layer = (
        _reading(f"Pearson, layer {layer}", x[i : i + 1], y[i : i + 1], pairing)
        for i, layer in enumerate(data.layers if len(data.layers) > 1 else ())
    )
    return (
        _reading("Pearson", x, y, pairing),
        _reading("Spearman", x, y, pairing, ranks=True),
        attempt(name, lambda: _reading(name, weights(settled), error(settled), pairing)),
        *by_layer,
    )


def _reading(name: str, x_LSn: np.ndarray, y_LSn: np.ndarray, pairing: Pairing, ranks: bool = False) -> Reading:
    """Correlation over positions, layers averaged as Fisher z, with its interval over seeds and positions.

    p is that of the circular shift of every error curve against the weights.
    """
    z = _rank_z if ranks else _z
    found, detail = _resampled((x_LSn, y_LSn), z, pairing)
    shifted = pairing(z(x_LSn[:, None], np.moveaxis(stats.circular_shifts(y_LSn), 0, 1)))
    return Reading(name, found, "correlation", x_LSn.shape[1], p=stats.shift_p_value(shifted), detail=detail)


def _z(x_LSn: np.ndarray, y_LSn: np.ndarray) -> np.ndarray:
    """Fisher z of every pair of seeds `[..., S, S']`, mean over layers, of curves `[L, ..., S, n]`."""
    return fisher_z(correlation(x_LSn[..., :, None, :], y_LSn[..., None, :, :])).mean(axis=0)


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
    block = max(stats.autocorrelation_length(curve) for each in curves for curve in each.mean(axis=1))
    samples = stats.moving_blocks(n, block, DRAWS, np.random.default_rng(BOOTSTRAP_SEED))
    draws = np.concatenate(
        [
            pairing(statistic(*(np.moveaxis(curve[..., rows], 2, 1) for curve in curves)))  # of [L, draws, S, n]
            for rows in np.array_split(samples, np.arange(AT_ONCE, DRAWS, AT_ONCE))
        ]
    )
    estimate, seeds = _jackknife(statistic(*curves), pairing)
    found = interval(estimate, seeds, draws_component(draws, n // block))
    over = f"interval over seeds and positions (blocks of {block})" if np.isfinite(found.se) else "too few seeds"
    return found, over


def _jackknife(pairs_SS: np.ndarray, pairing: Pairing) -> tuple[float, Component]:
    """Mean over pairs of seeds and its variance over seeds."""
    n_seeds, estimate = len(pairs_SS), float(pairing(pairs_SS))
    left_out = [pairing(np.delete(np.delete(pairs_SS, s, 0), s, 1)) for s in range(n_seeds) if n_seeds > 1]
    return estimate, seed_component(stats.pseudovalues(estimate, np.array(left_out)))


def over_emphasis(data: Measured) -> Evidence:
    """C24: the largest position weight late in training, without and with the BOS position.

    Early weights are those of an average that has hardly begun; late ones are means over the last tenth of training.
    """
    ablated, effective, bos = data.ablated(), "weight_effective_positions", "bos_included"

    def largest(name: str, where: Measured, variant: str, positions: range) -> Reading:
        weights = where.curve(variant, "position_weight", positions)
        return over_seeds(name, weights.max(axis=-1).mean(axis=0), "plain")

    def variation() -> Measure:
        return largest_of([weight_variation(data), weight_variation(ablated, bos, data.length)])

    without = largest("BOS left out", data, METHOD, data.text)
    with_bos = largest("BOS trained on", ablated, bos, range(data.length))
    control = f"{without.name}, {NULL}"
    return Evidence(
        (with_bos, without),
        context=(
            attempt(control, lambda: largest(control, data, NULL, data.text)),
            *of_metrics(data, {f"effective number of positions, {without.name}": effective}),
            *of_metrics(ablated, {f"effective number of positions, {with_bos.name}": effective}, variant=bos),
        ),
        measures={
            "largest_weight_with_bos": measure(with_bos),
            "largest_weight_without_bos": measure(without),
            "weight_variation": variation(),
        },
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

    def difference(control: str) -> Reading:
        found = interval(*_jackknife(_pairs(data, METHOD) - _pairs(data, control), _other_seeds))
        return Reading(f"{METHOD} - {control}", found, n_seeds=len(data.seeds), detail="interval over seeds")

    def measures(variant: str) -> Measures:
        found = _overlap(data, name, variant)
        return {"overlap": measure(found), "overlap_p": measure_p(found)}

    name, controls = f"overlap of {TOP}", {INPUT: "the input's squared deviation", NULL: NULL}
    return Evidence(
        (_overlap(data, name, METHOD),),
        controls={
            v: attempt(n, lambda v=v, n=n: _overlap(data, n, v)) for v, c in controls.items() for n in [f"{name}, {c}"]
        },
        differences={n: attempt(n, lambda v=v: difference(v)) for v in controls for n in [f"{METHOD} - {v}"]},
        measures=measures(METHOD),
        control_measures=for_controls(controls, measures),
        null=TOP * TOP / len(data.text),
    )


def _overlap(data: Measured, name: str, variant: str) -> Reading:
    estimate, seeds = _jackknife(_pairs(data, variant), _other_seeds)
    weights, error, n = _weights(data, variant)(data.text), _error(data, BASELINE)(data.text), len(data.text)
    shifted = np.array([_other_seeds(_common(weights, e)) for e in stats.circular_shifts(error)])
    too_liberal = float(hypergeom.sf(np.floor(estimate) - 1, n, TOP, TOP))
    detail = f"chance {TOP * TOP / n:.1f}; p of circular shifts; the hypergeometric p, too liberal: {too_liberal:.2g}"
    return Reading(
        name, interval(estimate, seeds), n_seeds=len(data.seeds), p=stats.shift_p_value(shifted), detail=detail
    )


def _pairs(data: Measured, variant: str) -> np.ndarray:
    return _common(_weights(data, variant)(data.text), _error(data, BASELINE)(data.text))


def _common(weights_LSn: np.ndarray, error_LSn: np.ndarray) -> np.ndarray:
    """How many of the top positions of weights and of errors agree, `[S, S']`; mean over layers."""
    top_w, top_e = (np.argsort(np.argsort(-x, axis=-1), axis=-1) < TOP for x in (weights_LSn, error_LSn))
    return (top_w[:, :, None] & top_e[:, None]).sum(-1).mean(axis=0)
