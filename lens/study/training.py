"""The training stage of one layer: from the activation store to dictionaries and their tables."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from lens.dictionaries.dictionary import Dictionary
from lens.measure.masks import mask_of
from lens.profiling.layer_data import LayerData
from lens.study.layer_data import Kind, asked
from lens.study.params import Study
from lens.training.train import Trained, train_layer

LOG_DIR = "LENS_LOG_DIR"  # in the environment, which DVC doesn't record: logs decide nothing


def train(study: Study, data: LayerData, kind: Kind = "dictionaries") -> Trained:
    """Train the study's variants (or its ablations) with all its seeds on one layer.

    With LENS_LOG_DIR in the environment, TensorBoard's events are written to `<study>/<kind>/layer_<l>` below it.

    Raises:
        StoreError: the activations are missing or altered.
        TrainingError: see `lens.training.train.train_layer`.
        ModuleNotFoundError: LENS_LOG_DIR without TensorBoard.
    """
    logs = os.environ.get(LOG_DIR)
    variants, seeds = asked(study, data.layer, kind)
    return train_layer(
        data.train.activations,
        {v: study.train_recipe(v) for v in variants},
        seeds,
        study.dictionaries(kind, data.layer),
        study.pool,
        data_digest=data.train.manifest["sha256"]["train.safetensors"],
        model=study.model,
        layer=data.layer,
        bos=study.windows.bos,
        order_seed=study.windows.seed,
        log_every=study.training.log_every,
        log_dir=Path(logs) / study.name / kind / f"layer_{data.layer}" if logs else None,
    )


def train_for_trial(study: Study, data: LayerData) -> None:
    """Train the dictionaries of a layer that is tried out; finished ones come from the pool. Raises as `train` does."""
    if study.out is not None:
        train(study, data)


def training_tables(trained: Trained, curves: bool = True) -> dict[str, pd.DataFrame]:
    """The tables `history`, `positions` and `summary` of a training run and, with `curves`, also `position_weights` and
    `masks`, which are large."""
    late = trained.late_weights.assign(metric="position_weight", n=1, unit="weight, mean 1")
    summary = pd.concat([trained.summary, late_errors(trained.history)]).assign(positions="text", n=1, unit="")
    tables = {
        "history": trained.history,
        "positions": late[["variant", "seed", "position", "metric", "value", "n", "unit"]],
        "summary": summary[["variant", "seed", "positions", "metric", "value", "n", "unit"]],
    }
    if curves:
        tables |= {"position_weights": trained.position_weights, "masks": masks_table(trained)}
    return tables


def late_errors(history: pd.DataFrame) -> pd.DataFrame:
    """`late_mse` of each run: its mean squared error over the logged steps in the last tenth of its steps, per token of
    its own batches, inputs scaled as in training. Runs of one seed see the same windows, so errors are paired.

    Args:
        history: variant, seed, step, metric, value; the last step is logged.

    Returns:
        variant, seed, metric, value.
    """
    steps = history.groupby(["variant", "seed"])["step"].transform("max") + 1
    late = history[(history["metric"] == "mse") & (history["step"] >= steps * 9 // 10)]
    return late.groupby(["variant", "seed"], as_index=False)["value"].mean().assign(metric="late_mse")


def masks_table(trained: Trained) -> pd.DataFrame:
    """Final masks of the first seed of each masked variant, one row per feature, columns p000, p001, ..."""
    first_seed = min(seed for _, seed in trained.folders)
    parts = []
    for (variant, seed), folder in trained.folders.items():
        if seed != first_seed or (mask := mask_of(Dictionary.load(folder, trust=True))) is None:
            continue
        mask = mask.round(3)
        part = pd.DataFrame(mask.T, columns=[f"p{t:03d}" for t in range(len(mask))])
        part.insert(0, "variant", variant)
        part.insert(1, "seed", seed)
        part.insert(2, "feature", range(len(part)))
        parts.append(part)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["variant", "seed", "feature"])
