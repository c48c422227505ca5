"""How wide is a feature's place in the window, once the steep start of the window is over?

A width at half maximum of the whole profile reads the first few positions: a feature whose rate falls there is narrow,
one whose rate rises is wide, whatever it does later. Here profiles begin at position `FIRST`, and only features whose
rate changes materially from there on have a width: by more than a quarter, tested over sets of windows. A set is a
document or several, so that neither persistence of firing within a window nor what a text is about passes for an effect
of position.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import t as student

from lens.measure.position_information import MIN_FIRINGS, benjamini_hochberg
from lens.measure.spans import smooth
from lens.measure.stats import LEVEL

FIRST = 16  # by then the start of a window is over
MATERIAL = 0.25
SETS, MIN_SETS = 16, 8
MIN_POSITIONS = 32
FOLDS = 4
BANDWIDTHS = (1.5, 2, 3, 4, 6, 8, 12, 16, 24)  # positions, of the Gaussian kernel
QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
CHUNK = 512  # features at a time: 112 positions x 16 sets x 512 x 8 bytes = 7 MB an array
OF_A_SPAN = ["bandwidth", "peak", "first", "last", "width", "stretches", "share_inside"]


def late_spans(firings_BTK: np.ndarray) -> pd.DataFrame:
    """One row per feature: how deep its rate is modulated from position `FIRST` on, and where it is high.

    Rates are smoothed by a Gaussian kernel over the positions from `FIRST` on. The bandwidth is each feature's own, the
    one of `BANDWIDTHS` that least-squares cross-validation over `FOLDS` groups of sets finds best (Rudemo 1982). Peak
    and floor are looked for in one half of the sets and read in the other, so that a feature without modulation has a
    depth of about 0, however few its firings; half height lies midway between the two as they are read.

    A profile says where a feature fires, not whether position or the text makes it fire there
    (`lens.profiling.specialisation`). Depths of narrow peaks and of ramps come out too small, as kernels are wide.

    Args:
        firings_BTK: [sets, T, d_sae] windows of each set in which the feature fires at t, the first position (BOS) in
            row 0. Sets must be independent of each other: documents, or stretches of a long one. Of more than `SETS`
            neighbours are put together.

    Returns:
        columns feature; firings, from `FIRST` on; depth, 1 - floor / peak, with depth_low and depth_high, its 95 % t
        interval over sets; p, one-sided, that the depth is `MATERIAL` or less; nan below `MIN_FIRINGS` firings.
        material: whether the false discovery rate of 5 % finds it. Of these features alone, else nan: bandwidth; peak,
        its position; first and last, positions of the unbroken stretch around the peak at or above half height; width,
        their number; stretches, how many there are at or above half height; share_inside, of the firings, in the
        stretch. censored: whether the stretch touches either end, so that the width is a lower bound.

    Raises:
        ValueError: fewer than `MIN_SETS` sets, or fewer than `MIN_POSITIONS` positions from `FIRST` on.
    """
    firings_BTK = _merged(firings_BTK)
    B, T, K = firings_BTK.shape
    if B < MIN_SETS:
        raise ValueError(f"{B} sets of windows, at least {MIN_SETS} are needed for the interval of a depth")
    if not can_be_measured(T):
        raise ValueError(f"windows of {T} tokens; spans from position {FIRST} on need {FIRST + MIN_POSITIONS}")
    counts_PBK = firings_BTK[:, FIRST:].transpose(1, 0, 2)
    firings_K = counts_PBK.sum((0, 1), dtype=np.int64)
    eligible = np.flatnonzero(firings_K >= MIN_FIRINGS)
    chunks = [eligible[k : k + CHUNK] for k in range(0, max(len(eligible), 1), CHUNK)]
    found = pd.concat([_measured(counts_PBK[..., chunk].astype(float)) for chunk in chunks])
    material = benjamini_hochberg(found["p"].to_numpy(), found["p"].notna().to_numpy())
    found.loc[~material, OF_A_SPAN] = np.nan
    found.insert(4, "material", material)
    table = found.set_index(eligible).reindex(range(K)).fillna({"material": False, "censored": False})
    table = table.astype({"material": bool, "censored": bool})
    table["censored"] &= table["material"]
    table.insert(0, "firings", firings_K)
    return table.rename_axis("feature").reset_index()


def with_nulls(firings_BTK: np.ndarray, seed: int = 0) -> pd.DataFrame:
    """`late_spans`, and what it says of features without a span that fire as often in each set of windows.

    Firings of these are drawn independently of each other.

    Returns:
        two more columns. flat_material: for a feature that was tested, whether one that ignores position from `FIRST`
        on is called material. ramp_width: for a feature with a span the width of one as deep, whose rate rises evenly;
        by its geometry alone it is half of the positions wide; nan if it is not called material.

    Raises:
        ValueError: as `late_spans`.
    """
    found, rng = late_spans(firings_BTK), np.random.default_rng(seed)
    rise_P = np.linspace(0, 1, firings_BTK.shape[1] - FIRST)[:, None]

    def drawn(features: np.ndarray, shape_PK: np.ndarray) -> pd.DataFrame:
        number_BK = firings_BTK[:, FIRST:, features].sum(1, dtype=float)
        firings = rng.poisson(number_BK[:, None] * (shape_PK / shape_PK.sum(0)))
        return late_spans(np.pad(firings, ((0, 0), (FIRST, 0), (0, 0))))

    tested, material = np.flatnonzero(found["p"].notna()), np.flatnonzero(found["material"])
    depth_K = found["depth"].to_numpy()[material].clip(0, 1)
    found["flat_material"], found["ramp_width"] = False, np.nan
    found.loc[tested, "flat_material"] = drawn(tested, np.ones_like(rise_P))["material"].to_numpy()
    found.loc[material, "ramp_width"] = drawn(material, 1 - depth_K * (1 - rise_P))["width"].to_numpy()
    return found


def can_be_measured(T: int) -> bool:
    """Whether windows of T tokens have enough positions from `FIRST` on."""
    return T >= FIRST + MIN_POSITIONS


def quantiles(widths: np.ndarray) -> dict[float, float]:
    """The distribution of those widths that are not nan, by `QUANTILES`; empty without one."""
    finite = widths[np.isfinite(widths)]
    return dict(zip(QUANTILES, np.quantile(finite, QUANTILES), strict=True)) if len(finite) else {}


def _merged(firings_BTK: np.ndarray) -> np.ndarray:
    """At most `SETS` sets, of neighbours."""
    B = len(firings_BTK)
    starts = -(-np.arange(SETS) * B // SETS)
    return firings_BTK if B <= SETS else np.add.reduceat(firings_BTK, starts, axis=0)


def _measured(counts_PBK: np.ndarray) -> pd.DataFrame:
    """The columns that rest on rates, of features that fire."""
    P, B, K = counts_PBK.shape
    chosen_K = _bandwidths(counts_PBK)
    profile_PK, top_BK, bottom_BK = np.zeros((P, K)), np.zeros((B, K)), np.zeros((B, K))
    half = np.arange(B) % 2
    for i in np.unique(chosen_K):
        of = np.flatnonzero(chosen_K == i)
        rates = smooth(counts_PBK[..., of], BANDWIDTHS[i])
        profile_PK[:, of] = rates.sum(1)
        for h in (0, 1):
            elsewhere, here = rates[:, half != h].sum(1), rates[:, half == h]
            top_BK[np.ix_(half == h, of)] = _at(here, elsewhere.argmax(0))
            bottom_BK[np.ix_(half == h, of)] = _at(here, elsewhere.argmin(0))
    total_PK = counts_PBK.sum(1)
    return pd.DataFrame(
        _depth(top_BK, bottom_BK)
        | {"bandwidth": np.array(BANDWIDTHS)[chosen_K]}
        | _stretch(profile_PK, (top_BK + bottom_BK).sum(0) / 2, total_PK)
    )


def _bandwidths(counts_PBK: np.ndarray) -> np.ndarray:
    """Index into `BANDWIDTHS` of each feature's [K]."""
    folds = np.stack([counts_PBK[:, f::FOLDS].sum(1) for f in range(FOLDS)], axis=1)
    return np.stack([_fit_of_others(folds, bandwidth) for bandwidth in BANDWIDTHS]).argmax(0)


