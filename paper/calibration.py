"""What the estimators and tests of a study find where the truth is planted, and where there is nothing to find.

Every table comes from simulated data alone, so that "not reproduced" can be read beside what would have been seen.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score

from lens.dictionaries.dictionary import Dictionary
from lens.measure import error_rates, spans, synthetic
from lens.measure.masks import mask_of
from lens.measure.position_information import ALPHA, MIN_FIRINGS, PositionInformation, positional
from lens.measure.profiles import PERMUTATIONS, Profile, position_labelling, profile
from lens.measure.spans import WIDTHS
from lens.measure.stats import correlation
from lens.measure.synthetic import DENSITIES, Planted
from lens.profiling.controls import identity_dictionary
from lens.training import recipe_file
from lens.training.recipe import recipe
from lens.training.train import train_layer
from paper.calibration_tables import FREE, LAYERS, SHIFTED

FIRINGS = (50, MIN_FIRINGS, 300, 1000, 3000, np.inf)  # edges of the bins of firings
PERSISTENCES = (0.0, 0.5)  # correlation of firing at neighbouring positions
FLAT = "flat"
RECIPES = Path(__file__).with_name("recipes.yaml")
VARIANTS = ("standard", "temporallens", "shuffled_positions")
D_IN, EXPANSION = 64, 4  # of the trained dictionaries: as many features as are planted
MATCHED = 0.7  # cosine of a decoder row and a true direction
POSITION_SHARE = 0.01  # of the variance, about that of a middle layer of Gemma-3-270M
TREND_ENDS = (16, 20, 24, 64)  # width at the last layer; 16 at the first
TREND_SPREADS = (0.0, 0.5)  # standard deviation of the true widths of one layer, as a share of their mean
TREND_FEATURES = (10, 100)  # features behind a median
DOCUMENTS = 29  # plays of the held-out text


@dataclass(frozen=True)
class Measured:
    """Planted features and what is measured of them."""

    planted: Planted
    """without its windows of features"""
    profile: Profile
    position: PositionInformation


@dataclass(frozen=True)
class Truths:
    """Measured planted features by persistence of firing; the estimators see the true features, not trained ones."""

    mixed: dict[float, Measured]
    """equal shares of every width and of flat features"""
    flat: dict[float, Measured]
    """flat features alone: they ignore position"""
    freely_permuted: dict[float, PositionInformation]
    """of the same flat features, when the test permutes positions without keeping neighbours together"""


def truths(windows: int, length: int, n_features: int = 512) -> Truths:
    """Plant and measure features that fire from 50 times to on a tenth of the text tokens of n windows."""
    densities = (FIRINGS[0] / (windows * (length - 1)), DENSITIES[1])

    def measured(widths: tuple, persistence: float, seed: int) -> Measured:
        planted = synthetic.plant(
            windows, length, n_features, widths=widths, densities=densities, persistence=persistence, seed=seed
        )
        found = _profiles({"": identity_dictionary(n_features)}, planted.features, (SHIFTED, FREE))[""]
        return Measured(dataclasses.replace(planted, features=planted.features[:0]), found, _tested(found))

    mixed = {persistence: measured((*WIDTHS, np.nan), persistence, seed=0) for persistence in PERSISTENCES}
    flat = {persistence: measured((np.nan,), persistence, seed=1) for persistence in PERSISTENCES}
    return Truths(mixed, flat, {persistence: _tested(m.profile, FREE) for persistence, m in flat.items()})


def _profiles(dictionaries: Mapping, x: torch.Tensor, nulls: Sequence[str] = (SHIFTED,)) -> dict:
    n, T, _ = x.shape
    labellings = {null: position_labelling(n, T, circular=null == SHIFTED) for null in nulls}
    return profile(dictionaries, x, torch.zeros(n, dtype=torch.long), 1, labellings, permutations=PERMUTATIONS)


def _tested(found: Profile, null: str = SHIFTED) -> PositionInformation:
    return positional(found.observed[null], found.null[null], found.bin_sizes[null])


def _kinds(planted: Planted) -> dict[str, np.ndarray]:
    """Which features have which width, or none."""
    return {str(width): planted.width_K == width for width in WIDTHS} | {FLAT: np.isnan(planted.width_K)}


def _bins(found: Profile) -> list[tuple[float, float, np.ndarray]]:
    firings_K = found.firings_TK.sum(0)
    return [(a, b, (firings_K >= a) & (firings_K < b)) for a, b in zip(FIRINGS, FIRINGS[1:], strict=False)]


# Estimators of spans


def estimator_table(truths: Truths) -> pd.DataFrame:
    """Mean, spread and bias of each span estimator, by persistence of firing, true width and number of firings.

    `fwhm` is of the features that pass the position test, as in the study; `fwhm_untested` of all. Bias is against the
    planted width (flat features: all text positions, and no true `fwhm`), its share of the text positions for ratios,
    and for `dwell` and `autocorrelation_time` against the planted chain inside its window.
    """
    rows = []
    for persistence, measured in truths.mixed.items():
        estimates = _estimates(measured)
        for width, kind_K in _kinds(measured.planted).items():
            for low, high, bin_K in _bins(measured.profile):
                for name, (values_K, truth_K) in estimates.items():
                    here = kind_K & bin_K & np.isfinite(values_K)
                    if here.any():
                        values, truth = values_K[here], truth_K[here]
                        sd = values.std(ddof=1) if len(values) > 1 else np.nan
                        bias = (values - truth).mean()
                        rows.append((persistence, width, low, high, name, len(values), values.mean(), sd, bias))
    columns = ["persistence", "width", "firings_low", "firings_high", "estimator", "n", "mean", "sd", "bias"]
    return pd.DataFrame(rows, columns=columns)


def _estimates(measured: Measured) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Estimate and truth per feature, without the limit on firings that the study sets."""
    found, planted = measured.profile, measured.planted
    firings, width, length = found.firings_TK, planted.width_K, planted.length_K
    matched = spans.frequency_matched(firings.sum(0), found.windows, len(firings))
    effective, participation = spans.effective_positions(firings), spans.participation_ratio(firings)
    fwhm, share = spans.fwhm(found.firings_TK), length / len(firings)
    return {
        "fwhm": (np.where(measured.position.significant_K, fwhm, np.nan), width),
        "fwhm_untested": (fwhm, width),
        "effective_positions": (effective, length),
        "effective_positions_corrected": (spans.effective_positions(firings, miller_madow=True), length),
        "effective_positions_ratio": (effective / spans.effective_positions(matched).mean(0), share),
        "participation": (participation, length),
        "participation_ratio": (participation / spans.participation_ratio(matched).mean(0), share),
        "dwell": (firings.sum(0) / np.maximum(found.runs_K, 1), synthetic.true_dwell(planted)),
        "autocorrelation_time": (
            spans.autocorrelation_time(spans.autocovariance(found)), synthetic.true_autocorrelation_time(planted),
        ),
    }  # fmt: skip


