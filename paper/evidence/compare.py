"""Readings over several runs: layers averaged, variants compared, and everything asked of controls as well."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from paper.evidence.measured import BASELINE, METHOD, NULL, Measured, Missing
from paper.evidence.readings import Evidence, Measures, Reading, attempt, measure, over_seeds
from paper.verdicts import Measure

CONTROLS = (BASELINE, NULL)
UNKNOWN = Measure(np.nan, np.nan, np.nan)  # every condition on it stays open


def truth(value: bool | None) -> Measure:
    """Yes or no, as a rule's conditions read it; None: unknown."""
    return UNKNOWN if value is None else Measure(*[float(value)] * 3)


def largest(measures: Sequence[Measure]) -> Measure:
    """The largest of several: above a threshold once any of them is, below it only if all are."""
    return Measure(*(max(values) if np.isfinite(values).all() else np.nan for values in zip(*measures, strict=True)))


def smallest(measures: Sequence[Measure]) -> Measure:
    """The smallest of several: below a threshold once any of them is, above it only if all are."""
    return Measure(*(min(values) if np.isfinite(values).all() else np.nan for values in zip(*measures, strict=True)))


def beyond(reading: Reading, margin: float) -> bool | None:
    """Whether a reading is farther from 0 than `margin`, on either side: yes and no need the whole interval there; None
    where it reaches both, or is unknown."""
    _, low, high = reading.shown
    if low > margin or high < -margin:
        return True
    return False if -margin <= low and high <= margin else None


def by_layer(data: Measured, name: str, values_LS: np.ndarray, scale: str) -> list[Reading]:
    """A quantity with one value per run, `[L, S]`: the mean over layers, then each layer, over seeds."""
    named = {name: values_LS.mean(axis=0)}
    if len(data.layers) > 1:
        named |= {f"{name}, layer {layer}": values for layer, values in zip(data.layers, values_LS, strict=True)}
    return [over_seeds(label, values, scale) for label, values in named.items()]


def differences(controls: Iterable[str], values_S: Callable[[str], np.ndarray]) -> dict[str, Reading]:
    """Of the first reading's value, one per seed: the method's minus each control's, paired by seed, under the names
    by which attribution finds them."""
    return {name: paired(name, values_S, METHOD, c) for c in controls for name in [f"{METHOD} - {c}"]}


def paired(name: str, values_S: Callable[[str], np.ndarray], a: str, b: str) -> Reading:
    """The difference between two variants, paired by seed; empty where one of them is not there."""
    return attempt(name, lambda: over_seeds(name, values_S(a) - values_S(b), "plain"))


def beside_controls(
    first: str,
    values_S: Callable[[str], np.ndarray],
    *others: Reading,
    controls: Sequence[str] = CONTROLS,
    scale: str = "plain",
    detail: str = "",
    read: Callable[[str, str], Reading] | None = None,
    control: str | None = None,
    measures: Callable[[str], Measures] | None = None,
    **more,
) -> Evidence:
    """Evidence whose first reading, and all that a rule reads, is asked of controls as well.

    Args:
        first: name of the first reading; `control` names the same of a control `{}`, if it is called otherwise there.
        values_S: variant -> its value, one per seed.
        others: readings after the first.
        read: (name, variant) -> the reading, where it is not the mean over seeds of `values_S` on `scale`.
        measures: variant -> what the rule's conditions read.
        more: further fields of the evidence.
    """

    def reading(name: str, variant: str) -> Reading:
        return read(name, variant) if read else over_seeds(name, values_S(variant), scale, detail)

    named = {v: (control or f"{first}, {{}}").format(v) for v in controls}
    return Evidence(
        (reading(first, METHOD), *others),
        controls={v: attempt(name, lambda name=name, v=v: reading(name, v)) for v, name in named.items()},
        measures=measures(METHOD) if measures else {},
        control_measures=for_controls(controls, measures) if measures else {},
        **{"differences": differences(controls, values_S), **more},
    )


def for_controls(controls: Iterable[str], measures: Callable[[str], Measures]) -> dict[str, Measures]:
    """The measures of each control that the study holds."""
    found = {}
    for variant in controls:
        with contextlib.suppress(Missing):
            found[variant] = measures(variant)
    return found


def mean_over_layers(
    data: Measured, name: str, variant: str, metric: str, scale: str = "plain", detail: str = ""
) -> Reading:
    """A summary metric of a variant: layers averaged per seed, interval over seeds."""
    return over_seeds(name, data.value(variant, metric).mean(axis=0), scale, detail)


def of_metrics(
    data: Measured, metrics: dict[str, str], scale: str = "plain", variant: str = METHOD, detail: str = ""
) -> tuple[Reading, ...]:
    """Name of a reading -> summary metric: the mean over layers of each, empty where it is not in the tables."""
    return tuple(
        attempt(n, lambda n=n, m=m: mean_over_layers(data, n, variant, m, scale, detail)) for n, m in metrics.items()
    )


def weight_variation(data: Measured, variant: str = METHOD, positions: int | None = None) -> Measure:
    """Standard deviation of the position weights over their mean, from the effective number of weighted positions:
    n_eff = n / (1 + v^2), Kish (1965). Weights that hardly vary cannot have done anything.

    Args:
        positions: how many are weighted; None: the text positions.
    """
    n = len(data.text) if positions is None else positions
    effective = data.value(variant, "weight_effective_positions")
    return measure(over_seeds("", np.sqrt(np.maximum(n / effective - 1, 0)).mean(axis=0), "plain"))


def relative_change(name: str, values_LS: np.ndarray, base_LS: np.ndarray) -> Reading:
    """value / base - 1, paired by seed: the mean of log ratios over layers, interval over seeds.

    Raises:
        Missing: a value is not positive, so that there is no ratio.
    """
    if not (values_LS > 0).all() or not (base_LS > 0).all():
        raise Missing(f"{name}: a value is not positive, so there is no ratio")
    return over_seeds(name, np.log(values_LS / base_LS).mean(axis=0), "growth")
