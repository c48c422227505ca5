"""Activations of a layer with planted features that are tuned to position: how small a headroom a study would find.

Added are 32 random directions, each of which fires by chance at a rate that belongs to the position: in a window of 16
positions, in one of 64, or along a ramp, of the given depth. All together have a given share of the variance of
ordinary tokens. Everything else is as it was; what dictionaries gain more than in the layer itself is due to them.
"""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import torch
from torch import Tensor

from lens.activations.store import LayerStore
from lens.errors import ConfigError
from lens.measure import synthetic
from lens.measure.reconstruction import OUTLIER
from lens.profiling.layer_data import LayerData
from lens.study.params import Planted

FEATURES = 32
DENSITIES = (0.01, 0.1)
"""of firing; the highest is what a window of 16 of 127 positions allows"""
SPLITS = ("", "train", "test")  # by their place a random stream of their own, after that of the truth
WIDTHS = (16, 64, 0)  # of windows; 0: a ramp
SAMPLED = 4  # one training window in so many, for the variance
CHUNK = 64  # windows that are planted into at a time


def with_planted(data: LayerData, planted: Planted, seed: int) -> LayerData:
    """The same data with features added to training and held-out windows; directions, rates and firing by the seed.

    Raises:
        ConfigError: windows are too short for the planted ones.
    """
    if not planted.share:
        return data
    name = f"{data.layer}/planted-{100 * planted.share:g}-{100 * planted.depth:g}"
    said = {"planted": {**dataclasses.asdict(planted), "seed": seed}}

    def opened(split: str) -> LayerStore:
        store, train = getattr(data, split), data.train.activations
        T, d = train.shape[1:]
        truth, firing = np.random.default_rng((seed, 0)), np.random.default_rng((seed, SPLITS.index(split)))
        rate_PK = rates(T - 1, planted.depth, truth)
        rows_KD = directions(rate_PK, planted.share * variance(train[::SAMPLED]), d, truth)
        digests = {file: f"{sha256} {json.dumps(said)}" for file, sha256 in store.manifest["sha256"].items()}
        x = added(store.activations, rate_PK, rows_KD, firing)
        return dataclasses.replace(store, activations=x, manifest={**store.manifest, **said, "sha256": digests})

    describe = data.describe
    return LayerData(name, opened, None if describe is None else lambda: {**describe(), **said})


def rates(P: int, depth: float, rng: np.random.Generator) -> np.ndarray:
    """[P, 32] probability of firing at each text position: windows of 16 and of 64, and ramps, in turn.

    Raises:
        ConfigError: fewer positions than the longest window has.
    """
    if max(WIDTHS) > P:
        raise ConfigError(
            f"planted features have windows of up to {max(WIDTHS)} positions, those of the text have {P}: set "
            f"windows.length to {max(WIDTHS) + 1} or more, or plant nothing"
        )
    shapes = []
    for j in range(FEATURES):
        width, rising = WIDTHS[j % len(WIDTHS)], rng.random() < 0.5
        ramp = synthetic.ramp(P) if rising else 1 - synthetic.ramp(P)
        shapes.append(synthetic.bump(P, int(rng.integers(1, P - width + 2)), width) if width else ramp)
    density = np.exp(rng.uniform(np.log(DENSITIES[0]), np.log(DENSITIES[1]), FEATURES))
    return synthetic.rates(np.stack(shapes, axis=1), np.full(FEATURES, depth), density)


def directions(rate_PK: np.ndarray, variance: float, d: int, rng: np.random.Generator) -> np.ndarray:
    """[32, d] random directions, of sizes with which all features add this variance, each as much as any other."""
    rows = rng.normal(size=(FEATURES, d))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    density, half_normal = rate_PK.mean(0), np.sqrt(2 / np.pi)
    mean, square = half_normal + synthetic.OFFSET, 1 + 2 * synthetic.OFFSET * half_normal + synthetic.OFFSET**2
    return rows * np.sqrt(variance / FEATURES / (square * density - np.square(mean * density)))[:, None]


def variance(activations: Tensor) -> float:
    """Of ordinary text tokens of windows [n, T, d], summed over coordinates."""
    x = activations[:, 1:].float().flatten(0, 1)
    squared = x.square().sum(1)
    return float(x[squared <= OUTLIER**2 * squared.median()].var(0).sum())


def added(activations: Tensor, rate_PK: np.ndarray, rows_KD: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Windows [n, T, d] with |N(0, 1)| + 1/2 times its row added at text positions where a feature fires, in bf16."""
    out, rows = activations.clone(), torch.from_numpy(rows_KD).float()
    position = np.arange(1, len(rate_PK) + 1)
    for part in out.split(CHUNK):
        level = synthetic.levels(len(part), len(position), np.zeros(FEATURES), rng)
        size = np.abs(rng.standard_normal(level.shape, np.float32)) + np.float32(synthetic.OFFSET)
        code = torch.from_numpy(size * synthetic.fires(level, rate_PK, position))
        part[:, 1:] = (part[:, 1:].float() + code @ rows).to(part.dtype)
    return out
