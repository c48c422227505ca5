"""Planted features in the activations of a language model: what they are tuned to is known, the rest is real.

Each is a direction of its own, added to the stored residual stream wherever the feature fires. Its firing is decided by
a level that belongs to the text and a rate that belongs to the position, so that a text which is read again at other
positions keeps its levels and changes its rates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from benchmarks.planted_case import BY_TERM, FLAT, MATCHED, NO_SOURCE, TUNED, Case, information, matched
from lens import checkout
from lens.activations import corpus, language_model, models
from lens.activations.corpus import Windows, draw_windows
from lens.activations.extract import extract
from lens.activations.offset_windows import TILES, OffsetWindows, draw_offset_windows
from lens.activations.store import LayerStore, open_layer
from lens.dictionaries.dictionary import Dictionary
from lens.dictionaries.positions.mask import SATURATED
from lens.measure import synthetic

MODEL, LAYER, LENGTH = "gemma-3-270m", 8, 128
WORK = checkout.root() / "artifacts" / "specialisation"
TRAIN, TEST, STRETCHES, READINGS = 512, 256, 32, 4
P = LENGTH - 1
DEPTHS, SHAPES, PER_CELL = (0.1, 0.25, 0.5, 1.0), ("window", "ramp", "start"), 3
PERSISTENCES, PER_FLAT = (0.5, 0.9), 8
WIDTH = 16  # positions of a window
DENSITIES, SHARES = (0.005, 0.1), (0.0025, 0.02)  # of firing; of the variance that one feature adds
LARGEST, LEAST = 0.8, 1e-3  # rate at any position: a start transient of full depth has 50 times its mean at the start
CROSS_TALK = 0.5  # cosine of a direction with that of a tuned feature
MASKED = 4  # features whose tuning is made by a mask on the dictionary alone
CLOSED = 0.2  # value of that mask on half of the window; 1 elsewhere


@dataclass(frozen=True)
class Stored:
    """Activations of the model, and how their text was cut."""

    train: LayerStore
    test: LayerStore
    offsets: LayerStore
    """windows of `drawn`, stretch after stretch"""
    drawn: OffsetWindows


@cache
def stored() -> Stored:
    """Activations of one layer on windows to train on, held-out windows, and held-out text that is read at several
    offsets; made once."""
    model = models.load(MODEL)
    [layer] = language_model.check_layers(model, [LAYER])
    text, held_out = corpus.load("tiny-shakespeare"), corpus.load("shakespeare-held-out")
    bos = {"bos": True, "bos_id": model.bos_id}
    drawn = draw_offset_windows(
        held_out, model.tokenizer, STRETCHES, LENGTH, readings=READINGS, bos_id=model.bos_id, seed=1
    )
    windows = {
        "train": draw_windows(text, model.tokenizer, TRAIN, LENGTH, starts="random", **bos),
        "test": draw_windows(held_out, model.tokenizer, TEST, LENGTH, starts="disjoint", **bos),
    }
    tokens = drawn.tokens.reshape(-1, LENGTH)
    document = drawn.document.repeat(len(tokens) // STRETCHES)
    held = windows["test"]
    windows["offsets"] = Windows(tokens, document, np.zeros(len(tokens), int), held.documents, held.digest)
    folder = WORK / f"{MODEL}-{LAYER}"
    extract(model, windows, [layer], folder, WORK / "pool", window_rule={"length": LENGTH, "readings": READINGS})
    train, test, offsets = (open_layer(folder, layer, split) for split in windows)
    return Stored(train, test, offsets, drawn)


def features(rng: np.random.Generator) -> tuple[pd.DataFrame, np.ndarray]:
    """Truth of each planted feature, and its rate [P, K]."""
    rows = [
        (f"{shape}, depth {depth:g}", TUNED, shape, depth, 0.0)
        for shape in SHAPES
        for depth in DEPTHS
        for _ in range(PER_CELL)
    ]
    rows += [
        (f"window, depth {depth:g}, persistence {persistence:g}", TUNED, "window", depth, persistence)
        for persistence in PERSISTENCES
        for depth in (0.5, 1.0)
        for _ in range(PER_CELL)
    ]
    rows += [("window, depth 1, cross-talk", TUNED, "window", 1.0, 0.0)] * 4
    rows += [("flat", FLAT, "flat", 0.0, 0.0)] * PER_FLAT + [("token", FLAT, "flat", 0.0, 0.0)] * PER_FLAT
    rows += [(f"flat, persistence {p:g}", FLAT, "flat", 0.0, p) for p in PERSISTENCES for _ in range(PER_FLAT)]
    rows += [("flat, cross-talk", FLAT, "flat", 0.0, 0.0)] * PER_FLAT + [
        ("flat, masked", BY_TERM, "flat", 0.0, 0.0)
    ] * MASKED
    truth = pd.DataFrame(rows, columns=["kind", "truth", "shape", "depth", "persistence"])
    shape = np.stack([_shape(name, rng) for name in truth["shape"]], axis=1)
    depth, density = truth["depth"].to_numpy(), np.exp(rng.uniform(*np.log(DENSITIES), len(truth)))
    largest = synthetic.rates(shape, depth, np.full(len(truth), LEAST)).max(0) / LEAST  # over the mean rate
    rate = synthetic.rates(shape, depth, np.minimum(density, LARGEST / largest))
    return truth.assign(information=information(rate)), rate


def _shape(name: str, rng: np.random.Generator) -> np.ndarray:
    if name == "window":
        return synthetic.bump(P, int(rng.integers(1, P - WIDTH + 2)), WIDTH)
    rising = rng.random() < 0.5
    shape = {"ramp": synthetic.ramp, "start": synthetic.transient}.get(name, np.ones)(P)
    return 1 - shape if rising and name != "flat" else shape


def directions(truth: pd.DataFrame, d: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """[K, d] unit rows, those with cross-talk sharing half with a tuned feature each; and which feature that is."""
    own = rng.normal(size=(len(truth), d))
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    sources = np.flatnonzero((truth["kind"] == "window, depth 1") | (truth["kind"] == "start, depth 1"))
    takers = np.flatnonzero(truth["kind"].str.contains("cross-talk"))
    chosen = np.full(len(truth), NO_SOURCE)
    chosen[takers] = rng.choice(sources, len(takers))
    source = own[chosen[takers]]
    rest = own[takers] - (own[takers] * source).sum(1, keepdims=True) * source
    rest /= np.linalg.norm(rest, axis=1, keepdims=True)
    own[takers] = CROSS_TALK * source + np.sqrt(1 - CROSS_TALK**2) * rest
    return own, chosen


@dataclass(frozen=True)
class Planting:
    """What is added to activations, given text and positions."""

    rate_PK: np.ndarray
    persistence_K: np.ndarray
    token_level: np.ndarray
    """[vocabulary, locked features] level of each token, for features that are locked to tokens"""
    locked: np.ndarray
    """which features these are"""
    rows: np.ndarray
    """[K, d] directions times the size of each feature"""

    def text(self, n: int, places: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Levels and amplitudes [n, places, K] of n texts; levels of locked features are those of its tokens."""
        level = synthetic.levels(n, places, self.persistence_K, rng)
        return level, np.abs(rng.standard_normal(level.shape, np.float32)) + np.float32(synthetic.OFFSET)

    def codes(self, level: np.ndarray, amplitude: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Planted features [..., P, K] of texts that are read from position 1; tokens are [..., P]."""
        level = level.copy()
        level[..., self.locked] = self.token_level[tokens]
        return amplitude * synthetic.fires(level, self.rate_PK, np.arange(1, P + 1))

    def onto(self, x: Tensor, codes: np.ndarray) -> Tensor:
        """Activations [n, T, d] with the features added at text positions, in bf16."""
        out = x.clone()
        rows = torch.from_numpy(self.rows).float()
        for part, f in zip(out.split(64), torch.from_numpy(codes).float().split(64), strict=True):
            part[:, 1:] = (part[:, 1:].float() + f @ rows).to(x.dtype)
        return out


def _token_levels(store: Stored, features: int, rng: np.random.Generator) -> np.ndarray:
    """[vocabulary, features] middle of each token's place among all, in a random order by which their masses add up."""
    most = max(int(part.tokens.max()) for part in (store.train, store.test, store.offsets))
    mass = np.bincount(store.train.tokens[:, 1:].flatten().numpy(), minlength=most + 1).astype(float)
    mass /= mass.sum()
    level = np.empty((len(mass), features), np.float32)
    for j in range(features):
        order = rng.permutation(len(mass))
        level[order, j] = mass[order].cumsum() - mass[order] / 2
    return level


def case(seed: int) -> Case:
    """Real activations of held-out and training text with planted features."""
    store, rng = stored(), np.random.default_rng((seed, 2))
    truth, rate = features(rng)
    x = store.train.activations
    variance = x[::4, 1:].float().flatten(0, 1).var(0).sum().item()
    own, truth["source"] = directions(truth, x.shape[-1], rng)
    share = np.exp(rng.uniform(*np.log(SHARES), len(truth)))
    density, half_normal = rate.mean(0), np.sqrt(2 / np.pi)
    mean, square = half_normal + synthetic.OFFSET, 1 + 2 * synthetic.OFFSET * half_normal + synthetic.OFFSET**2
    size = np.sqrt(share * variance / (square * density - np.square(mean * density)))  # of one unit of amplitude
    locked = np.flatnonzero(truth["kind"] == "token")
    levels = _token_levels(store, len(locked), rng)
    planting = Planting(rate, truth["persistence"].to_numpy(), levels, locked, size[:, None] * own)

    def planted(windows: LayerStore) -> tuple[Tensor, np.ndarray]:
        tokens = windows.tokens[:, 1:].numpy()
        codes = planting.codes(*planting.text(*tokens.shape, rng), tokens)
        return planting.onto(windows.activations, codes), codes

    train, (test, codes) = planted(store.train)[0], planted(store.test)
    drawn, windows = store.drawn, TILES + 1

    def read() -> Iterator[Tensor]:
        texts = np.random.default_rng((seed, 3))
        stretches = store.offsets.activations.unflatten(0, (STRETCHES, READINGS, windows))
        for activations, tokens, phases in zip(stretches, drawn.tokens[..., 1:], drawn.phase, strict=True):
            text = planting.text(1, (TILES + 2) * P, texts)
            inside = [slice(P - p, P - p + windows * P) for p in phases]
            level, size = (np.stack([part[0, i].reshape(windows, P, -1) for i in inside]) for part in text)
            found = planting.codes(level, size, tokens)
            yield torch.stack([planting.onto(a, f) for a, f in zip(activations, found, strict=True)])

    return Case(
        train, replace(store.test, activations=test), drawn, read, own, truth, float((codes > 0).sum(-1).mean())
    )


def masked(sae: Dictionary, case: Case) -> Dictionary:
    """The dictionary with a mask: open on half of the window for features that are to be tuned by it, 1 for others."""
    match = matched(case, sae)
    here = match.learned[(case.truth["truth"] == BY_TERM).to_numpy() & (match.cosine >= MATCHED)]
    logits = torch.full((LENGTH, sae.info.d_sae), SATURATED)
    tau = 0.1
    logits[1 + P // 2 :, here] = tau * float(np.log(CLOSED / (1 - CLOSED)))
    info = replace(sae.info, position="mask", n_positions=LENGTH, settings={**sae.info.settings, "tau_end": tau})
    weights = {name: w.detach() for name, w in sae.weights().items()} | {"pos_logits": logits}
    if sae.input_centre is not None:
        weights["input_centre"] = sae.input_centre
    return Dictionary(info, weights)
