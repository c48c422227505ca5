"""The training stage of one layer: from the activation store to dictionaries and their tables."""

from __future__ import annotations

from typing import Literal

import pandas as pd

from lens.activations.layers import Layer
from lens.activations.store import open_layer
from lens.dictionaries.model import SAE
from lens.study.extraction import store_for
from lens.study.params import Study
from lens.training.train import Trained, train_layer


def train(study: Study, layer: Layer, kind: Literal["dictionaries", "ablations"] = "dictionaries") -> Trained:
    """Train the study's variants (or its ablations) with all its seeds on one layer.

    Raises:
        StoreError: the activations are missing or altered.
        TrainingError: see `lens.training.train.train_layer`.
    """
    store = open_layer(store_for(study, layer), layer, "train")
    variants = study.variants if kind == "dictionaries" else study.ablations.variants
    return train_layer(
        store.activations,
        {v: study.train_recipe(v) for v in variants},
        study.seeds_at(layer) if kind == "dictionaries" else study.ablation_seeds,
        study.dictionaries(kind, layer),
        study.pool,
        data_digest=store.manifest["sha256"]["train.safetensors"],
        model=study.model,
        layer=layer,
        order_seed=study.windows.seed,
        log_every=study.training.log_every,
    )


def training_tables(trained: Trained, curves: bool = True) -> dict[str, pd.DataFrame]:
    """The tables `history`, `positions` and `summary` of a training run and, with `curves`, also `position_weights` and
    `masks`, which are large."""
    late = trained.late_weights.assign(metric="position_weight", n=1, unit="weight, mean 1")
    summary = trained.summary.assign(positions="text", n=1, unit="")
    tables = {
        "history": trained.history,
        "positions": late[["variant", "seed", "position", "metric", "value", "n", "unit"]],
        "summary": summary[["variant", "seed", "positions", "metric", "value", "n", "unit"]],
    }
    if curves:
        tables |= {"position_weights": trained.position_weights, "masks": masks_table(trained)}
    return tables


def masks_table(trained: Trained) -> pd.DataFrame:
    """Final masks of the first seed of each masked variant, one row per feature, columns p000, p001, ..."""
    first_seed = min(seed for _, seed in trained.folders)
    parts = []
    for (variant, seed), folder in trained.folders.items():
        sae = SAE.load(folder)
        if seed != first_seed or not sae.config.masked:
            continue
        mask = sae.mask().detach().float().numpy().round(3)
        part = pd.DataFrame(mask.T, columns=[f"p{t:03d}" for t in range(len(mask))])
        part.insert(0, "variant", variant)
        part.insert(1, "seed", seed)
        part.insert(2, "feature", range(len(part)))
        parts.append(part)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["variant", "seed", "feature"])
