"""C21, C22, C30: what the masks cost, from timings that `make bench` takes."""

from __future__ import annotations

import numpy as np
from scipy.stats import linregress

from lens.measure.stats import interval, seed_component
from paper.evidence.measured import BASELINE, METHOD, Measured, Missing
from paper.evidence.readings import Evidence, Reading, attempt, exact

PAPER_LENGTH = 128


def linear_in_length(data: Measured) -> Evidence:
    """C21: slope of log seconds per training step on log T, one per repetition; the masks' parameters beside it."""
    times, beyond = _times(data), f"{METHOD} - {BASELINE}"

    def slope(name: str, *variants: str) -> Reading:
        own, *other = (_slopes(times, variant) for variant in variants)
        return _over_repetitions(times, name, own - sum(other))

    share = (
        exact(f"masks' share of all parameters, T = {T}", n["masks"] / n["all"], f"{n['masks']:,} of {n['all']:,}")
        for T, n in times["parameters"].items()
    )
    return Evidence(
        (
            slope("wall time", METHOD),
            exact("mask parameters", 1.0, "T x k parameters: linear in T by construction"),
        ),
        controls={BASELINE: attempt(BASELINE, lambda: slope(f"wall time, {BASELINE}", BASELINE))},
        differences={beyond: attempt(beyond, lambda: slope(beyond, METHOD, BASELINE))},
        context=tuple(share),
    )


def overhead(data: Measured) -> Evidence:
    """C22: seconds per training step with masks and weights over those without, minus 1, at T = 128."""
    return Evidence((_overhead(_times(data)),))


def cited_efficiency(data: Measured) -> Evidence:
    """C30: as C22; the cited method trains several dictionaries and is dearer than one, so there is nothing to keep."""
    return Evidence(
        (attempt("wall time", lambda: _overhead(_times(data))),),
        untestable="the method cited trains several dictionaries in parallel with a shared penalty; it claims no lower "
        "cost that could be maintained. The reading is the overhead over one standard dictionary",
    )


def _over_repetitions(times: dict, name: str, values: np.ndarray, scale: str = "plain") -> Reading:
    detail = f"interval over {len(values)} repetitions on {times['machine']}"
    return Reading(name, interval(values.mean(), seed_component(values)), scale, detail=detail)


def _slopes(times: dict, variant: str) -> np.ndarray:
    seconds = np.stack([_seconds(times, variant, T) for T in times["lengths"]])  # [lengths, repetitions]
    if len(seconds) < 2:
        raise Missing(f"timings at {len(seconds)} length(s): a slope needs two")
    return np.array([linregress(np.log(times["lengths"]), row).slope for row in np.log(seconds).T])


def _overhead(times: dict) -> Reading:
    masked, plain = (_seconds(times, variant, PAPER_LENGTH) for variant in (METHOD, BASELINE))
    return _over_repetitions(times, "wall time", np.log(masked / plain), "growth")


def _times(data: Measured) -> dict:
    return data.benchmark("cost", made="make bench")


def _seconds(times: dict, variant: str, T: int) -> np.ndarray:
    found = times["seconds"].get(variant, {}).get(str(T))
    if not found:
        raise Missing(f"no timings of {variant!r} at {T} positions: run `make bench`")
    return np.array(found)
