"""Readings: ways to put a number on a claim, with their intervals.

The interval of a `Reading` lives on the scale where means are taken (a log ratio, a Fisher z) and is shown on the
claim's own scale.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from lens.measure.stats import Component, Interval, interval, seed_component
from paper.evidence.measured import Missing
from paper.verdicts import Measure


class Scale(NamedTuple):
    """From the claim's scale to the one where means and t intervals are taken, and back."""

    forward: Callable[[float], float]
    back: Callable[[float], float]


SCALES = {
    "plain": Scale(float, float),
    "fraction": Scale(float, lambda x: float(np.clip(x, 0, 1))),
    "rank correlation": Scale(float, lambda r: float(np.clip(r, -1, 1))),  # of seeds, where -1 and 1 occur
    "growth": Scale(lambda growth: float(np.log1p(growth)), lambda log_ratio: float(np.expm1(log_ratio))),
    "reduction": Scale(lambda delta: float(np.log1p(-delta)), lambda log_ratio: float(-np.expm1(log_ratio))),
    "correlation": Scale(lambda r: float(np.arctanh(r)), lambda z: float(np.tanh(z))),
}


Measures = dict[str, Measure]  # by the names that rules use


@dataclass(frozen=True)
class Reading:
    """One estimate: its name, its interval on `scale`, and what replicates it."""

    name: str
    interval: Interval | None = None  # None: not there, `detail` says why
    scale: str = "plain"
    n_seeds: int | None = None
    n_blocks: int | None = None
    p: float | None = None  # of the test registered beside the interval
    detail: str = ""

    @property
    def shown(self) -> tuple[float, float, float]:
        """(estimate, low, high) on the claim's scale; nan where unknown."""
        if self.interval is None:
            return np.nan, np.nan, np.nan
        back = SCALES[self.scale].back
        low, high = sorted((back(self.interval.low), back(self.interval.high)))
        return back(self.interval.estimate), low, high

    @property
    def known(self) -> Interval:
        """The interval.

        Raises:
            Missing: it is not there.
        """
        if self.interval is None:
            raise Missing(self.detail)
        return self.interval

    def minimum_detectable_effect(self, no_effect: float) -> float:
        """Smallest distance from `no_effect` found with 80 % power, on the claim's scale."""
        if self.interval is None:
            return np.nan
        scale, step = SCALES[self.scale], self.interval.minimum_detectable_effect()
        sign = -1 if self.scale == "reduction" else 1
        return abs(scale.back(scale.forward(no_effect) + sign * step) - no_effect)


@dataclass(frozen=True)
class Evidence:
    """All readings of one claim (the first decides, or the measures do), and the same numbers for controls.

    Attributes:
        controls: control variant -> its value of the first reading.
        differences: "a - b" -> paired difference of the first reading; "temporallens - control" decides attribution.
        context: further numbers that no rule reads.
        measures: what the conditions of the claim's rule read, by name.
        control_measures: control variant -> its measures.
        null: value of the first reading if there were no effect; None: the rule says, or there is none.
        untestable: why the claim cannot be judged here, whatever the readings say.
    """

    readings: tuple[Reading, ...]
    controls: dict[str, Reading] = field(default_factory=dict)
    differences: dict[str, Reading] = field(default_factory=dict)
    context: tuple[Reading, ...] = ()
    measures: Measures = field(default_factory=dict)
    control_measures: dict[str, Measures] = field(default_factory=dict)
    null: float | None = None
    untestable: str = ""


def attempt(name: str, measure: Callable[[], Reading]) -> Reading:
    """The reading, or an empty one that says what is missing: a reading is never dropped."""
    try:
        return measure()
    except Missing as error:
        return Reading(name, detail=str(error))


def over_seeds(name: str, values_S: np.ndarray, scale: str, detail: str = "") -> Reading:
    """Mean over seeds with its t interval."""
    n = len(values_S)
    detail = "; ".join(filter(None, [detail, "one training seed: no interval" if n == 1 else "interval over seeds"]))
    return Reading(name, interval(values_S.mean(), seed_component(values_S)), scale, n_seeds=n, detail=detail)


def exact(name: str, value: float, detail: str = "") -> Reading:
    """A number that is not sampled: a p value, a count, a property of the code."""
    return Reading(name, interval(value, Component(0.0, np.inf)), detail=detail)


def measure_p(reading: Reading) -> Measure:
    """The p of the test that is registered beside a reading, as a rule's conditions read it.

    Raises:
        Missing: there is none.
    """
    if reading.p is None:
        raise Missing(reading.detail)
    return Measure(reading.p, reading.p, reading.p)


def measure(reading: Reading) -> Measure:
    """A reading as a rule's conditions read it; without an interval every condition on it stays open.

    Raises:
        Missing: the reading is empty.
    """
    if reading.interval is None:
        raise Missing(reading.detail)
    return Measure(*reading.shown)
