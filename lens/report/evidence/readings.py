"""What claims are judged by: a study's tables as arrays, and readings with their intervals.

A `Reading` is one way to put a number on a claim. Its interval lives on the scale where means are taken (a
log ratio, a Fisher z) and is shown on the claim's own scale.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd

from lens.config import EMBEDDING, Study
from lens.measure.stats import Interval, interval, seed_component
from lens.report import tables

METHOD = "temporallens"
INPUT = "activations"
INPUT_SEED = -1


class Missing(LookupError):
    """The study does not hold what a claim needs; the message says what."""


class Scale(NamedTuple):
    """From the claim's scale to the one where means and t intervals are taken, and back."""

    forward: Callable[[float], float]
    back: Callable[[float], float]


SCALES = {
    "plain": Scale(float, float),
    "fraction": Scale(float, lambda x: float(np.clip(x, 0, 1))),
    "reduction": Scale(lambda delta: float(np.log1p(-delta)), lambda log_ratio: float(-np.expm1(log_ratio))),
    "correlation": Scale(lambda r: float(np.arctanh(r)), lambda z: float(np.tanh(z))),
}


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

    def minimum_detectable_effect(self, no_effect: float) -> float:
        """Smallest distance from `no_effect` found with 80 % power, on the claim's scale."""
        if self.interval is None:
            return np.nan
        scale, step = SCALES[self.scale], self.interval.minimum_detectable_effect()
        sign = -1 if self.scale == "reduction" else 1
        return abs(scale.back(scale.forward(no_effect) + sign * step) - no_effect)


@dataclass(frozen=True)
class Evidence:
    """All readings of one claim (the first decides), and the same number for controls.

    Attributes:
        controls: control variant -> its value of the first reading.
        differences: "a - b" -> paired difference of the first reading.
        context: further numbers that no rule reads.
    """

    readings: tuple[Reading, ...]
    controls: dict[str, Reading] = field(default_factory=dict)
    differences: dict[str, Reading] = field(default_factory=dict)
    context: tuple[Reading, ...] = ()