# The position test


def positional_table(truths: Truths) -> pd.DataFrame:
    """How often the position test finds features, by persistence of firing, true width and number of firings.

    Metrics: `share_p` (p <= .05, uncorrected) and `share_fdr` (Benjamini-Hochberg at 5 %), which are power for features
    with a width and false positives for flat ones; `auroc` of the corrected U against flat features of the same bin.
    Width `all` has the share of flat ones among the features found; `only_flat` what is found where all are flat.
    """
    rows = []
    for persistence, measured in truths.mixed.items():
        position, kinds = measured.position, _kinds(measured.planted)
        for low, high, bin_K in _bins(measured.profile):
            flat_K = kinds[FLAT] & bin_K & position.eligible_K
            for width, kind_K in kinds.items():
                here = kind_K & bin_K & position.eligible_K
                rows += [
                    (persistence, width, low, high, metric, int(here.sum()), value)
                    for metric, value in _shares(position, here).items()
                ]
                if width != FLAT and here.any() and flat_K.any():
                    auroc = roc_auc_score(kind_K[here | flat_K], position.u_corrected_K[here | flat_K])
                    rows.append((persistence, width, low, high, "auroc", int(here.sum()), auroc))
        found_flat = kinds[FLAT][position.significant_K]
        if len(found_flat):
            share = found_flat.mean()
            rows.append((persistence, "all", MIN_FIRINGS, np.inf, "false_discoveries", len(found_flat), share))
        alone = truths.flat[persistence].position
        rows += [
            (persistence, "only_flat", MIN_FIRINGS, np.inf, metric, int(alone.eligible_K.sum()), value)
            for metric, value in _shares(alone, alone.eligible_K).items()
        ]
    return pd.DataFrame(rows, columns=["persistence", "width", "firings_low", "firings_high", "metric", "n", "value"])


