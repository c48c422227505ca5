"""How much of a measured profile over positions is the feature's own, and how much is the sample's?

The share of the variance over positions that disjoint sets of windows agree on. Of two halves that vary equally it is
2 r / (1 + r), r their correlation (Spearman 1910, Brown 1910); whether other dictionaries agree is for
`lens.measure.matching`. It describes, and decides nothing: a profile may be reliable and inherited.
"""

from __future__ import annotations

import numpy as np


def reliability(profiles_RPK: np.ndarray, windows_R: np.ndarray) -> np.ndarray:
    """True over observed variance of each feature's mean profile [K]; 1 at most, about 0 for a flat one, nan if still.

    Args:
        profiles_RPK: mean code or rate at each of P positions in R disjoint sets of windows.
        windows_R: windows of each set.

    Raises:
        ValueError: fewer than two sets.
    """
    if len(profiles_RPK) < 2:
        raise ValueError(f"{len(profiles_RPK)} sets of windows: what they agree on needs two or more")
    share = (windows_R / windows_R.sum()).astype(profiles_RPK.dtype)[:, None, None]
    parts = share * (profiles_RPK - profiles_RPK.mean(1, keepdims=True))
    observed, own = np.square(parts.sum(0)).mean(0), np.square(parts).sum(0).mean(0)
    agreed = (observed - own) / (1 - np.square(share).sum())
    return np.divide(agreed, observed, out=np.full(len(observed), np.nan), where=observed > 0)
