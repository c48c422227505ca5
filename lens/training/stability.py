"""How smoothly a training run went, as numbers: loss spikes and the local variation of the gradient norm."""

from __future__ import annotations

import numpy as np

WINDOW = 50  # steps that a step is compared with
SPIKE = 6.0  # median absolute deviations above the running median


def spike_rate(loss: np.ndarray) -> float:
    """Share of steps whose loss [S] lies more than 6 MAD above the median of the 50 steps before it.

    nan where there are no more than 50 steps: nothing to compare with.
    """
    if len(loss) <= WINDOW:
        return float("nan")
    before = np.lib.stride_tricks.sliding_window_view(loss[:-1], WINDOW)
    median = np.median(before, axis=1)
    deviation = np.median(np.abs(before - median[:, None]), axis=1)
    return float(np.mean(loss[WINDOW:] > median + SPIKE * deviation))


def local_variation(norm: np.ndarray) -> float:
    """Coefficient of variation of the gradient norm [S] within runs of 50 steps, mean over the second half of training.

    Within short runs, because the norm also falls as training goes on. nan where that half has no such run.
    """
    half = norm[len(norm) // 2 :]
    runs = half[: len(half) // WINDOW * WINDOW].reshape(-1, WINDOW)
    return float(np.mean(runs.std(axis=1) / runs.mean(axis=1))) if len(runs) else float("nan")
