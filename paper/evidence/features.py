"""C10, C17 to C20, C34: are there features that specialise by position, do they form groups, and what do masks do?"""

from __future__ import annotations

import dataclasses

import numpy as np

from paper.evidence.measured import METHOD, Measured, Missing
from paper.evidence.readings import (
    UNKNOWN,
    Evidence,
    Measures,
    Reading,
    attempt,
    differences,
    for_controls,
    mean_over_layers,
    measure,
    over_seeds,
    truth,
)
from paper.verdicts import Measure

CONTROLS = ("standard", "shuffled_positions")
SHUFFLED = "shuffled_positions"
RISE, AGREEMENT = 0.02, 0.5  # the thresholds of C20, either of which is enough for `partly`
LEAST_SEEDS = 3  # whose pairs have a spread
MASKS_AGREE = "correlation of matched masks between seeds"
MARGIN = 0.05  # share of firings on one token that positional features may lose and still count as no worse


def _measures(data: Measured, variant: str, metrics: dict[str, str]) -> Measures:
    """Name of a rule's measure -> metric: mean over layers, with its interval over seeds."""
    return {name: measure(mean_over_layers(data, name, variant, metric)) for name, metric in metrics.items()}


def _of_pairs(data: Measured, name: str, variant: str, metric: str) -> Reading:
    """A measure over pairs of seeds, empty where it is not in the tables: seeds that share too few features cannot be
    compared, which leaves open what depends on it and nothing else."""
    try:
        return mean_over_layers(data, name, variant, metric)
    except Missing as missing:
        few = f"fewer than {LEAST_SEEDS} seeds" if len(data.seeds) < LEAST_SEEDS else "too few shared features"
        return Reading(name, detail=f"{few} to compare: {missing}")


def _of_pairs_measure(data: Measured, variant: str, metric: str) -> Measure:
    found = _of_pairs(data, metric, variant, metric)
    return UNKNOWN if found.interval is None else measure(found)


def _own_data(data: Measured, kind: str) -> tuple[Reading, ...]:
    """Agreement of masks between seeds that were trained, for this alone, on data of their own (see
    `lens.study.own_data`): the method, its control, and the method's masks at neighbouring positions."""
    own, metric = kind.replace("_", " "), f"{kind}_mask_correlation"
    beyond = f"{MASKS_AGREE}, {own}, {METHOD} - {SHUFFLED}"

    def difference() -> Reading:
        values_LS = [data.ablated().value(variant, metric) for variant in (METHOD, SHUFFLED)]
        return over_seeds(beyond, (values_LS[0] - values_LS[1]).mean(axis=0), "plain")

    readings = {
        f"{MASKS_AGREE}, {own}": (METHOD, "mask_correlation"),
        f"{MASKS_AGREE}, {own}, {SHUFFLED}": (SHUFFLED, "mask_correlation"),
        f"{MASKS_AGREE}, {own}, next position": (METHOD, "mask_correlation_next"),
        f"features shared by a pair of seeds, {own}": (METHOD, "pairs"),
    }
    found = (
        attempt(name, lambda name=name, at=at: _of_pairs(data.ablated(), name, at[0], f"{kind}_{at[1]}"))
        for name, at in readings.items()
    )
    return (*found, attempt(beyond, difference))


def _pairs(data: Measured) -> tuple[Reading, ...]:
    """How many features a pair of seeds shares, where that is in the tables."""
    named = {"features shared by a pair of seeds": "seed_pairs"}
    return _readings(data, named) if data.has(METHOD, "seed_pairs") else ()


def _differences(data: Measured, metric: str, variants: tuple[str, ...] = CONTROLS) -> dict[str, Reading]:
    return differences(variants, lambda v: data.value(v, metric).mean(axis=0))


def _readings(data: Measured, metrics: dict[str, str], variant: str = METHOD) -> tuple[Reading, ...]:
    return tuple(attempt(n, lambda n=n, m=m: mean_over_layers(data, n, variant, m)) for n, m in metrics.items())


def _controls(data: Measured, name: str, metric: str, variants: tuple[str, ...] = CONTROLS) -> dict[str, Reading]:
    return {v: _readings(data, {f"{name}, {v}": metric}, v)[0] for v in variants}


