"""Do two seeds agree on the masks of a feature when they do not share their training data?

All other runs of a layer share their windows and one order of batches. What the masks of two seeds owe to these they
have in common, and need no position for it: masks trained on shuffled positions agree by the shared order alone. Here
every seed has an order of its own, and then windows of its own as well: at a position it sees other tokens than the
other seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd
from torch import Tensor, zeros

from lens.activations.layers import Layer
from lens.activations.store import open_layer
from lens.dictionaries.model import SAE
from lens.measure import matching, spans
from lens.measure.position_information import MIN_FIRINGS
from lens.measure.profiles import Profile, position_labelling, profile
from lens.profiling.layer import SUMMARY
from lens.profiling.layer_features import MIN_PAIRS
from lens.study.extraction import store_for
from lens.study.params import Study
from lens.training.presets import TrainConfig
from lens.training.train import train_layer

COMPARED = ("temporallens", "shuffled_positions")
KINDS = ("own_order", "own_windows")
"""What a seed has for itself: the order of the batches, or a disjoint share of the windows and their order."""
LEAST_SEEDS = 3  # fewer give one pair, which has no spread
MEASURES = ("pairs", "mask_correlation", "mask_correlation_null", "mask_correlation_next", "profile_correlation")


def own_data_table(study: Study, layer: Layer) -> pd.DataFrame:
    """Agreement between the ablation seeds of TemporalLens and of its control, trained on data of their own.

    Returns:
        Rows of the table `summary`, see `agreement_table`; none with fewer than `LEAST_SEEDS` seeds, which are then not
        trained, and none of `own_windows` where a seed's share of the windows is less than a batch.

    Raises:
        StoreError: the activations are missing or altered.
        TrainingError: see `lens.training.train.train_layer`.
    """
    if len(study.ablation_seeds) < LEAST_SEEDS or not recipes(study):
        return pd.DataFrame(columns=SUMMARY)
    folder = store_for(study, layer)
    windows = len(open_layer(folder, layer, "train").activations) // len(study.ablation_seeds)
    test = open_layer(folder, layer, "test")
    rows = []
    for kind in KINDS:
        if kind == "own_windows" and windows < max(config.batch_windows for config in recipes(study).values()):
            continue  # shares too small to train on; the claim then says that this was not measured
        trained = train(study, layer, kind)
        for variant in recipes(study):
            dictionaries = {seed: trained[variant, seed] for seed in study.ablation_seeds}
            rows.append(agreement_table(kind, variant, dictionaries, test.activations))
    return pd.concat(rows, ignore_index=True)


def recipes(study: Study) -> dict[str, TrainConfig]:
    """The recipe of each variant that is compared and that the study has."""
    return {variant: study.train_recipe(variant) for variant in COMPARED if variant in study.variants}


def train(study: Study, layer: Layer, kind: str) -> dict[tuple[str, int], SAE]:
    """The variants with the ablation seeds, each seed in an order that no other run has.

    Args:
        kind: one of `KINDS`. Of n windows and S seeds the i-th seed of `own_windows` has the windows i, i + S, ...
    """
    store = open_layer(store_for(study, layer), layer, "train")
    found, S = {}, len(study.ablation_seeds)
    for i, seed in enumerate(study.ablation_seeds):
        activations, digest = store.activations, store.manifest["sha256"]["train.safetensors"]
        if kind == "own_windows":
            activations, digest = activations[i::S], f"{digest}, windows {i}::{S}"
        trained = train_layer(
            activations, recipes(study), (seed,), study.dictionaries("ablations", layer) / f"{kind}_{seed}", study.pool,
            data_digest=digest, model=study.model, layer=layer, order_seed=study.windows.seed + 1 + seed,
            log_every=study.training.log_every,
        )  # fmt: skip
        found |= {key: SAE.load(path) for key, path in trained.folders.items()}
    return found


def agreement_table(kind: str, variant: str, dictionaries: Mapping[int, SAE], activations: Tensor) -> pd.DataFrame:
    """What matched features of every pair of seeds have in common on held-out activations [n, T, d].

    Args:
        dictionaries: by seed, at least three.

    Returns:
        Rows of the table `summary`, `kind` before their names: `_pairs` and, if every pair of seeds shares `MIN_PAIRS`
        features, `_mask_correlation`, `_mask_correlation_null` over random pairs, `_mask_correlation_next` with the
        other seed's mask moved by one position, and `_profile_correlation`. A value per seed: jackknife pseudo-values
        over pairs.
    """
    n, T, _ = activations.shape
    text = {"text": position_labelling(n, T, 1)}
    profiles = profile(
        dictionaries, activations, zeros(n, dtype=int), 1, text, permutations=1, profile_permutations=1, lags=1
    )
    seeds = list(dictionaries)
    values: dict[str, np.ndarray] = {}
    for (i, a), (j, b) in combinations(enumerate(seeds), 2):
        for name, value in _agreement([(dictionaries[s], profiles[s]) for s in (a, b)]).items():
            values.setdefault(name, np.full((len(seeds), len(seeds)), np.nan))[[i, j], [j, i]] = value
    rows = [
        (variant, s, "text", f"{kind}_{name}", value, 1, "jackknife pseudo-value over pairs of seeds")
        for name, values_SS in values.items()
        for s, value in zip(seeds, matching.seed_values(values_SS), strict=True)
    ]
    return pd.DataFrame(rows, columns=SUMMARY).dropna(subset="value")


def _agreement(pair: list[tuple[SAE, Profile]]) -> dict[str, float]:
    """What two dictionaries agree on, given the profile of each."""
    match = matching.match(*(w.detach().float().numpy() for sae, _ in pair for w in (sae.W_dec, sae.W_enc)))
    smooth = tuple(spans.smooth(found.firings_TK) for _, found in pair)
    tokens = pair[0][1].bin_sizes["text"].sum()
    firings = [found.observed["text"].sum(0) for _, found in pair]
    eligible = tuple((count >= MIN_FIRINGS) & (count < tokens) for count in firings)
    a, b = (sae.mask().detach().float().numpy()[1:] for sae, _ in pair)
    same = matching.agreement(match, smooth, eligible, (a, b))
    if same.n_pairs < MIN_PAIRS:
        return dict.fromkeys(MEASURES, np.nan) | {"pairs": float(same.n_pairs)}
    moved = [matching.agreement(match, smooth, eligible, masks) for masks in ((a[:-1], b[1:]), (a[1:], b[:-1]))]
    next_to = np.mean([found.mask_r.mean for found in moved])
    values = (same.n_pairs, same.mask_r.mean, same.mask_r.null, next_to, same.profile_r.mean)
    return dict(zip(MEASURES, map(float, values), strict=True))