def _shares(position: PositionInformation, here_K: np.ndarray) -> dict[str, float]:
    if not here_K.any():
        return {}
    shares = {"share_p": position.p_K[here_K] <= ALPHA, "share_fdr": position.significant_K[here_K]}
    return {metric: float(found.mean()) for metric, found in shares.items()}


# Trend over layers, and tests where there is nothing


def trend_power_table(estimators: pd.DataFrame, draws: int, seeds: Sequence[int] = (3, 5)) -> pd.DataFrame:
    """Power of Page's test (one-sided, 5 %) to find widths that grow evenly over layers, and its error if they do not.

    Widths of features spread as `fwhm` does in `estimators` (see `estimator_table`; all firings together), and beyond
    that by `spread` times their mean.

    Raises:
        ValueError: `estimators` has no width.
    """
    rng = np.random.default_rng(2)
    measured = estimators[(estimators["estimator"] == "fwhm") & (estimators["width"] != FLAT)]
    if measured.empty:
        raise ValueError("no planted feature passes the position test: calibrate on more windows")
    variance = (measured["sd"].fillna(0) ** 2 * measured["n"]).groupby(measured["width"].astype(int)).sum()
    pooled = variance / measured["n"].groupby(measured["width"].astype(int)).sum()
    rows = []
    for n_layers in LAYERS:
        for end in TREND_ENDS:
            width_L = np.linspace(WIDTHS[0], end, n_layers)
            error_L = np.interp(width_L, pooled.index, pooled)
            for spread in TREND_SPREADS:
                sd_L = np.sqrt(error_L + (spread * width_L) ** 2)
                for features in TREND_FEATURES:
                    for n_seeds in seeds:
                        rate = error_rates.trend_rate(width_L, sd_L, features, n_seeds, draws, rng)
                        rows.append((n_layers, n_seeds, features, WIDTHS[0], end, spread, ALPHA, rate, draws))
    columns = ["layers", "seeds", "features", "width_first", "width_last", "spread", "nominal", "rate", "draws"]
    return pd.DataFrame(rows, columns=columns)


def error_rate_table(truths: Truths, draws: int, seeds: Sequence[int] = (3, 5)) -> pd.DataFrame:
    """How often each test of the claims rejects at 5 % where there is nothing to find (see `lens.measure.error_rates`).

    The position test is tried on flat features, each a draw. Cells are empty where a test has no seeds or documents.
    """
    rng = np.random.default_rng(4)
    rows: list[tuple] = [
        ("t test over windows of one seed", 1, DOCUMENTS, error_rates.window_error(DOCUMENTS, draws, rng), draws)
    ]
    for n in seeds:
        for test, rate in error_rates.replicate_errors(n, DOCUMENTS, draws, rng).items():
            rows.append((test, n, None if test == error_rates.SEEDS_ALONE else DOCUMENTS, rate, draws))
        for n_layers in LAYERS:
            p = error_rates.page_p(rng.normal(size=(draws, n, n_layers)))
            rows.append((f"Page's trend test over {n_layers} layers", n, None, np.mean(p <= ALPHA), draws))
    rows += [(test, None, None, rate, draws) for test, rate in error_rates.curve_errors(draws, rng).items()]
    for persistence, measured in truths.flat.items():
        for null, position in ((SHIFTED, measured.position), (FREE, truths.freely_permuted[persistence])):
            found = position.p_K[position.eligible_K] <= ALPHA
            test = f"position test by {null}, firing persists by {persistence:g}"
            rows.append((test, None, None, found.mean() if len(found) else np.nan, len(found)))
    table = pd.DataFrame(rows, columns=["test", "n_seeds", "n_documents", "rate", "draws"])
    table.insert(3, "nominal", ALPHA)
    return table.astype({"n_seeds": "Int64", "n_documents": "Int64"})


