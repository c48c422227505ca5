"""Positions that a model or a dictionary has never seen, and those from which on a dictionary is sound."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lens.activations.language_model import LanguageModel
from lens.auditing.findings import Finding
from lens.dictionaries.dictionary import Dictionary

MARGIN = 0.25  # of the error in the second half of the windows
DRAWS = 500  # of windows, with replacement
GROWTH = 1.5  # of a bin of positions over the one before it


class Sound(NamedTuple):
    """From which position on a dictionary errs no more than it does later, with the 95 % interval over windows."""

    position: int
    low: int
    high: int


def trained_context(model: LanguageModel, length: int) -> Finding:
    """Windows within the context that the model was trained on."""
    trained = getattr(model.model.config.get_text_config(), "max_position_embeddings", None)
    if trained is None:
        return Finding("context", "untested", "the model's configuration states no context length")
    numbers = {"trained": int(trained), "length": length}
    if length > trained:
        text = f"positions {trained} to {length - 1} were never trained: read windows of {trained} tokens or less"
        return Finding("context", "fail", text, numbers)
    if length == trained:
        text = f"position {length - 1} is the model's last: in training nothing was predicted from it. Leave it out"
        return Finding("context", "trap", text, numbers)
    return Finding("context", "pass", f"windows of {length} tokens lie within the model's {trained} positions", numbers)


def window(model: LanguageModel, length: int) -> Finding:
    """Whether attention reaches over the whole window in all blocks."""
    reach = getattr(model.model.config.get_text_config(), "sliding_window", None)
    if not reach or reach >= length:
        return Finding("attention", "pass", "each token sees all before it", {"length": length})
    text = f"some blocks see {reach} tokens back: later positions lose sight of the start (and of BOS) there"
    return Finding("attention", "trap", text, {"reach": int(reach), "length": length})


def dictionary_context(sae: Dictionary, length: int) -> Finding:
    """Windows within the positions that the dictionary was trained on."""
    trained = sae.info.n_positions
    if trained is None:
        return Finding("dictionary's context", "untested", "the dictionary doesn't say which positions it has seen")
    numbers = {"trained": trained, "length": length}
    if length > trained:
        text = f"positions {trained} to {length - 1} are beyond the dictionary's: read windows of {trained} tokens"
        return Finding("dictionary's context", "fail", text, numbers)
    text = f"windows of {length} tokens lie within the dictionary's {trained} positions"
    return Finding("dictionary's context", "pass", text, numbers)


def soundness(sae: Dictionary, activations: Tensor, seed: int) -> Finding:
    """`sound_from` of a dictionary on activations [n, T, d]."""
    error, deviation, l0 = errors(sae, activations)
    T = activations.shape[1]
    fvu = float(error.sum() / deviation.sum())
    numbers = {"fvu": round(fvu, 4), "l0": round(l0, 2)}
    if not fvu <= 1:
        text = (
            f"FVU is {fvu:.3g}, where the mean of the activations alone gives 1: is this its model, its layer, its "
            "scale? (norm_scaling_factor= of lens.load)"
        )
        return Finding("sound from", "fail", text, numbers)
    found = sound_from(error, deviation, np.random.default_rng(seed))
    numbers |= {"position": found.position, "low": found.low, "high": found.high}
    text = f"position {found.position} on [{found.low}, {found.high}], its error is that of the second half (+25 %)"
    if found.position >= T // 2:
        return Finding("sound from", "fail", f"it is only from {text}: it doesn't settle in {T} positions", numbers)
    return Finding("sound from", "pass" if found.position <= 1 else "trap", f"from {text}", numbers)


def sound_from(error: np.ndarray, deviation: np.ndarray, rng: np.random.Generator) -> Sound:
    """The first position from which on the FVU stays within `MARGIN` of that of the second half of the windows.

    FVU is pooled over windows and over bins of positions that grow by `GROWTH`, from 1 on; position 0 counts only where
    all others are sound and it is too. A position inside the second half says that there is no such settling.

    Args:
        error, deviation: [n, T] squared error, and squared distance from the mean, of each token.
    """
    edges = bins(error.shape[1])
    sums = np.stack([np.add.reduceat(x, edges, axis=1) for x in (error, deviation)])  # [2, n, bins]
    late = edges >= error.shape[1] // 2
    n = error.shape[0]
    weights = np.concatenate([np.ones((1, n)), rng.multinomial(n, np.full(n, 1 / n), DRAWS)])
    pooled = np.einsum("rn,cnb->crb", weights, sums)
    reference = pooled[0][:, late].sum(1) / pooled[1][:, late].sum(1)
    sound = pooled[0] <= (1 + MARGIN) * reference[:, None] * pooled[1]
    bad = np.where(sound, -1, np.arange(len(edges))).max(1)  # the last bin that isn't sound
    first = np.append(edges, error.shape[1])[bad + 1]
    low, high = np.percentile(first[1:], [2.5, 97.5], method="nearest")
    return Sound(int(first[0]), int(low), int(high))


def bins(T: int) -> np.ndarray:
    """First positions of bins: 0, 1, 2, 3, and on by a factor of `GROWTH`; one begins in the middle."""
    edges = {0, T // 2}
    t = 1.0
    while t < T:
        edges.add(int(t))
        t = max(t + 1, t * GROWTH)
    return np.array(sorted(edges))


@torch.no_grad()
def errors(sae: Dictionary, activations: Tensor) -> tuple[np.ndarray, np.ndarray, float]:
    """Squared error and squared distance from the mean, each [n, T], and mean L0; mean and L0 are of text positions."""
    sae = sae.float().cpu().eval()
    mean = activations[:, 1:].flatten(0, 1).float().mean(0)
    error, active = [], 0.0
    for x in activations.float().split(16):
        codes = sae.encode(x)
        error.append((x - sae.decode(codes)).square().sum(-1))
        active += float(codes.fired()[:, 1:].sum())
    n, T = activations.shape[:2]
    deviation = (activations.float() - mean).square().sum(-1)
    return torch.cat(error).double().numpy(), deviation.double().numpy(), active / (n * (T - 1))
