"""Do two seeds agree on the masks of a feature when they do not share their training data?

All other runs of a layer share their windows and one order of batches. What the masks of two seeds owe to these they
have in common, and need no position for it: masks trained on shuffled positions agree by the shared order alone. Here
every seed has an order of its own, and then windows of its own as well: at a position it sees other tokens than the
other seeds.
"""

from __future__ import annotations

import pandas as pd

from lens.dictionaries.dictionary import Dictionary
from lens.profiling.layer_data import LayerData
from lens.profiling.seeds import mask_agreement
from lens.profiling.tables import SUMMARY, Key
from lens.study.params import Study
from lens.training.train import train_layer

KINDS = ("own_order", "own_windows")
"""What a seed has for itself: the order of the batches, or a disjoint share of the windows and their order."""
LEAST_SEEDS = 3  # fewer give one pair, which has no spread


def compared(study: Study) -> tuple[str, ...]:
    """The variants that are compared: the method and its null, if the study has them."""
    return tuple(v for v in (study.roles.method, study.roles.null) if v)


def own_data_table(study: Study, data: LayerData) -> pd.DataFrame:
    """Agreement between the ablation seeds of the method and of its null, trained on data of their own.

    Returns:
        Rows of the table `summary`, see `lens.profiling.seeds.mask_agreement`; none with fewer than `LEAST_SEEDS`
        seeds, which are then not trained, and none of `own_windows` where a seed's share of the windows is less than a
        batch.

    Raises:
        StoreError: the activations are missing or altered.
        TrainingError: see `lens.training.train.train_layer`.
    """
    variants, seeds = compared(study), study.ablation_seeds
    if len(seeds) < LEAST_SEEDS or not variants:
        return pd.DataFrame(columns=SUMMARY)
    batch = max(study.train_recipe(variant).batch_windows for variant in variants)
    rows = []
    for kind in KINDS:
        if kind == "own_windows" and len(data.train.activations) // len(seeds) < batch:
            continue  # shares too small to train on; the claim then says that this was not measured
        trained = train(study, data, kind)
        for variant in variants:
            dictionaries = {seed: trained[variant, seed] for seed in seeds}
            rows.append(mask_agreement(kind, variant, dictionaries, data.test.activations))
    return pd.concat(rows, ignore_index=True)


def train(study: Study, data: LayerData, kind: str) -> dict[Key, Dictionary]:
    """The variants with the ablation seeds, each seed in an order that no other run has.

    Args:
        kind: one of `KINDS`. Of n windows and S seeds the i-th seed of `own_windows` has the windows i, i + S, ...
    """
    found, S = {}, len(study.ablation_seeds)
    for i, seed in enumerate(study.ablation_seeds):
        activations, digest = data.train.activations, data.train.manifest["sha256"]["train.safetensors"]
        if kind == "own_windows":
            activations, digest = activations[i::S], f"{digest}, windows {i}::{S}"
        trained = train_layer(
            activations, {v: study.train_recipe(v) for v in compared(study)}, (seed,),
            study.dictionaries("ablations", data.layer) / f"{kind}_{seed}", study.pool,
            data_digest=digest, model=study.model, layer=data.layer, order_seed=study.windows.seed + 1 + seed,
            log_every=study.training.log_every,
        )  # fmt: skip
        found |= {key: Dictionary.load(path, trust=True) for key, path in trained.folders.items()}
    return found
