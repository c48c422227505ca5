"""C23, C25: does every layer need its own temperature schedule, and do the paper's limitations cost quality?"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from paper.evidence.compare import largest, relative_change, smallest, truth
from paper.evidence.measured import METHOD, Measured, Missing
from paper.evidence.readings import SCALES, Evidence, Reading, attempt, measure, over_seeds
from paper.verdicts import Measure

SCHEDULES = {"0.05": "end_tau_0.05", "0.1": METHOD, "0.3": "end_tau_0.3", "1": "end_tau_1"}
BOS = "bos_included"
QUALITY = {"FVU": "fvu", "added cross-entropy": "delta_ce"}
EQUIVALENT = 0.02  # relative difference below which two settings count as equally good


def tuning(data: Measured) -> Evidence:
    """C23: rise of FVU under the schedule that is best on average instead of each layer's own best.

    The best schedules are chosen on all seeds but one and the rise is taken on that one, or choosing the smallest of
    several noisy numbers would show a rise where there is none.
    """
    data = data.ablated()
    if len(data.layers) < 2:
        raise Missing("final temperatures are varied at one layer only; tuning per layer needs at least 2")
    if len(data.seeds) < 2:
        raise Missing("one training seed: the best schedule cannot be chosen on other seeds")
    log_fvu = np.stack([np.log(data.value(variant, "fvu")) for variant in SCHEDULES.values()])  # [schedules, L, S]
    rises, differs = zip(*(_left_out(log_fvu, s) for s in range(log_fvu.shape[2])), strict=True)
    names = list(SCHEDULES)
    best = ", ".join(names[i] for i in log_fvu.mean(axis=2).argmin(axis=0))
    detail = f"best final temperature at layers {', '.join(data.layers)}: {best}"
    regret = over_seeds("FVU", np.array(rises), "growth", detail)
    return Evidence(
        (regret,),
        measures={"regret": measure(regret), "best_schedule_differs": truth(bool(np.mean(differs) > 0.5))},
        null=0.0,
    )


def _left_out(log_fvu: np.ndarray, s: int) -> tuple[float, bool]:
    """Rise of log FVU at seed s under the schedule that is best for all layers by the other seeds, and whether the
    best ones of the layers differ."""
    others = np.delete(log_fvu, s, axis=2).mean(axis=2)  # [schedules, L]
    best_L, common = others.argmin(axis=0), int(others.mean(axis=1).argmin())
    own = log_fvu[best_L, np.arange(len(best_L)), s]
    return float((log_fvu[common, :, s] - own).mean()), len(set(best_L.tolist())) > 1


def quality(data: Measured) -> Evidence:
    """C25: how far held-out FVU and the added cross-entropy move between the settings that the limitations name.

    p is that of two one-sided tests against a difference of 2 % (TOST), of the setting that moves the measure most.
    """
    data = data.ablated()
    schedules = [v for v in SCHEDULES.values() if v != METHOD]
    if missing := [v for v in schedules if not data.has(v, "fvu")]:
        raise Missing(f"not every schedule of C23 is in this study: add {', '.join(missing)} to the ablations")
    settings = [*schedules, *([BOS] if data.has(BOS, "fvu") else [])]
    by_measure = {
        name: [attempt(f"{name}, {v}", lambda n=name, v=v, m=metric: _moved(data, f"{n}, {v}", v, m)) for v in settings]
        for name, metric in QUALITY.items()
    }
    sizes = [_size(reading) for readings in by_measure.values() for reading in readings]
    return Evidence(
        (*(_worst(name, readings) for name, readings in by_measure.items()), *sum(by_measure.values(), [])),
        measures={"largest_relative_difference": largest(sizes), "smallest_relative_difference": smallest(sizes)},
        null=0.0,
    )


def _moved(data: Measured, name: str, variant: str, metric: str) -> Reading:
    change = relative_change(name, data.value(variant, metric), data.value(METHOD, metric))
    detail = f"{change.detail}; its inputs are scaled with BOS counted in" if variant == BOS else change.detail
    low, high = (SCALES["growth"].forward(sign * EQUIVALENT) for sign in (-1, 1))
    return dataclasses.replace(change, p=change.known.equivalence_p(low, high), detail=detail)


def _worst(name: str, readings: list[Reading]) -> Reading:
    """The reading that is farthest from equivalence to the method's, under the name of its measure."""
    found = [r for r in readings if r.interval is not None]
    if not found:
        return Reading(name, detail=readings[0].detail)
    worst = max(found, key=lambda r: (1.0 if r.p is None or math.isnan(r.p) else r.p, abs(r.known.estimate)))
    return dataclasses.replace(worst, name=name, detail=f"of {worst.name}, the farthest from equivalence")


def _size(reading: Reading) -> Measure:
    """A relative difference without its sign.

    Raises:
        Missing: the reading is empty.
    """
    estimate, low, high = measure(reading)
    nearest = 0.0 if low <= 0 <= high else min(abs(low), abs(high))
    return Measure(abs(estimate), nearest, max(abs(low), abs(high)))
