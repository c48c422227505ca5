"""C10, C17 to C20, C34: are there features that specialise by position, do they form groups, and what do masks do?"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from paper.evidence.compare import UNKNOWN, beside_controls, by_layer, mean_over_layers, of_metrics, paired, truth
from paper.evidence.measured import METHOD, NULL, Measured, Missing
from paper.evidence.readings import Evidence, Measures, Reading, attempt, measure, over_seeds
from paper.verdicts import Measure

RISE, AGREEMENT = 0.02, 0.5  # the thresholds of C20, of which either was enough for `partly` until it was amended
LEAST_SEEDS = 3  # whose pairs have a spread
MASKS_AGREE = "correlation of matched masks between seeds"
MARGIN = 0.2  # part of other features' share of firings on one token that may be lost and still count as no worse
MARGIN_OF_SHARE = 0.05  # the same in shares of firings, until it was amended


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
    readings = {
        f"{MASKS_AGREE}, {own}": (METHOD, "mask_correlation"),
        f"{MASKS_AGREE}, {own}, {NULL}": (NULL, "mask_correlation"),
        f"{MASKS_AGREE}, {own}, next position": (METHOD, "mask_correlation_next"),
        f"features shared by a pair of seeds, {own}": (METHOD, "pairs"),
    }
    found = (
        attempt(name, lambda name=name, at=at: _of_pairs(data.ablated(), name, at[0], f"{kind}_{at[1]}"))
        for name, at in readings.items()
    )
    beyond = f"{MASKS_AGREE}, {own}, {METHOD} - {NULL}"
    return (*found, paired(beyond, lambda v: data.ablated().value(v, metric).mean(axis=0), METHOD, NULL))


def _pairs(data: Measured) -> tuple[Reading, ...]:
    """How many features a pair of seeds shares, where that is in the tables."""
    named = {"features shared by a pair of seeds": "seed_pairs"}
    return of_metrics(data, named) if data.has(METHOD, "seed_pairs") else ()


def sharpening(data: Measured) -> Evidence:
    """C10: sharp masks that moved, and that two seeds agree on."""

    def measures(variant: str) -> Measures:
        found = _measures(data, variant, {"sharp_share": "sharp_share", "drift_in_initial_sd": "mask_drift"})
        return found | {"seed_mask_correlation": _of_pairs_measure(data, variant, "seed_mask_correlation")}

    return beside_controls(
        "sharp share of mask values",
        lambda v: data.value(v, "sharp_share").mean(axis=0),
        *of_metrics(data, {"drift in units of the initial spread": "mask_drift"}),
        _of_pairs(data, MASKS_AGREE, METHOD, "seed_mask_correlation"),
        _of_pairs(data, "the same for random pairs", METHOD, "seed_mask_correlation_null"),
        controls=(NULL,),
        control="sharp share, {}",
        context=_pairs(data),
        measures=measures,
    )


def groups(data: Measured) -> Evidence:
    """C17: does any partition of the features' profiles beat one group, and does it come back on resampled text?"""
    metrics = {
        "clusters_favoured": "clusters_favoured",
        "clusters_with_jaccard_075": "clusters_stable",
        "silhouette": "cluster_silhouette_best",
    }
    readings = {
        "clusters with a Jaccard index of 0.75 or more": "clusters_stable",
        "largest silhouette of 2 to 10 clusters": "cluster_silhouette_best",
        "cophenetic correlation": "cluster_cophenetic",
    }
    return beside_controls(
        "clusters favoured by the gap statistic",
        lambda v: data.value(v, "clusters_favoured").mean(axis=0),
        *of_metrics(data, readings),
        control="clusters favoured, {}",
        measures=lambda v: _measures(data, v, metrics),
    )


def consistency(data: Measured) -> Evidence:
    """C18: is the correlation within five clusters above that of clustered chance, and do seeds agree on the groups?"""

    def beyond(variant: str) -> np.ndarray:
        difference = data.value(variant, "cluster_consistency") - data.value(variant, "cluster_consistency_null")
        return difference.mean(axis=0)

    def measures(variant: str) -> Measures:
        above = measure(over_seeds("above its null", beyond(variant), "plain"))
        return {
            "consistency_above_null": above,
            "adjusted_rand_index": _of_pairs_measure(data, variant, "cluster_seed_ari"),
        }

    readings = {
        "consistency as the paper reads it": "cluster_consistency",
        "the same of shifted profiles": "cluster_consistency_null",
    }
    return beside_controls(
        "consistency above its null",
        beyond,
        _of_pairs(data, "adjusted Rand index between seeds", METHOD, "cluster_seed_ari"),
        *of_metrics(data, readings),
        context=_pairs(data),
        measures=measures,
        null=0.0,
    )