def sharpening(data: Measured) -> Evidence:
    """C10: sharp masks that moved, and that two seeds agree on."""
    readings = {
        "sharp share of mask values": "sharp_share",
        "drift in units of the initial spread": "mask_drift",
    }
    of_pairs = {
        MASKS_AGREE: "seed_mask_correlation",
        "the same for random pairs": "seed_mask_correlation_null",
    }

    def measures(variant: str) -> Measures:
        found = _measures(data, variant, {"sharp_share": "sharp_share", "drift_in_initial_sd": "mask_drift"})
        return found | {"seed_mask_correlation": _of_pairs_measure(data, variant, "seed_mask_correlation")}

    return Evidence(
        (*_readings(data, readings), *(_of_pairs(data, name, METHOD, metric) for name, metric in of_pairs.items())),
        controls=_controls(data, "sharp share", "sharp_share", (SHUFFLED,)),
        differences=_differences(data, "sharp_share", (SHUFFLED,)),
        context=_pairs(data),
        measures=measures(METHOD),
        control_measures=for_controls((SHUFFLED,), measures),
    )


def groups(data: Measured) -> Evidence:
    """C17: does any partition of the features' profiles beat one group, and does it come back on resampled text?"""
    metrics = {
        "clusters_favoured": "clusters_favoured",
        "clusters_with_jaccard_075": "clusters_stable",
        "silhouette": "cluster_silhouette_best",
    }
    readings = {
        "clusters favoured by the gap statistic": "clusters_favoured",
        "clusters with a Jaccard index of 0.75 or more": "clusters_stable",
        "largest silhouette of 2 to 10 clusters": "cluster_silhouette_best",
        "cophenetic correlation": "cluster_cophenetic",
    }
    return Evidence(
        _readings(data, readings),
        controls=_controls(data, "clusters favoured", "clusters_favoured"),
        differences=_differences(data, "clusters_favoured"),
        measures=_measures(data, METHOD, metrics),
        control_measures=for_controls(CONTROLS, lambda v: _measures(data, v, metrics)),
    )


def consistency(data: Measured) -> Evidence:
    """C18: is the correlation within five clusters above that of clustered chance, and do seeds agree on the groups?"""
    first = "consistency above its null"

    def beyond(variant: str) -> np.ndarray:
        difference = data.value(variant, "cluster_consistency") - data.value(variant, "cluster_consistency_null")
        return difference.mean(axis=0)

    def above(name: str, variant: str) -> Reading:
        return over_seeds(name, beyond(variant), "plain")

    def measures(variant: str) -> Measures:
        agreement = _of_pairs_measure(data, variant, "cluster_seed_ari")
        return {"consistency_above_null": measure(above(first, variant)), "adjusted_rand_index": agreement}

    readings = {
        "consistency as the paper reads it": "cluster_consistency",
        "the same of shifted profiles": "cluster_consistency_null",
    }
    return Evidence(
        (
            above(first, METHOD),
            _of_pairs(data, "adjusted Rand index between seeds", METHOD, "cluster_seed_ari"),
            *_readings(data, readings),
        ),
        controls={v: attempt(v, lambda v=v: above(f"{first}, {v}", v)) for v in CONTROLS},
        differences=differences(CONTROLS, beyond),
        context=_pairs(data),
        measures=measures(METHOD),
        control_measures=for_controls(CONTROLS, measures),
        null=0.0,
    )


def positional(data: Measured) -> Evidence:
    """C19: the share of features whose firing depends on position, beyond the share that the same procedure finds in
    permuted labels."""

    def values_S(variant: str, first: int, where: Measured = data) -> np.ndarray:
        share, null = (where.value(variant, f"positional_share_{first}{end}") for end in ("", "_null"))
        return (share - null).mean(axis=0)

    def beyond(name: str, variant: str, first: int, where: Measured = data) -> Reading:
        return over_seeds(name, values_S(variant, first, where), "plain")

    def measures(variant: str) -> Measures:
        return {f"share_beyond_null_from_{k}": measure(beyond("share", variant, k)) for k in (8, 1)}

    def at_embedding(first: int) -> Reading:
        name = f"from position {first}, embedding layer"
        return attempt(name, lambda: beyond(name, METHOD, first, data.embedding()))

    context = {
        "normalised information from position 1, median over features": "information_1",
        "normalised information from position 8, median over features": "information_8",
        "share that depends on tokens since a line break": "positional_share_since_newline",
        "share that depends on tokens since a speaker": "positional_share_since_speaker",
        "share from position 8 at equal distance from a line break": "positional_share_8_given_newline",
    }
    return Evidence(
        (
            *(beyond(f"from position {k}", METHOD, k) for k in (8, 1)),
            *(beyond(f"from position 8, layer {layer}", METHOD, 8, data.at(layer)) for layer in data.layers),
        ),
        controls={v: attempt(v, lambda v=v: beyond(f"from position 8, {v}", v, 8)) for v in CONTROLS},
        differences=differences(CONTROLS, lambda v: values_S(v, 8)),
        context=(*_readings(data, context), *(() if data.position_is_input else map(at_embedding, (8, 1)))),
        measures=measures(METHOD),
        control_measures=for_controls(CONTROLS, measures),
        null=0.0,
    )


