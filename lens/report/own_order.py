"""Do two seeds agree on the masks of a feature when each of them saw the training text in an order of its own?

All other runs of a layer share one order of batches. Whatever the masks of two seeds owe to it they have in common, and
so do those of dictionaries trained on shuffled positions, which have no position to agree on.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd
from torch import Tensor, zeros

from lens.activations.extract import store_for
from lens.activations.store import open_layer
from lens.config import Layer, Study
from lens.measure import matching, spans
from lens.measure.layer import SUMMARY
from lens.measure.layer_features import MIN_PAIRS
from lens.measure.position_information import MIN_FIRINGS
from lens.measure.profiles import Profile, position_labelling, profile
from lens.sae.model import SAE
from lens.sae.presets import train_config
from lens.sae.train import train_layer

COMPARED = ("temporallens", "shuffled_positions")
LEAST_SEEDS = 3  # fewer give one pair, which has no spread


def own_order_table(study: Study, layer: Layer) -> pd.DataFrame:
    """Agreement between the ablation seeds of TemporalLens and of its control, trained in different orders.

    Returns:
        Rows of the table `summary`, see `agreement_table`; none with fewer than `LEAST_SEEDS` seeds, which are then not
        trained.

    Raises:
        StoreError: the activations are missing or altered.
        TrainingError: see `lens.sae.train.train_layer`.
    """
    variants = [v for v in COMPARED if v in study.variants]
    if len(study.ablation_seeds) < LEAST_SEEDS or not variants:
        return pd.DataFrame(columns=SUMMARY)
    dictionaries = train(study, layer, variants)
    test = open_layer(store_for(study, layer), layer, "test")
    rows = [
        agreement_table(variant, {s: dictionaries[variant, s] for s in study.ablation_seeds}, test.activations)
        for variant in variants
    ]
    return pd.concat(rows, ignore_index=True)


def train(study: Study, layer: Layer, variants: list[str]) -> dict[tuple[str, int], SAE]:
    """The variants with the ablation seeds, each seed in an order of its own and in none of the other runs' order."""
    folder = store_for(study, layer)
    store = open_layer(folder, layer, "train")
    overrides = {"expansion": study.dictionary.expansion, **study.training.overrides}
    configs = {v: train_config(study.dictionary.preset, v, study.training.steps, overrides) for v in variants}
    found = {}
    for seed in study.ablation_seeds:
        trained = train_layer(
            store.activations, configs, (seed,), study.dictionaries("ablations", layer) / f"own_order_{seed}",
            study.pool, data_digest=store.manifest["sha256"]["train.safetensors"], model=study.model, layer=layer,
            order_seed=study.windows.seed + 1 + seed, log_every=study.training.log_every,
        )  # fmt: skip
        found |= {key: SAE.load(path) for key, path in trained.folders.items()}
    return found


def agreement_table(variant: str, dictionaries: Mapping[int, SAE], activations: Tensor) -> pd.DataFrame:
    """What matched features of every pair of seeds have in common on held-out activations [n, T, d].

    Args:
        dictionaries: by seed, at least three.

    Returns:
        Rows of the table `summary`: `own_order_pairs`, and if every pair of seeds shares `MIN_PAIRS` features the
        correlations `own_order_mask_correlation`, `own_order_profile_correlation` and the former's null over random
        pairs, `own_order_mask_correlation_null`. A value per seed: jackknife pseudo-values over pairs.
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
        (variant, s, "text", name, value, 1, "jackknife pseudo-value over pairs of seeds")
        for name, values_SS in values.items()
        for s, value in zip(seeds, matching.seed_values(values_SS), strict=True)
    ]
    return pd.DataFrame(rows, columns=SUMMARY).dropna(subset="value")


def _agreement(pair: list[tuple[SAE, Profile]]) -> dict[str, float]:
    """What two dictionaries agree on, given the profile of each."""
    weights = [w.detach().float().numpy() for sae, _ in pair for w in (sae.W_dec, sae.W_enc)]
    smooth = tuple(spans.smooth(found.firings_TK) for _, found in pair)
    firings = [found.observed["text"].sum(0) for _, found in pair]
    tokens = pair[0][1].bin_sizes["text"].sum()
    eligible = tuple((count >= MIN_FIRINGS) & (count < tokens) for count in firings)
    masks = tuple(sae.mask().detach().float().numpy()[1:] for sae, _ in pair)
    found = matching.agreement(matching.match(*weights), smooth, eligible, masks)
    enough = found.n_pairs >= MIN_PAIRS
    return {
        "own_order_pairs": float(found.n_pairs),
        "own_order_mask_correlation": found.mask_r.mean if enough else np.nan,
        "own_order_mask_correlation_null": found.mask_r.null if enough else np.nan,
        "own_order_profile_correlation": found.profile_r.mean if enough else np.nan,
    }
