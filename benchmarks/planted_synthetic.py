"""More features than dimensions, some tuned to position, in activations that are their sum and noise alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.special import ndtr
from torch import Tensor

from benchmarks.planted_case import FLAT, NO_SOURCE, TUNED, Case, information
from lens.activations.offset_windows import TILES, OffsetWindows
from lens.activations.store import LayerStore
from lens.measure.synthetic import BOS_NORM

T, D, PER_KIND, DOCUMENTS = 64, 64, 16, 16
P = T - 1
DEPTHS = {"window, depth 1": 1.0, "window, depth .5": 0.5, "start, depth .8": 0.8, "ramp, depth .7": 0.7}
CORRELATIONS = {"flat": 0.3, "persistent": 0.9, "token": 0.0}
"""kinds that ignore position, by the correlation of their levels from one token to the next"""
KINDS = (*DEPTHS, *CORRELATIONS)
NOISE, STRETCHES, READINGS, TRAIN, TEST = 0.05, 64, 4, 2048, 384


@dataclass(frozen=True)
class World:
    """Planted features and their directions; activations are made of text and positions."""

    rate_PK: np.ndarray
    """probability of firing at positions 1..T-1"""
    persistence_K: np.ndarray
    directions: np.ndarray
    """[K, D] unit rows"""
    mean_PD: np.ndarray
    """a helix: what position adds to every vector, whatever the text"""
    bos: np.ndarray

    def text(self, n: int, places: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of n texts: levels in [0, 1] that decide firing, amplitudes, and noise of the vectors."""
        z = rng.normal(size=(n, places, len(self.persistence_K)))
        for s in range(1, places):
            z[:, s] = self.persistence_K * z[:, s - 1] + np.sqrt(1 - self.persistence_K**2) * z[:, s]
        return ndtr(z), np.abs(rng.normal(size=z.shape)) + 0.5, NOISE * rng.normal(size=(n, places, D))

    def features(self, level: np.ndarray, amplitude: np.ndarray) -> np.ndarray:
        return amplitude * (level < self.rate_PK)

    def windows(self, level, amplitude, noise) -> Tensor:
        """Activations [..., T, D] of texts [..., P, .] that are read from position 1."""
        x = self.features(level, amplitude) @ self.directions + noise + self.mean_PD
        bos = np.broadcast_to(self.bos, (*x.shape[:-2], 1, D))
        return torch.from_numpy(np.concatenate([bos, x], -2)).bfloat16()


def world(kind_K: np.ndarray, share: float, rng: np.random.Generator) -> World:
    """Draw features of these kinds; position's own part of the variance is `share`."""
    t = np.arange(P)
    rate = np.empty((P, len(kind_K)))
    for j, name in enumerate(kind_K):
        shape = np.ones(P)
        if name.startswith("window"):
            shape = (np.abs(t - rng.uniform(8, P - 8)) < 8).astype(float)
        elif name.startswith("start"):
            shape = (t < 8).astype(float)
        elif name.startswith("ramp"):
            shape = t / (P - 1) if rng.random() < 0.5 else 1 - t / (P - 1)
        profile = 1 - DEPTHS.get(name, 0) * (1 - shape)
        rate[:, j] = np.exp(rng.uniform(np.log(0.02), np.log(0.1))) * profile / profile.mean()
    persistence = np.array([CORRELATIONS.get(name, CORRELATIONS["flat"]) for name in kind_K])
    directions = rng.normal(size=(len(kind_K), D))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    axes = np.linalg.qr(rng.normal(size=(D, 4)))[0].T
    turn = np.linspace(0, 4 * np.pi, P)
    helix = np.stack([np.cos(turn), np.sin(turn), np.linspace(-1, 1, P)], 1) @ axes[:3]
    helix -= helix.mean(0)
    flat = World(rate.clip(max=0.9), persistence, directions, 0 * helix, BOS_NORM * axes[3])
    variance = flat.windows(*flat.text(64, P, rng))[:, 1:].float().flatten(0, 1).var(0).sum().item()
    scale = np.sqrt(variance * share / (1 - share) / np.square(helix).sum(1).mean())
    return World(flat.rate_PK, persistence, directions, scale * helix, flat.bos)


def case(share: float, seed: int) -> Case:
    """Activations in which position alone makes `share` of the variance."""
    rng = np.random.default_rng((seed, int(1000 * share)))
    kind = np.repeat(KINDS, PER_KIND)
    truth = world(kind, share, rng)
    train, text = truth.windows(*truth.text(TRAIN, P, rng)), truth.text(TEST, P, rng)
    names, tokens = tuple(map(str, range(DOCUMENTS))), torch.zeros(TEST, T, dtype=torch.int32)
    start, document = torch.zeros(TEST, dtype=torch.long), torch.arange(TEST) % DOCUMENTS
    test = LayerStore(truth.windows(*text), tokens, document, start, names, {})
    even = (rng.integers(P, size=(STRETCHES, 1)) + np.arange(READINGS) * P // READINGS) % P
    phase = rng.permuted(even, axis=1)
    drawn = OffsetWindows(
        np.zeros((STRETCHES, READINGS, TILES + 1, T), np.int32), phase, np.arange(STRETCHES) % DOCUMENTS, True
    )

    def read() -> Iterator[Tensor]:
        texts = np.random.default_rng((seed, int(1000 * share), 1))
        for phases in phase:
            text = truth.text(1, (TILES + 2) * P, texts)
            inside = [slice(P - p, P - p + (TILES + 1) * P) for p in phases]
            yield torch.stack([truth.windows(*(part[0, i].reshape(TILES + 1, P, -1) for part in text)) for i in inside])

    features = pd.DataFrame({"kind": kind})
    features["truth"] = np.where(np.isin(kind, list(DEPTHS)), TUNED, FLAT)
    features["depth"] = [DEPTHS.get(name, 0.0) for name in kind]
    features["persistence"], features["information"] = truth.persistence_K, information(truth.rate_PK)
    features["source"] = NO_SOURCE
    l0 = (truth.features(*text[:2]) > 0).sum(-1).mean()
    return Case(train, test, drawn, read, truth.directions, features, float(l0))