def _fit_of_others(folds_PFK: np.ndarray, bandwidth: float) -> np.ndarray:
    """How well [K] the smoothed rates of the other folds tell where a fold's firings lie: the sum over folds of
    n (2 <p, q> - <q, q>), p the shares of its n firings by position and q what the others' rates say; the most at
    q = E[p]."""
    rates = smooth(folds_PFK, bandwidth)
    others = rates.sum(1, keepdims=True) - rates
    q = np.nan_to_num(_ratio(others, others.sum(0)))
    return (2 * (folds_PFK * q).sum(0) - folds_PFK.sum(0) * np.square(q).sum(0)).sum(0)


def _at(rates_PBK: np.ndarray, position_K: np.ndarray) -> np.ndarray:
    return rates_PBK[position_K, :, np.arange(len(position_K))].T


def _depth(top_BK: np.ndarray, bottom_BK: np.ndarray) -> dict[str, np.ndarray]:
    """1 - ratio of two sums over sets, its interval (that of a ratio estimate), and p of `MATERIAL` or less."""
    freedom = len(top_BK) - 2
    peak, ratio = top_BK.sum(0), _ratio(bottom_BK.sum(0), top_BK.sum(0))
    half = student.ppf(0.5 + LEVEL / 2, freedom) * _ratio(_error(bottom_BK - ratio * top_BK), peak)
    beyond_BK = (1 - MATERIAL) * top_BK - bottom_BK
    p = student.sf(_ratio(beyond_BK.sum(0), _error(beyond_BK)), freedom)
    return {"depth": 1 - ratio, "depth_low": 1 - ratio - half, "depth_high": 1 - ratio + half, "p": p}


def _error(values_BK: np.ndarray) -> np.ndarray:
    """Standard error of the sum over sets: those of the two halves, added up.

    Either half is read where the other is highest, so where both agree by chance their errors are not independent.
    """
    a, b = values_BK[::2], values_BK[1::2]
    return np.sqrt(len(a) * a.var(0, ddof=1)) + np.sqrt(len(b) * b.var(0, ddof=1))


def _stretch(profile_PK: np.ndarray, half_K: np.ndarray, total_PK: np.ndarray) -> dict[str, np.ndarray]:
    """Peak, and the stretch around it that is at or above half height."""
    P = len(profile_PK)
    peak, above, t = profile_PK.argmax(0), profile_PK >= half_K, np.arange(P)[:, None]
    first = np.where(~above & (t < peak), t + 1, 0).max(0)
    last = np.where(~above & (t > peak), t - 1, P - 1).min(0)
    inside = (t >= first) & (t <= last)
    floats = {
        "peak": FIRST + peak, "first": FIRST + first, "last": FIRST + last, "width": last - first + 1,
        "stretches": above[0] + (above[1:] & ~above[:-1]).sum(0),
        "share_inside": _ratio((total_PK * inside).sum(0), total_PK.sum(0)),
    }  # fmt: skip
    return {name: x.astype(float) for name, x in floats.items()} | {"censored": (first == 0) | (last == P - 1)}


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b, nan where b is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(b != 0, a / b, np.nan)