# Training on planted features


def training_table(
    windows: int, length: int, steps: Sequence[int], seeds: Sequence[int], pool: Path, seed: int = 3
) -> pd.DataFrame:
    """Do trained dictionaries find planted features and their windows? One row per variant, seed, steps and metric.

    A feature is recovered when its direction and the decoder row matched with it (one to one) have a cosine of at least
    `MATCHED`. `recovered_*` are shares of the planted features; all other metrics are of recovered ones, on windows not
    trained on: `positional_*`, the share that passes the position test; `information_*`, the median of the corrected U;
    `fwhm_error`, the median distance of measured and true width among those that pass; `mask_correlation`, the median
    correlation of mask and true window; `mask_run_*`, the median longest run of the mask by true width. `l0_ratio` is
    the number of features on per token over the planted one: a feature that also fires on the cross-talk of others
    takes on their positions, and a flat one then passes the test. n counts features; a metric of none is left out.

    Args:
        windows: training windows; half as many are held out.
        pool: where finished runs are kept (see `lens.training.train.train_layer`).
    """
    planted = synthetic.plant(windows + windows // 2, length, EXPANSION * D_IN, seed=seed)
    embedded = synthetic.embed(planted, D_IN, position_share=POSITION_SHARE, seed=seed)
    train, test = embedded.activations[:windows], embedded.activations[windows:]
    digest = hashlib.sha256(train.contiguous().view(torch.int16).numpy().tobytes()).hexdigest()
    pool.mkdir(parents=True, exist_ok=True)
    rows = []
    recipes = recipe_file.read(RECIPES)
    for n_steps in steps:
        configs = {v: recipe(v, recipes, n_steps, {"expansion": EXPANSION}) for v in VARIANTS}
        with TemporaryDirectory(dir=pool) as folder:
            trained = train_layer(
                train, configs, seeds, Path(folder) / "dictionaries", pool,
                data_digest=digest, model="planted", layer="planted", device="cpu",
            )  # fmt: skip
            dictionaries = {run: Dictionary.load(path) for run, path in trained.folders.items()}
        for (variant, run_seed), found in _profiles(dictionaries, test).items():
            values = _recovery(dictionaries[variant, run_seed], found, planted, embedded.directions.numpy())
            rows += [
                (variant, run_seed, n_steps, name, len(v), float(v.mean() if v.dtype == bool else np.median(v)))
                for name, v in values.items()
                if len(v)
            ]
    return pd.DataFrame(rows, columns=["variant", "seed", "steps", "metric", "n", "value"])


def _recovery(sae: Dictionary, found: Profile, planted: Planted, directions_KD: np.ndarray) -> dict[str, np.ndarray]:
    """Values of each metric, one per feature that it counts."""
    match = synthetic.recover(sae.W_dec.detach().float().numpy(), directions_KD)
    flat, position = np.isnan(planted.width_K), _tested(found)
    recovered, eligible = match.cosine >= MATCHED, position.eligible_K[match.learned]
    significant = position.significant_K[match.learned]
    information = position.u_corrected_K[match.learned]
    error = np.abs(spans.fwhm(found.firings_TK)[match.learned] - planted.width_K)
    l0_ratio = found.firings_TK.sum() / (found.windows * len(found.firings_TK)) / planted.density_K.sum()
    values = {
        "l0_ratio": np.full(len(flat), l0_ratio),
        "recovered_windowed": recovered[~flat],
        "recovered_flat": recovered[flat],
        "positional_windowed": significant[recovered & eligible & ~flat],
        "positional_flat": significant[recovered & eligible & flat],
        "information_windowed": information[recovered & eligible & ~flat],
        "information_flat": information[recovered & eligible & flat],
        "fwhm_error": error[recovered & significant & ~flat],
    }
    if (learned := mask_of(sae)) is not None:
        mask, window = learned[1:, match.learned], planted.window_TK[1:]
        windowed, run = recovered & ~flat, spans.longest_run(spans.above_half(mask))
        values["mask_correlation"] = correlation(mask.T[windowed].astype(float), window.T[windowed].astype(float))
        values |= {f"mask_run_{kind}": run[recovered & kind_K] for kind, kind_K in _kinds(planted).items()}
    return values