def masks(data: Measured) -> Evidence:
    """C20: what is lost when a feature's mask is moved to other positions, and do seeds agree on masks?

    Seeds share windows and the order of the batches, and masks can agree for that reason alone. Agreement between seeds
    that do not share them stands beside it; it was measured after the rule was registered and decides nothing.
    """

    def measures(variant: str) -> Measures:
        found = _measures(data, variant, {"fvu_rise_when_shuffled": "fvu_rise_shuffled"})
        found["seed_mask_correlation"] = _of_pairs_measure(data, variant, "seed_mask_correlation")
        rise, agreement = found.values()
        either = rise.low > RISE or agreement.low > AGREEMENT
        neither = rise.high <= RISE and agreement.high <= AGREEMENT
        return {**found, "either_of_the_two": truth(True if either else False if neither else None)}

    readings = {
        "mask shuffled": "fvu_rise_shuffled",
        "mask replaced by its mean": "fvu_rise_mean",
        "mask thresholded": "fvu_rise_hard",
        "mask thresholded at half its maximum": "fvu_rise_gauge_hard",
    }
    return Evidence(
        (
            *_readings(data, readings),
            _of_pairs(data, MASKS_AGREE, METHOD, "seed_mask_correlation"),
            *_readings(data, {"correlation of a mask and its feature's firing": "mask_profile_correlation"}),
        ),
        controls=_controls(data, "mask shuffled", "fvu_rise_shuffled", (SHUFFLED,)),
        differences=_differences(data, "fvu_rise_shuffled", (SHUFFLED,)),
        context=(
            *_pairs(data),
            _of_pairs(data, f"{MASKS_AGREE}, {SHUFFLED}", SHUFFLED, "seed_mask_correlation"),
            *_own_data(data, "own_order"),
            *_own_data(data, "own_windows"),
        ),
        measures=measures(METHOD),
        control_measures=for_controls((SHUFFLED,), measures),
        null=0.0,
    )


def interpretability(data: Measured) -> Evidence:
    """C34: are positional features less tied to tokens than other features of equal density?

    The proxy: the share of a feature's firings on its most frequent token. No language model judges explanations here.
    p is that of a loss of MARGIN or more, one-sided (non-inferiority).
    """

    def values_S(variant: str) -> np.ndarray:
        try:
            other, own = (data.value(variant, f"token_share_{kind}") for kind in ("other", "positional"))
        except Missing as missing:
            why = "it is left out where too few features of either kind have equal density"
            raise Missing(f"{missing}; {why}") from None
        return (other - own).mean(axis=0)

    def loss(name: str, variant: str) -> Reading:
        return over_seeds(name, values_S(variant), "plain")

    def measures(variant: str) -> Measures:
        return {"loss_upper_limit": measure(loss(variant, variant))}

    first = loss("token share lost by positional features", METHOD)
    readings = {
        "token share of positional features": "token_share_positional",
        "token share of other features": "token_share_other",
    }
    return Evidence(
        (dataclasses.replace(first, p=first.interval.equivalence_p(-float("inf"), MARGIN)), *_readings(data, readings)),
        controls={SHUFFLED: attempt(SHUFFLED, lambda: loss(f"{first.name}, {SHUFFLED}", SHUFFLED))},
        differences=differences((SHUFFLED,), values_S),
        measures=measures(METHOD),
        control_measures=for_controls((SHUFFLED,), measures),
        null=MARGIN,
    )
