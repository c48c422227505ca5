"""Dictionaries of activations in which position has a known share: what the headroom's definition answers there."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lens.activations.store import LayerStore
from lens.dictionaries.architectures.batch_topk import BatchTopK
from lens.dictionaries.dictionary import Dictionary
from lens.dictionaries.parts import name_of
from lens.measure.headroom import error_rows
from lens.profiling.layer_data import LayerData
from lens.study import equal_l0
from lens.study.headroom import measured
from lens.training.recipe import build
from lens.training.train import train_layer

N, T, D, FEATURES, K = 192, 33, 16, 24, 3
RECIPE = {
    "architecture": name_of(BatchTopK), "k": K, "expansion": 2, "position_weights": "uniform", "input_centre": "mean",
    "lr": 1e-2, "lr_decay": 0.3, "steps": 100, "precision": "fp32",
}  # fmt: skip
VARIANTS = {
    "blind": {"position": "none"},
    "centred": {"position": "centred"},
    "centred_permuted": {"position": "centred", "positions": "shuffled"},
}


def toy_errors(share: float, seeds: int) -> pd.DataFrame:
    """Rows that `lens.measure.headroom.headroom` takes, of the variants blind, centred and centred_permuted.

    Each vector is the sum of a few of 24 directions and of a vector of its position, which turns in two dimensions and
    has `share` of the variance.
    """
    rows = []
    for seed in range(seeds):
        data = LayerData(
            "toy", {split: _store(share, seed, i) for i, split in enumerate(("train", "test"))}.__getitem__
        )
        recipes = {variant: build({**RECIPE, **fields}) for variant, fields in VARIANTS.items()}
        with TemporaryDirectory() as folder:
            trained = train_layer(
                data.train.activations, recipes, [seed], Path(folder) / "dictionaries", Path(folder),
                data_digest=f"toy {share} {seed}", layer="toy", device="cpu",
            )  # fmt: skip
            for (variant, _), path in trained.folders.items():
                x = data.test.activations
                x = equal_l0.permuted(x) if recipes[variant].positions == "shuffled" else x
                found = measured(data, Dictionary.load(path), x, K)["errors"].items()
                rows += [error_rows(sums).assign(variant=variant, seed=seed, arrangement=name) for name, sums in found]
    return pd.concat(rows, ignore_index=True)


def _store(share: float, seed: int, split: int) -> LayerStore:
    rng, fixed = np.random.default_rng((seed, split)), np.random.default_rng(seed)
    directions = fixed.normal(size=(FEATURES, D)) / np.sqrt(D)
    turn = np.linspace(0, 4 * np.pi, T)[:, None]
    place = (np.cos(turn) * fixed.normal(size=D) + np.sin(turn) * fixed.normal(size=D)) / np.sqrt(D)
    codes = np.abs(rng.normal(size=(N, T, FEATURES))) * (rng.random((N, T, FEATURES)) < K / FEATURES)
    features = codes @ directions
    parts = [part / np.sqrt(part.reshape(-1, D).var(0).sum()) for part in (features, place)]
    x = torch.from_numpy(np.sqrt(1 - share) * parts[0] + np.sqrt(share) * parts[1]).bfloat16()
    document = torch.arange(N) % 4
    return LayerStore(x, _zeros(N, T), document, _zeros(N), tuple("abcd"), {})


def _zeros(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.int32)
