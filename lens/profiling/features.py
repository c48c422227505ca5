"""What the features of one layer's dictionaries do with position, as tidy tables: profiles, spans, clusters, masks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lens.dictionaries.dictionary import Dictionary
from lens.measure import clusters, matching, spans
from lens.measure.masks import drift, fvu_rise, mask_of, mask_profile_correlation
from lens.measure.position_information import PositionInformation, positional
from lens.measure.profiles import (
    CLOCK_NAMES,
    PERMUTATIONS,
    Labelling,
    Profile,
    clock_bins,
    clock_labelling,
    position_labelling,
    profile,
)
from lens.profiling.controls import untrained
from lens.profiling.late_spans import COLUMNS, late_columns, late_measures
from lens.profiling.layer_data import LayerData
from lens.profiling.seeds import MIN_PAIRS, match, pair_rows
from lens.profiling.tables import SUMMARY, Dictionaries, Key, Tables

FIRST, SETTLED = "1", "8"  # labellings of all text positions, and of those after the steep start of a window
GIVEN_NEWLINE = "8_given_newline"
UNTRAINED = "untrained"
UNTRAINED_WINDOWS = 64  # half of an untrained dictionary's features fire on any token: few windows are plenty
LOGITS = "pos_logits"  # of masks, among the weights
MASK_STRIDE = 4  # every fourth window is enough for a ratio of errors
FEATURES = [
    "variant", "seed", "feature", "density", "positional", "p", "information", "fwhm", "centre", "mask_run",
    "effective_ratio", "dwell", "autocorrelation_time", "token_share", "cluster", "shared_with_seeds",
]  # fmt: skip
REFERENCES = 10  # sets of null profiles for the gap statistic and for the paper's consistency
BOOTSTRAPS = 10  # resamplings of documents for the stability of clusters


@dataclasses.dataclass(frozen=True)
class Measured:
    """One dictionary's profile and what follows from it."""

    sae: Dictionary
    profile: Profile
    position: dict[str, PositionInformation]
    spans: spans.Spans
    late: pd.DataFrame
    """spans from position 16 on, a row for each feature (`lens.profiling.late_spans`); no columns if not measured"""
    mask_TK: np.ndarray | None

    @property
    def positional_K(self) -> np.ndarray:
        return self.position[FIRST].significant_K


def labellings(n: int, T: int, clocks: Mapping[str, np.ndarray]) -> dict[str, Labelling]:
    """Position from 1 and from 8, each structural clock that ever starts (some tokenizers drop line breaks), and
    position from 8 among tokens at equal distance from a line break."""
    found = {FIRST: position_labelling(n, T, 1)}
    if T > 2 * int(SETTLED):
        found[SETTLED] = position_labelling(n, T, int(SETTLED))
    for name, clock in clocks.items():
        if (clock >= 0).any():
            found[name] = Labelling(clock_bins(torch.as_tensor(clock)), CLOCK_NAMES)
    if SETTLED in found and "since_newline" in found:
        settled = found[SETTLED]
        found[GIVEN_NEWLINE] = Labelling(settled.bins, settled.names, found["since_newline"].bins)
    return found


def clock_labellings(n: int, T: int, clocks: Mapping[str, np.ndarray]) -> dict[str, Labelling]:
    """Position from 1 on, and for each clock [n, T] its bins at text positions (`since_<clock>`) and position among
    tokens at equal distance from where it started (`given_<clock>`)."""
    found = {FIRST: position_labelling(n, T, 1)}
    for name, clock in clocks.items():
        since = clock_labelling(torch.as_tensor(clock))
        found[f"since_{name}"] = since
        found[f"given_{name}"] = Labelling(found[FIRST].bins, found[FIRST].names, since.bins, each_stratum=True)
    return found