@dataclass(frozen=True)
class Measured:
    """A study's tables, and the layers, seeds and window length they have to cover."""

    layers: tuple[str, ...]
    seeds: tuple[int, ...]
    length: int
    positions: pd.DataFrame
    summary: pd.DataFrame
    blocks: pd.DataFrame
    history: pd.DataFrame

    @classmethod
    def load(cls, study: Study) -> Measured:
        """The tables of a study. The embedding layer is a control: it enters no claim where there are blocks."""
        blocks = tuple(str(layer) for layer in study.layers if layer != EMBEDDING)
        return cls(
            blocks or (EMBEDDING,),
            study.seeds,
            study.windows.length,
            *(tables.read(study, name) for name in ("positions", "summary", "blocks", "history")),
        )

    @property
    def early(self) -> range:
        """Text positions 1..T/4."""
        return range(1, self.length // 4 + 1)

    @property
    def late(self) -> range:
        """Text positions T/4+1..T-1."""
        return range(self.length // 4 + 1, self.length)

    @property
    def text(self) -> range:
        """Text positions 1..T-1: all but BOS."""
        return range(1, self.length)

    def curve(self, variant: str, metric: str, positions: range) -> np.ndarray:
        """Values of a metric at `positions`, `[L, S, len(positions)]`; one seed for the activations."""
        return self._array(self.positions, variant, metric, {"position": list(positions)})

    def value(self, variant: str, metric: str) -> np.ndarray:
        """Values of a summary metric over text positions, `[L, S]`."""
        return self._array(self.summary[self.summary["positions"] == "text"], variant, metric, {})

    def invariant(self, metric: str) -> dict[str, np.ndarray]:
        """Values of a property recorded in training, by variant, over all its runs (ablations as well)."""
        rows = self.summary[self.summary["metric"] == metric]
        if METHOD not in set(rows["variant"]):
            raise Missing(f"no {metric!r} of variant {METHOD!r}")
        return {str(variant): group.to_numpy(float) for variant, group in rows.groupby("variant")["value"]}

    def block_sums(self, variant: str, metric: str, positions: range) -> tuple[np.ndarray, np.ndarray]:
        """(sums of a metric, numbers of tokens) over `positions` in each document, each `[L, S, B]`.

        Raises:
            Missing: nothing there, or the position buckets do not add up to `positions`.
        """
        buckets = sorted((b for b in self.blocks["bucket"].unique() if _bounds(b)[0] in positions), key=_bounds)
        covered = [t for bucket in buckets for t in range(_bounds(bucket)[0], _bounds(bucket)[1] + 1)]
        if covered != list(positions):
            raise Missing(f"the position buckets do not add up to {_words(positions)}")
        axes = {"block": sorted(self.blocks["block"].unique(), key=str), "bucket": buckets}
        sums, counts = (
            self._array(self.blocks, variant, metric, axes, column).sum(axis=-1) for column in ("value", "n")
        )
        return sums, counts

    def late_history(self, variant: str, metric: str) -> np.ndarray:
        """Values of a metric at the logged steps of the second half of training, `[L, S, steps]`."""
        steps = np.sort(self.history["step"].unique())
        return self._array(self.history, variant, metric, {"step": list(steps[steps >= steps[-1] / 2])})

    def _array(
        self, table: pd.DataFrame, variant: str, metric: str, axes: dict[str, list], column: str = "value"
    ) -> np.ndarray:
        """`column` of a variant and metric as an array `[L, S, *axes]`, complete or not at all."""
        rows = table[(table["variant"] == variant) & (table["metric"] == metric)]
        if rows.empty:
            raise Missing(f"no {metric!r} of variant {variant!r}")
        keys = {
            "layer": list(self.layers),
            "seed": [INPUT_SEED] if variant == INPUT else list(self.seeds),
            **axes,
        }
        series = rows.set_index(list(keys))[column]
        if series.index.has_duplicates:
            twice = series.index[series.index.duplicated()][0]
            raise ValueError(f"{metric!r} of variant {variant!r} is there twice at {tuple(keys)} = {twice}")
        values = series.reindex(pd.MultiIndex.from_product(keys.values(), names=list(keys)))
        if values.isna().any():
            gap = dict(zip(keys, values.index[values.isna()][0], strict=True))
            raise Missing(f"no {metric!r} of variant {variant!r} at {', '.join(f'{k} {v}' for k, v in gap.items())}")
        return values.to_numpy(float).reshape([len(v) for v in keys.values()])


def _bounds(bucket: str) -> tuple[int, int]:
    first, _, last = str(bucket).partition("-")
    return int(first), int(last or first)


def _words(positions: range) -> str:
    return f"positions {positions[0]}-{positions[-1]}"


def attempt(name: str, measure: Callable[[], Reading]) -> Reading:
    """The reading, or an empty one that says what is missing: a reading is never dropped."""
    try:
        return measure()
    except Missing as error:
        return Reading(name, detail=str(error))


def by_layer(data: Measured, name: str, values_LS: np.ndarray, scale: str) -> list[Reading]:
    """A quantity with one value per run, `[L, S]`: the mean over layers, then each layer, over seeds."""
    named = {name: values_LS.mean(axis=0)}
    if len(data.layers) > 1:
        named |= {f"{name}, layer {layer}": values for layer, values in zip(data.layers, values_LS, strict=True)}
    return [over_seeds(label, values, scale) for label, values in named.items()]


def over_seeds(name: str, values_S: np.ndarray, scale: str, detail: str = "") -> Reading:
    """Mean over seeds with its t interval."""
    n = len(values_S)
    detail = "; ".join(filter(None, [detail, "one training seed: no interval" if n == 1 else "interval over seeds"]))
    return Reading(name, interval(values_S.mean(), seed_component(values_S)), scale, n_seeds=n, detail=detail)
