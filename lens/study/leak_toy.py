"""Four features whose truth is known, one of which knows the position, and what the usual test and the verdict say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lens.activations.offset_windows import TILES, OffsetWindows
from lens.activations.store import LayerStore
from lens.dictionaries.dictionary import Dictionary
from lens.dictionaries.info import Info
from lens.measure.position_information import positional
from lens.measure.profiles import position_labelling, profile
from lens.measure.synthetic import bump, fires, levels, rates, transient
from lens.profiling.specialisation import specialisation

T, P, N = 64, 63, 320  # tokens of a window with BOS and without; windows
DOCUMENTS, STRETCHES, READINGS = 16, 64, 4
NAMES = ("tuned", "content", "opening", "mixed")


def toy_verdicts(seed: int = 0) -> pd.DataFrame:
    """Rows of the four features: truth, usual (whether the usual test finds it) and verdict.

    `tuned` fires at positions 20 to 35, `content` by what the text says; `opening` fires on words at the beginning of
    documents, where the windows start; the encoder of `mixed` picks up .6 of `tuned`.
    """
    rng = np.random.default_rng(seed)
    even = np.full((P, 1), 0.1)
    by_position = np.concatenate(
        [rates(bump(P, 20, 16)[:, None], np.array([1.0]), np.array([0.08])), even, even, even], 1
    )
    by_text = by_position.copy()
    by_text[:, 2:3] = rates(transient(P, 6)[:, None], np.array([0.95]), np.array([0.1]))
    sae = _dictionary()

    def windows(level: np.ndarray, rate: np.ndarray) -> Tensor:
        on = fires(level, rate, np.arange(1, T))
        x = np.concatenate([np.zeros((len(level), 1, 4)), on], axis=1)
        return torch.tensor(x + 0.02 * rng.normal(size=x.shape), dtype=torch.float32)

    test = windows(levels(N, P, np.zeros(4), rng), by_text)
    first = (rng.integers(P, size=(STRETCHES, 1)) + np.arange(READINGS) * P // READINGS) % P
    phase = rng.permuted(first, axis=1)
    tokens = np.zeros((STRETCHES, READINGS, TILES + 1, T), np.int32)
    drawn = OffsetWindows(tokens, phase, np.arange(STRETCHES) % DOCUMENTS, bos=True)
    read = []
    for text, phases in zip(levels(STRETCHES, (TILES + 2) * P, np.zeros(4), rng), phase, strict=True):
        pieces = [text[P - p : P - p + (TILES + 1) * P].reshape(TILES + 1, P, 4) for p in phases]
        read.append(torch.stack([windows(piece, by_position) for piece in pieces]))
    document = torch.arange(N) % DOCUMENTS
    found = profile({0: sae}, test, torch.zeros(N, dtype=torch.long), 1, {"t": position_labelling(N, T)})[0]
    usual = positional(found.observed["t"], found.null["t"], found.bin_sizes["t"])
    store = LayerStore(
        test, torch.zeros(N, T, dtype=torch.int32), document, torch.zeros(N, dtype=torch.long),
        tuple(map(str, range(DOCUMENTS))), {},
    )  # fmt: skip
    told = specialisation(sae, store, drawn, read, usual.significant_K)
    truth = ["position", "text", "text", "text, and position by another"]
    return pd.DataFrame(
        {"truth": truth, "usual": usual.significant_K, "verdict": told["verdict"].to_numpy()}, index=NAMES
    )


def _dictionary() -> Dictionary:
    """Rebuilds four directions; the encoder of the last feature picks up the first direction, too."""
    encoder = torch.eye(4)
    encoder[0, 3] = 0.6
    biases = {"b_enc": torch.full((4,), -0.1), "b_dec": torch.zeros(4)}
    weights = {"W_enc": encoder, "W_dec": torch.eye(4), **biases}
    return Dictionary(Info(4, 4, architecture="relu", name="by-hand"), weights)