def measure_features(
    dictionaries: Dictionaries,
    activations: Tensor,
    block: Tensor,
    n_blocks: int,
    labels: Mapping[str, Labelling],
    tokens: Tensor | None = None,
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> dict[Key, Measured]:
    """Profiles of every dictionary's features on held-out windows [n, T, d], the test of position, and spans.

    Args:
        block: [n] text block (document) of each window.
        labels: partitions of tokens that firing may depend on, `FIRST` among them (see `labellings`).
        tokens: [n, T], for the token measures.
        permutations: of the labels of each labelling.
    """
    profiles = profile(
        dictionaries, activations, block, n_blocks, labels, permutations=permutations,
        lags=min(32, activations.shape[1] - 2), tokens=tokens, seed=seed,
    )  # fmt: skip
    return {key: _measured(dictionaries[key], found) for key, found in profiles.items()}


def measure_untrained(
    dictionaries: Dictionaries, method: str | None, data: LayerData, *, permutations: int = PERMUTATIONS, seed: int = 0
) -> dict[Key, Measured]:
    """The same, on a few windows, of the dictionaries that the runs of the method began with: null N6."""
    test, few = data.test, slice(0, UNTRAINED_WINDOWS)
    start = {(UNTRAINED, s): untrained(sae) for (v, s), sae in dictionaries.items() if v == method}
    if not start:
        return {}
    x, block = test.activations[few], test.document[few]
    first = {FIRST: position_labelling(len(x), x.shape[1])}
    return measure_features(start, x, block, len(test.documents), first, permutations=permutations, seed=seed)


def feature_tables(
    measured: Mapping[Key, Measured],
    activations: Tensor,
    *,
    start: Mapping[Key, Measured] | None = None,
    method: str | None = None,
    seed: int = 0,
) -> Tables:
    """The tables `summary` (a row per dictionary and measure), `features` (first seed) and `profiles` (of the method's
    first seed).

    Args:
        measured: see `measure_features`.
        activations: held-out windows [n, T, d], raw.
        start: see `measure_untrained`.
        method: variant whose clustered profiles are kept.
    """
    grouped = {key: _cluster(one, seed) for key, one in measured.items()}
    rows: list[tuple] = []
    for key, one in {**measured, **(start or {})}.items():
        late = late_measures(one.late, one.spans.density_K)
        rows += _rows(key, _position_measures(one) | _span_measures(one) | late | _token_measures(one))
    for key, one in measured.items():
        rows += _rows(key, _cluster_measures(one, grouped[key], seed) | _mask_measures(one, activations, seed))
    pairs, shared = _pair_measures(measured, grouped)
    first_seed = min(s for _, s in measured)
    first = {key: m for key, m in measured.items() if key[1] == first_seed}
    return {
        "summary": pd.DataFrame(rows + pairs, columns=SUMMARY).dropna(subset="value"),
        "features": _feature_table(first, grouped, shared),
        "profiles": _profile_table({key: m for key, m in first.items() if key[0] == method}, grouped),
    }


def _measured(sae: Dictionary, found: Profile) -> Measured:
    position = {
        name: positional(found.observed[name], found.null[name], found.bin_sizes[name]) for name in found.observed
    }
    T = found.firings_BTK.shape[1]  # a dictionary can have been trained on longer windows
    mask = mask_of(sae)
    mask = None if mask is None else mask[:T]
    found_spans = spans.spans(found, mask, position[FIRST].significant_K)
    return Measured(sae, found, position, found_spans, late_columns(found.firings_BTK), mask)


def _rows(key: Key, values: Mapping[str, tuple[float, str]]) -> list[tuple]:
    return [(*key, "text", name, value, 1, unit) for name, (value, unit) in values.items()]


def _position_measures(m: Measured) -> dict[str, tuple[float, str]]:
    values = {
        "eligible_features": (float(m.position[FIRST].eligible_K.sum()), "features"),
        "positional_features": (float(m.positional_K.sum()), "features"),
        "always_on_features": (float(m.position[FIRST].always_on), "features"),
    }
    for name, found in m.position.items():
        values[f"positional_share_{name}"] = (found.share_significant, "fraction of eligible features")
        values[f"positional_share_{name}_null"] = (found.null_share, "fraction of eligible features")
        values[f"information_{name}"] = (
            finite_median(found.u_corrected_K[found.eligible_K]),
            "fraction of firing entropy",
        )
    return values


def _span_measures(m: Measured) -> dict[str, tuple[float, str]]:
    s, has_width = m.spans, np.isfinite(m.spans.fwhm_K)
    values = {
        "span_fwhm": finite_median(s.fwhm_K),
        "span_fwhm_permuted": finite_median(s.null_fwhm_K[has_width]),
        "span_fwhm_frequency": finite_median(s.frequency_fwhm_K[has_width]),
        **{f"span_fwhm_bin_{b}": v for b, v in spans.medians_by_density(s.fwhm_K, s.density_K).items()},
        "span_effective_positions": finite_median(s.effective_positions_K),
        "span_dwell": finite_median(s.dwell_K),
        "span_autocorrelation_time": finite_median(s.autocorrelation_time_K),
    }
    if m.mask_TK is not None:
        values["span_mask_run"] = finite_median(s.mask_run_K)
        start = _mask_at_start(m.sae, len(m.mask_TK))
        values["span_mask_run_start"] = finite_median(spans.longest_run(spans.above_half(start[1:])))
    ratios = {
        "span_effective_ratio": finite_median(s.effective_positions_ratio_K),
        "span_participation_ratio": finite_median(s.participation_ratio_K),
        "span_dwell_ratio": finite_median(s.dwell_ratio_K),
        "span_autocorrelation_ratio": finite_median(s.autocorrelation_ratio_K),
    }
    return {k: (v, "positions") for k, v in values.items()} | {k: (v, "ratio to null") for k, v in ratios.items()}


def _mask_at_start(sae: Dictionary, T: int) -> np.ndarray:
    """Masks as a run might have drawn them at its start, at the temperature of its end."""
    learned = sae.position_term
    term = type(learned)(sae.info.d_in, sae.info.d_sae, T, learned.settings)
    term.initialise(torch.Generator().manual_seed(sae.info.seed))
    values = term.factors()
    assert values is not None  # a learned mask is there
    return values.detach().numpy()


def _token_measures(m: Measured) -> dict[str, tuple[float, str]]:
    """Share of firings on the most frequent token, of positional and of other features, at matched density."""
    if m.profile.token_share_K is None:
        return {}
    eligible = m.position[FIRST].eligible_K
    density = m.spans.density_K
    bins = np.digitize(density, spans.DENSITY_EDGES)
    kinds = {"positional": eligible & m.positional_K, "other": eligible & ~m.positional_K}
    common = [b for b in np.unique(bins) if all((bins[k] == b).sum() >= spans.MIN_BIN_FEATURES for k in kinds.values())]
    share = m.profile.token_share_K
    return {
        f"token_share_{name}": (
            float(np.mean([np.median(share[kind & (bins == b)]) for b in common])) if common else np.nan,
            "fraction of firings",
        )
        for name, kind in kinds.items()
    }


def _profiles(m: Measured) -> np.ndarray:
    """Smoothed profile of firing over text positions [P, K]; amplitudes would carry the mask (see `spans.spans`)."""
    return spans.smooth(m.profile.firings_TK)


def _clustered(m: Measured) -> np.ndarray:
    """Features that enter the clustering: those with a position profile, which flat and silent ones do not have."""
    return np.flatnonzero(m.positional_K & np.isfinite(m.spans.fwhm_K))


def _shifted_profiles(total_PC: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Null N4: each profile shifted by an offset of its own, then smoothed like the data; `REFERENCES` sets."""
    rows = np.arange(len(total_PC))[:, None]
    shifts = rng.integers(len(total_PC), size=(REFERENCES, total_PC.shape[1]))
    return [spans.smooth(total_PC[(rows + s) % len(total_PC), np.arange(total_PC.shape[1])]) for s in shifts]


def _cluster(m: Measured, seed: int) -> clusters.Clustering | None:
    """Clusters of the positional features' profiles; None where there are too few of them."""
    chosen = _clustered(m)
    if len(chosen) < clusters.MIN_FEATURES:
        return None
    firings_BPC = m.profile.firings_BTK[:, 1:, chosen].astype(np.float64)
    rng = np.random.default_rng(seed)
    references = _shifted_profiles(firings_BPC.sum(0), rng)
    smoothed = np.stack([spans.smooth(block) for block in firings_BPC])
    return clusters.cluster(smoothed, references, rng, bootstraps=BOOTSTRAPS)


def _cluster_measures(m: Measured, found: clusters.Clustering | None, seed: int) -> dict[str, tuple[float, str]]:
    if found is None:
        return {}
    profiles = m.profile.firings_TK[:, _clustered(m)].astype(np.float64)
    null = clusters.paper_consistency_null(_shifted_profiles(profiles, np.random.default_rng(seed)))
    return {
        "clusters_favoured": (float(found.K), "clusters"),
        "clusters_stable": (float(found.stability.n_stable), "clusters"),
        "cluster_silhouette": (found.silhouette, "silhouette"),
        "cluster_silhouette_best": (float(np.nanmax(found.silhouette_K)), "silhouette"),
        "cluster_cophenetic": (found.cophenetic, "correlation"),
        "cluster_bootstrap_ari": (found.stability.ari, "adjusted Rand index"),
        "cluster_consistency": (clusters.paper_consistency(spans.smooth(profiles)), "correlation"),
        "cluster_consistency_null": (float(null.mean()), "correlation"),
    }


def _mask_measures(m: Measured, activations: Tensor, seed: int) -> dict[str, tuple[float, str]]:
    if not m.sae.position_term.interventions():
        return {}
    effects = fvu_rise(m.sae, activations[::MASK_STRIDE], torch.Generator().manual_seed(seed))
    values = {f"fvu_rise_{kind}": (rise, "relative") for kind, rise in effects.items()}
    if LOGITS in m.sae.weights():
        start, end = (one.weights()[LOGITS].detach().float().numpy() for one in (untrained(m.sae), m.sae))
        common, own = drift(start, end)
        values |= {"mask_drift_common": (common, "norm of the start"), "mask_drift_own": (own, "norm of the start")}
    if m.mask_TK is None:
        return values
    rate = m.profile.firings_BTK.sum(0) / m.profile.windows
    correlation = mask_profile_correlation(m.mask_TK, rate, m.position[FIRST].eligible_K)
    return values | {"mask_profile_correlation": (correlation, "correlation")}


def _pair_measures(
    measured: Mapping[Key, Measured], grouped: Mapping[Key, clusters.Clustering | None]
) -> tuple[list[tuple], dict[Key, np.ndarray]]:
    """Agreement of every pair of seeds of a variant, and in how many other seeds each feature recurs."""
    rows: list[tuple] = []
    shared = {key: np.zeros(m.positional_K.size, int) for key, m in measured.items()}
    for variant in dict.fromkeys(v for v, _ in measured):
        seeds = sorted(s for v, s in measured if v == variant)
        one = {s: measured[variant, s] for s in seeds}
        pairs = {(a, b): match(one[a].sae, one[b].sae) for a, b in combinations(seeds, 2)}
        for (a, b), pair in pairs.items():
            shared[variant, a] += pair.shared
            shared[variant, b][pair.permutation] += pair.shared
        found = {
            (a, b): _agreement(one[a], one[b], pair, grouped[variant, a], grouped[variant, b])
            for (a, b), pair in pairs.items()
        }
        rows += pair_rows(variant, seeds, found)
    return rows, shared


def _agreement(a: Measured, b: Measured, pair, clusters_a, clusters_b) -> dict[str, float]:
    masks = None if a.mask_TK is None or b.mask_TK is None else (a.mask_TK[1:], b.mask_TK[1:])
    eligible = (a.position[FIRST].eligible_K, b.position[FIRST].eligible_K)
    found = matching.agreement(pair, (_profiles(a), _profiles(b)), eligible, masks)
    values = {
        "seed_shared_share": float(pair.shared.mean()),
        "seed_mmcs": pair.mmcs,
        "seed_pairs": float(found.n_pairs),
    }
    if found.n_pairs < MIN_PAIRS:
        return values
    values |= {
        "seed_mask_correlation": found.mask_r.mean,
        "seed_mask_correlation_null": found.mask_r.null,
        "seed_mask_overlap": found.support_iou.mean,
        "seed_mask_overlap_null": found.support_iou.null,
        "seed_profile_correlation": found.profile_r.mean,
        "seed_profile_correlation_null": found.profile_r.null,
        "seed_centre_distance": found.centre_distance.mean,
    }
    if clusters_a is not None and clusters_b is not None:
        values["cluster_seed_ari"] = matching.matched_ari(_labels(a, clusters_a), _labels(b, clusters_b), pair)
    return values


def _labels(m: Measured, found: clusters.Clustering | None) -> np.ndarray:
    """Cluster of every feature [K]; -1 for those that were not clustered."""
    labels = np.full(m.positional_K.size, -1)
    if found is not None:
        labels[_clustered(m)] = found.labels_K
    return labels


def per_feature(m: Measured) -> pd.DataFrame:
    """What was measured of each feature, a row for each; nan where a feature fires too rarely to tell."""
    position, s = m.position[FIRST], m.spans
    measured = pd.DataFrame(
        {
            "feature": np.arange(s.density_K.size), "density": s.density_K, "positional": position.significant_K,
            "p": position.p_K, "information": position.u_corrected_K, "fwhm": s.fwhm_K, "fwhm_null": s.null_fwhm_K,
            "centre": s.centre_K, "effective_ratio": s.effective_positions_ratio_K, "mask_run": s.mask_run_K,
            "dwell": s.dwell_K, "dwell_ratio": s.dwell_ratio_K, "autocorrelation_time": s.autocorrelation_time_K,
            "firing_autocorrelation": s.firing_autocorrelation_K,
            "firing_autocorrelation_null": s.permuted_firing_autocorrelation_K,
            "token_share": m.profile.token_share_K,
        }
    )  # fmt: skip
    return pd.concat([measured, m.late], axis=1)


def _feature_table(measured: Mapping[Key, Measured], grouped, shared: Mapping[Key, np.ndarray]) -> pd.DataFrame:
    parts = []
    for key, m in measured.items():
        part = per_feature(m).assign(
            variant=key[0], seed=key[1], cluster=_labels(m, grouped[key]), shared_with_seeds=shared[key]
        )
        part = part[[*FEATURES, *(c for c in COLUMNS if c in part)]]
        parts.append(part.astype(dict.fromkeys(part.select_dtypes(bool), int)))
    return pd.concat(parts, ignore_index=True)


def _profile_table(measured: Mapping[Key, Measured], grouped) -> pd.DataFrame:
    """Standardised profiles of the clustered features, columns p001, p002, ..., with their cluster and leaf order."""
    parts = []
    for key, m in measured.items():
        found = grouped[key]
        chosen = _clustered(m)
        order = np.arange(len(chosen))
        if found is not None:
            leaves = clusters.hierarchy.leaves_list(found.linkage)
            order[leaves] = np.arange(len(chosen))
        z = clusters.standardise(_profiles(m)[:, chosen]).T.round(3)
        part = pd.DataFrame(z, columns=[f"p{t:03d}" for t in range(1, z.shape[1] + 1)])
        for i, (name, column) in enumerate(
            {
                "variant": key[0],
                "seed": key[1],
                "feature": chosen,
                "cluster": _labels(m, found)[chosen],
                "leaf": order,
            }.items()
        ):
            part.insert(i, name, column)
        parts.append(part)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["variant", "seed", "feature"])


def finite_median(values: np.ndarray) -> float:
    """Median of the values that are finite; nan if none is."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else np.nan
