"""What a study of given seeds and plays could find, from the spread of the study `full`. `python -m benchmarks.power`

The gain of the method over its control on shuffled positions, as the log ratio of their squared errors at a layer,
varies over training seeds, over held-out plays, and from seed to seed within a play (a two-way layout, one number per
cell; components by the method of moments, none below 0). From these come the standard error and the smallest gain that
would be found with a power of 80 % at the 5 % level, two-sided: for seeds crossed with plays, as in `full`, and for
seeds whose plays are folds of 38, 11 held out each. Not in it, for `full` has one of each: how results vary over orders
of the data and over training texts. Seconds; writes `results/benchmarks/power.md`.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import t

from lens import files
from lens.activations.plays import HELD_OUT
from lens.study.params import Study
from paper.evidence.measured import METHOD, NULL, Measured

OUT = Path("results/benchmarks/power.md")
DESIGNS = ((5, 29, False), (10, 29, False), (5, 38, True), (10, 38, True), (20, 38, True))  # seeds, plays, folds
ALPHA, POWER = 0.05, 0.8


class Spread(NamedTuple):
    """Variances of one number per seed and play: over seeds, over plays, and of a seed within a play."""

    seeds: float
    plays: float
    cells: float


def spread(x_SB: np.ndarray) -> Spread:
    """Variance components of a two-way layout with one number per cell (Searle, Casella and McCulloch, 1992)."""
    S, B = x_SB.shape
    by_seed, by_play = x_SB.mean(axis=1), x_SB.mean(axis=0)
    residual = x_SB - by_seed[:, None] - by_play[None] + x_SB.mean()
    cells = float((residual**2).sum() / ((S - 1) * (B - 1)))
    seeds, plays = by_seed.var(ddof=1) - cells / B, by_play.var(ddof=1) - cells / S
    return Spread(max(0.0, float(seeds)), max(0.0, float(plays)), cells)


def standard_error(found: Spread, seeds: int, plays: int, folds: bool) -> float:
    """Of the mean over seeds and plays; with folds each seed has `HELD_OUT` plays, and all seeds together `plays`."""
    per_seed = HELD_OUT if folds else plays
    return float(np.sqrt(found.seeds / seeds + found.plays / plays + found.cells / (seeds * per_seed)))


def smallest(found: Spread, seeds: int, plays: int, folds: bool) -> float:
    """The smallest mean that is found with `POWER`, by a t test with as many degrees of freedom as seeds less one."""
    quantiles = t.ppf(1 - ALPHA / 2, seeds - 1) + t.ppf(POWER, seeds - 1)
    return float(quantiles * standard_error(found, seeds, plays, folds))


def report(data: Measured) -> str:
    error, control = (data.block_sums(v, "sq_error", data.text)[0] for v in (METHOD, NULL))
    gains = np.log(control / error)  # [L, S, B]
    lines = [
        "# Power of studies, from the spread of `full`",
        "",
        __doc__.split("\n\n")[1].replace("\n", " ").strip(),
        "",
    ]
    lines += ["| layer | gain, % | sd over seeds, % | over plays | seed within play |", "|---|---|---|---|---|"]
    spreads = {layer: spread(gain) for layer, gain in zip(data.layers, gains, strict=True)}
    for (layer, found), gain in zip(spreads.items(), gains, strict=True):
        sds = " | ".join(f"{100 * np.sqrt(v):.2f}" for v in found)
        lines.append(f"| {layer} | {100 * gain.mean():.2f} | {sds} |")
    lines += [
        "",
        "Smallest gain found, %:",
        "",
        f"| seeds | held-out plays | {' | '.join(f'layer {x}' for x in spreads)} |",
    ]
    lines.append("|---" * (2 + len(spreads)) + "|")
    for seeds, plays, folds in DESIGNS:
        told = f"{HELD_OUT} per seed, folds of {plays}" if folds else f"the same {plays}"
        found = " | ".join(f"{100 * smallest(s, seeds, plays, folds):.2f}" for s in spreads.values())
        lines.append(f"| {seeds} | {told} | {found} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    files.write(OUT, report(Measured.load(Study.load("full"))).encode())
    print(OUT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
