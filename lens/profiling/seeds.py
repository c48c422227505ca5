"""Do the features of two seeds agree? Matched features of every pair of seeds, as rows of the table `summary`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lens.dictionaries.dictionary import Dictionary
from lens.measure import matching, spans
from lens.measure.masks import mask_of
from lens.measure.matching import Matching
from lens.measure.position_information import MIN_FIRINGS
from lens.measure.profiles import Profile, position_labelling, profile
from lens.profiling.tables import SUMMARY

MIN_PAIRS = 20  # shared features of two seeds; fewer say nothing about how features agree
MASKS = ("pairs", "mask_correlation", "mask_correlation_null", "mask_correlation_next", "profile_correlation")
"""Measures of `mask_agreement`."""


def pair_rows(variant: str, seeds: Sequence[int], found: Mapping[tuple[int, int], Mapping[str, float]]) -> list[tuple]:
    """Rows of the table `summary`: a value per seed and measure, jackknife pseudo-values over pairs of seeds.

    Args:
        found: what each pair of seeds has in common, by name of the measure; one that some pair lacks is nan.
    """
    place = {s: i for i, s in enumerate(seeds)}
    values: dict[str, np.ndarray] = {}
    for (a, b), measures in found.items():
        for name, value in measures.items():
            table = values.setdefault(name, np.full((len(seeds), len(seeds)), np.nan))
            table[place[a], place[b]] = table[place[b], place[a]] = value
    return [
        (variant, s, "text", name, value, 1, "jackknife pseudo-value over pairs of seeds")
        for name, values_SS in values.items()
        for s, value in zip(seeds, matching.seed_values(values_SS), strict=True)
    ]


def match(a: Dictionary, b: Dictionary) -> Matching:
    """The features of two dictionaries matched by their directions (see `lens.measure.matching.match`)."""
    return matching.match(*(w.detach().float().numpy() for sae in (a, b) for w in (sae.W_dec, sae.W_enc)))


def eligible(found: Profile) -> np.ndarray:
    """Which features fire often enough at text positions, and not always, for their profile to mean something [K]."""
    firings = found.firings_TK.sum(0)
    return (firings >= MIN_FIRINGS) & (firings < found.windows * len(found.firings_TK))


def mask_agreement(
    kind: str, variant: str, dictionaries: Mapping[int, Dictionary], activations: Tensor
) -> pd.DataFrame:
    """What masks and profiles of every pair of seeds have in common on held-out activations [n, T, d].

    Args:
        dictionaries: of one variant, by seed, at least three.

    Returns:
        Rows of the table `summary`, `kind` before the names of `MASKS`: `_pairs` and, if every pair of seeds shares
        `MIN_PAIRS` features, `_mask_correlation`, `_mask_correlation_null` over random pairs, `_mask_correlation_next`
        with the other seed's mask moved by one position, and `_profile_correlation`.
    """
    n, T, _ = activations.shape
    text = {"text": position_labelling(n, T, 1)}
    profiles = profile(
        dictionaries, activations, torch.zeros(n, dtype=torch.long), 1, text, permutations=1, profile_permutations=1,
        lags=1,
    )  # fmt: skip
    masks = {s: None if (mask := mask_of(sae)) is None else mask[1:] for s, sae in dictionaries.items()}
    smooth = {s: spans.smooth(found.firings_TK) for s, found in profiles.items()}
    fires = {s: eligible(found) for s, found in profiles.items()}

    def compare(i: int, j: int) -> dict[str, float]:
        pair, (a, b) = match(dictionaries[i], dictionaries[j]), (masks[i], masks[j])
        found = [
            matching.agreement(pair, (smooth[i], smooth[j]), (fires[i], fires[j]), both)
            for both in ([None] if a is None or b is None else [(a, b), (a[:-1], b[1:]), (a[1:], b[:-1])])
        ]
        same = found[0]
        if same.n_pairs < MIN_PAIRS:
            return {f"{kind}_pairs": float(same.n_pairs)}
        next_to = np.mean([moved.mask_r.mean for moved in found[1:]]) if found[1:] else np.nan
        values = (same.n_pairs, same.mask_r.mean, same.mask_r.null, next_to, same.profile_r.mean)
        return {f"{kind}_{name}": float(value) for name, value in zip(MASKS, values, strict=True)}

    seeds = list(dictionaries)
    found = {(i, j): compare(i, j) for i, j in combinations(seeds, 2)}
    return pd.DataFrame(pair_rows(variant, seeds, found), columns=SUMMARY).dropna(subset="value")
