"""C01, C02: is the reconstruction error lower early in a window, and is that the method's doing? And, for C31, the
interval of any two errors over seeds and documents."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lens.measure.stats import block_weights, crossed_bootstrap, draws_component, interval, log_ratio, seed_component
from paper.evidence.compare import weight_variation
from paper.evidence.measured import INPUT, METHOD, Measured, Missing
from paper.evidence.readings import Evidence, Reading, attempt

DRAWS = 10_000  # bootstrap samples of documents
BOOTSTRAP_SEED = 0  # fixed: the same tables always give the same intervals
ORDINARY = "_without_outliers"  # ends the names of metrics that leave out text tokens of massive activation
SAME_RATIO = 0.01  # `positions` and `blocks` count the same tokens: log ratios differ by rounding only


@dataclass(frozen=True)
class Contrast:
    """A log ratio of two errors, as a rule early / late, of every run `[L, S]`, and of its bootstrap over documents
    `[R, L, S]`."""

    values_LS: np.ndarray
    draws_RLS: np.ndarray | None
    n_blocks: int | None
    note: str = ""
    trained: bool = True  # False: about the activations, where no seed enters


def early_advantage(data: Measured) -> Evidence:
    """C01: Delta = 1 - e(early) / e(late) of the method in every reading, of controls, and of the input."""

    def delta(name: str, variant: str = METHOD, **how) -> Reading:
        return attempt(name, lambda: _reduction(name, _contrast(data, variant, **how)))

    end = data.early[-1]
    main = _contrast(data, METHOD)  # Missing here means that the claim is not measured at all
    readings = [
        _reduction("raw error", main),
        delta("FVU by the overall mean", per="sq_deviation"),
        delta("FVU by the mean of each position", per="sq_deviation_position"),
        delta("BOS counted as the first position", early=range(end), late=range(end, data.length)),
    ]
    for first in (4, 8):
        readings.append(delta(f"positions {first} to T/4", early=range(first, end + 1)))
    if len(data.layers) > 1:
        readings += [
            _reduction(f"raw error, layer {layer}", _one_layer(main, i)) for i, layer in enumerate(data.layers)
        ]
    pairs = ((METHOD, "standard"), (METHOD, "shuffled_positions"), ("shuffled_positions", "standard"))
    return Evidence(
        tuple(readings),
        controls={v: delta(f"raw error, {v}", v) for v in ("standard", "shuffled_positions")},
        differences={f"{a} - {b}": attempt(f"{a} - {b}", lambda a=a, b=b: _difference(data, a, b)) for a, b in pairs},
        context=(
            delta("squared deviation of the input", INPUT, metric="sq_deviation"),
            delta("squared norm of the input", INPUT, metric="sq_norm"),
            delta("squared deviation of the input, without outliers", INPUT, metric=f"sq_deviation{ORDINARY}"),
            delta("raw error, without outliers", metric=f"mse{ORDINARY}"),
            delta("FVU by the overall mean, without outliers", metric=f"mse{ORDINARY}", per=f"sq_deviation{ORDINARY}"),
        ),
    )


def _contrast(
    data: Measured,
    variant: str,
    *,
    metric: str = "mse",
    per: str | None = None,
    early: range | None = None,
    late: range | None = None,
) -> Contrast:
    """Early against late positions of `metric`, as it is or per unit of the input's `per`.

    Raises:
        Missing: a curve is not there, or there is no such position.
        ValueError: the tables of positions and of documents disagree.
    """
    early, late = data.early if early is None else early, data.late if late is None else late
    if not early or not late:
        raise Missing(f"windows of {data.length} have no such positions")

    def level(positions: range) -> np.ndarray:
        error = data.curve(variant, metric, positions).mean(axis=-1)
        return error / data.curve(INPUT, per, positions).mean(axis=-1) if per else error

    values = np.log(level(early)) - np.log(level(late))
    trained = variant != INPUT
    found = _with_documents(
        values,
        lambda: [_block_ratio(data, variant, metric.replace("mse", "sq_error"), per, p) for p in (early, late)],
        f"{variant}: tables `positions` and `blocks` disagree on {metric}",
    )
    return dataclasses.replace(found, trained=trained)


def _with_documents(values_LS: np.ndarray, sums: Callable[[], list], disagree: str) -> Contrast:
    """Log ratios with their bootstrap over documents, or with a note that says why there is none.

    Args:
        sums: (numerator, denominator) per document, `[L, S, B]`, of either side of the ratio.
        disagree: what is wrong if these do not give `values_LS`.
    """
    try:
        one, other = sums()
    except Missing as missing:
        return Contrast(values_LS, None, None, f"documents not resampled: {missing}")
    n_blocks = one[0].shape[-1]
    if n_blocks < 2:
        return Contrast(values_LS, None, n_blocks, "one held-out document: text is not replicated")
    if np.abs(log_ratio(one, other) - values_LS).max() > SAME_RATIO:
        raise ValueError(f"{disagree}: they hold different runs")
    weights = block_weights(n_blocks, DRAWS, np.random.default_rng(BOOTSTRAP_SEED))
    return Contrast(values_LS, log_ratio(one, other, weights), n_blocks)


def early_against_late(data: Measured, variant: str) -> Reading:
    """Delta of a variant over seeds and documents.

    Raises:
        Missing: the study does not hold its errors, or text is not replicated.
    """
    return _replicated(f"{variant}, early against late", _contrast(data, variant))


def against(data: Measured, variant: str, other: str) -> Reading:
    """1 - e(variant) / e(other), e over all text positions, paired by seed, over seeds and documents.

    Raises:
        Missing: the study does not hold one of the errors, or text is not replicated.
    """
    error, base = (data.curve(v, "mse", data.text).mean(axis=-1) for v in (variant, other))
    found = _with_documents(
        np.log(error / base),
        lambda: [data.block_sums(v, "sq_error", data.text) for v in (variant, other)],
        f"{variant}, {other}: tables `positions` and `blocks` disagree on mse",
    )
    return _replicated(f"{variant} against {other}", found)


def _replicated(name: str, c: Contrast) -> Reading:
    if c.draws_RLS is None:
        raise Missing(f"{name}: {c.note}")
    return _reduction(name, c)


def _block_ratio(data: Measured, variant: str, metric: str, per: str | None, positions: range):
    """(numerator, denominator) per document, `[L, S, B]`."""
    numerator, tokens = data.block_sums(variant, metric, positions)
    return numerator, data.block_sums(INPUT, per, positions)[0] if per else tokens


def _one_layer(c: Contrast, layer: int) -> Contrast:
    draws = None if c.draws_RLS is None else c.draws_RLS[:, layer : layer + 1]
    return Contrast(c.values_LS[layer : layer + 1], draws, c.n_blocks, c.note, c.trained)


def _reduction(name: str, c: Contrast) -> Reading:
    """Delta with its interval over seeds and documents, layers averaged as log ratios."""
    values_S = c.values_LS.mean(axis=0)
    parts, detail = [], [c.note]
    if c.trained:
        parts.append(seed_component(values_S))
        detail.append("one training seed: no interval" if len(values_S) == 1 else "")
    if c.draws_RLS is not None and c.n_blocks is not None:
        draws_RS = c.draws_RLS.mean(axis=1)
        parts.append(draws_component(draws_RS.mean(axis=1), c.n_blocks))
        if c.trained and len(values_S) > 1:
            low, high = crossed_bootstrap(draws_RS, np.random.default_rng(BOOTSTRAP_SEED))
            detail.append(f"percentile bootstrap of both {-np.expm1(high):.3f} to {-np.expm1(low):.3f}")
    return Reading(
        name, interval(values_S.mean(), *parts), "reduction",
        n_seeds=len(values_S) if c.trained else None,
        n_blocks=c.n_blocks, detail="; ".join(filter(None, detail)),
    )  # fmt: skip


def _difference(data: Measured, a: str, b: str) -> Reading:
    """Delta(a) - Delta(b), paired by seed and document; the seed component is linearised at the means."""
    ca, cb = _contrast(data, a), _contrast(data, b)
    mean_a, mean_b = ca.values_LS.mean(), cb.values_LS.mean()
    linear_S = np.exp(mean_b) * cb.values_LS.mean(axis=0) - np.exp(mean_a) * ca.values_LS.mean(axis=0)
    parts = [seed_component(linear_S)]
    if ca.draws_RLS is not None and cb.draws_RLS is not None and ca.n_blocks is not None:
        draws_R = np.exp(cb.draws_RLS.mean(axis=(1, 2))) - np.exp(ca.draws_RLS.mean(axis=(1, 2)))
        parts.append(draws_component(draws_R, ca.n_blocks))
    return Reading(
        f"{a} - {b}", interval(np.exp(mean_b) - np.exp(mean_a), *parts),
        n_seeds=len(linear_S), n_blocks=ca.n_blocks,
        detail=ca.note or ("one training seed: no interval" if len(linear_S) == 1 else ""),
    )  # fmt: skip


def weights_and_early_advantage(data: Measured) -> Evidence:
    """C02: Delta of the method minus Delta with uniform weights, at the layers of the ablations."""
    ablated = data.ablated()
    reading = _difference(ablated, METHOD, "uniform_weights")
    return Evidence(
        (dataclasses.replace(reading, name="raw error"),),
        context=tuple(
            attempt(f"raw error, {v}", lambda v=v: _reduction(f"raw error, {v}", _contrast(ablated, v)))
            for v in (METHOD, "uniform_weights")
        ),
        measures={"weight_variation": weight_variation(ablated)},
    )