def positional(data: Measured) -> Evidence:
    """C19: the share of features whose firing depends on position, beyond the share that the same procedure finds in
    permuted labels."""

    def values_S(variant: str, first: int = 8, where: Measured = data) -> np.ndarray:
        share, null = (where.value(variant, f"positional_share_{first}{end}") for end in ("", "_null"))
        return (share - null).mean(axis=0)

    def beyond(name: str, first: int, where: Measured = data, variant: str = METHOD) -> Reading:
        return over_seeds(name, values_S(variant, first, where), "plain")

    def at_embedding(first: int) -> Reading:
        name = f"from position {first}, embedding layer"
        return attempt(name, lambda: beyond(name, first, data.embedding()))

    context = {
        "normalised information from position 1, median over features": "information_1",
        "normalised information from position 8, median over features": "information_8",
        "share that depends on tokens since a line break": "positional_share_since_newline",
        "share that depends on tokens since a speaker": "positional_share_since_speaker",
        "share from position 8 at equal distance from a line break": "positional_share_8_given_newline",
    }
    return beside_controls(
        "from position 8",
        values_S,
        beyond("from position 1", 1),
        *(beyond(f"from position 8, layer {layer}", 8, data.at(layer)) for layer in data.layers),
        context=(*of_metrics(data, context), *(() if data.position_is_input else map(at_embedding, (8, 1)))),
        measures=lambda v: {f"share_beyond_null_from_{k}": measure(beyond("", k, variant=v)) for k in (8, 1)},
        null=0.0,
    )


def masks(data: Measured) -> Evidence:
    """C20: what is lost when a feature's mask is moved to other positions, and do seeds agree on masks?

    Seeds share windows and the order of the batches, and masks can agree for that reason alone. What the rule reads is
    the agreement between seeds that share neither, which is measured at the layers of the ablations.
    """
    ablated_layers = set(map(str, data.study.ablations.layers))

    def agreement_on_own_windows(variant: str) -> Measure:
        here = set(data.layers) <= ablated_layers
        return _of_pairs_measure(data.ablated(), variant, "own_windows_mask_correlation") if here else UNKNOWN

    def measures(variant: str) -> Measures:
        found = _measures(data, variant, {"fvu_rise_when_shuffled": "fvu_rise_shuffled"})
        found["seed_mask_correlation"] = _of_pairs_measure(data, variant, "seed_mask_correlation")
        rise, agreement = found.values()
        either = rise.low > RISE or agreement.low > AGREEMENT
        neither = rise.high <= RISE and agreement.high <= AGREEMENT
        found["own_windows_mask_correlation"] = agreement_on_own_windows(variant)
        return {**found, "either_of_the_two": truth(True if either else False if neither else None)}

    readings = {
        "mask replaced by its mean": "fvu_rise_mean",
        "mask thresholded": "fvu_rise_hard",
        "mask thresholded at half its maximum": "fvu_rise_gauge_hard",
    }
    return beside_controls(
        "mask shuffled",
        lambda v: data.value(v, "fvu_rise_shuffled").mean(axis=0),
        *of_metrics(data, readings),
        _of_pairs(data, MASKS_AGREE, METHOD, "seed_mask_correlation"),
        *of_metrics(data, {"correlation of a mask and its feature's firing": "mask_profile_correlation"}),
        controls=(NULL,),
        context=(
            *by_layer(data, "mask shuffled", data.value(METHOD, "fvu_rise_shuffled"), "plain")[1:],
            *_pairs(data),
            _of_pairs(data, f"{MASKS_AGREE}, {NULL}", NULL, "seed_mask_correlation"),
            *_own_data(data, "own_order"),
            *_own_data(data, "own_windows"),
        ),
        measures=measures,
        null=0.0,
    )


def interpretability(data: Measured) -> Evidence:
    """C34: are positional features less tied to tokens than other features of equal density, as a part of what these
    are?

    The proxy: the share of a feature's firings on its most frequent token. No language model judges explanations here.
    p is that of a loss of the margin or more, one-sided (non-inferiority).
    """
    return _interpretability(data, lambda other, own: 1 - own / other, MARGIN)


def interpretability_by_share(data: Measured) -> Evidence:
    """C34 until it was amended: the loss in shares of firings, whatever share there is to lose."""
    return _interpretability(data, lambda other, own: other - own, MARGIN_OF_SHARE)


def _interpretability(data: Measured, loss_of: Callable, margin: float) -> Evidence:
    def values_S(variant: str) -> np.ndarray:
        try:
            other, own = (data.value(variant, f"token_share_{kind}") for kind in ("other", "positional"))
        except Missing as missing:
            why = "it is left out where too few features of either kind have equal density"
            raise Missing(f"{missing}; {why}") from None
        return loss_of(other, own).mean(axis=0)

    readings = {
        "token share of positional features": "token_share_positional",
        "token share of other features": "token_share_other",
    }
    found = beside_controls(
        "token share lost by positional features",
        values_S,
        *of_metrics(data, readings),
        controls=(NULL,),
        measures=lambda v: {"loss_upper_limit": measure(over_seeds("", values_S(v), "plain"))},
        null=margin,
    )
    loss, *others = found.readings
    p = loss.known.equivalence_p(-float("inf"), margin)
    return dataclasses.replace(found, readings=(dataclasses.replace(loss, p=p), *others))
