"""Planted features in a set of activations, a dictionary that is trained on them, and what each test says of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
from scipy.special import entr
from torch import Tensor

from lens.activations.offset_windows import OffsetWindows
from lens.activations.store import LayerStore
from lens.dictionaries.dictionary import Dictionary
from lens.measure import synthetic
from lens.measure.position_information import positional
from lens.measure.profiles import position_labelling, profile
from lens.profiling.specialisation import specialisation
from lens.training.recipe import build
from lens.training.train import train_layer

TUNED, FLAT, BY_TERM = "tuned", "flat", "by term"
MATCHED = 0.9  # cosine of a decoder row and a planted direction
NO_SOURCE = -1  # of a feature whose direction is its own
SHIFT, PERMUTATION = "circular shift", "token permutation"


@dataclass(frozen=True)
class Case:
    """Activations of known features."""

    train: Tensor
    """[n, T, d] bf16"""
    test: LayerStore
    drawn: OffsetWindows
    read: Callable[[], Iterator[Tensor]]
    """activations of each stretch of `drawn`, [M, TILES + 1, T, d]"""
    directions: np.ndarray
    """[K, d] unit rows"""
    truth: pd.DataFrame
    """a row per planted feature: kind, truth (tuned, flat, by term), depth, persistence, information (see there), and
    source (row of the feature that it shares half of its direction with, or `NO_SOURCE`)"""
    l0: float
    """planted features per text token"""


def information(rate_PK: np.ndarray) -> np.ndarray:
    """What position tells of a rare feature [K], nats per firing: the mean of r log r with r = rate over mean rate."""
    return -entr(rate_PK / rate_PK.mean(0)).mean(0)


def trained(case: Case, fields: dict[str, object]) -> Dictionary:
    """A dictionary of this recipe, trained on the case."""
    digest = hashlib.sha256(case.train.contiguous().view(torch.int16).numpy().tobytes()).hexdigest()
    with TemporaryDirectory() as folder:
        found = train_layer(
            case.train, {"planted": build(fields)}, [0], Path(folder) / "dictionaries", Path(folder),
            data_digest=digest, model="planted", layer="planted", device="cpu",
        )  # fmt: skip
        return Dictionary.load(next(iter(found.folders.values()))).eval()


def matched(case: Case, sae: Dictionary) -> synthetic.Recovered:
    """The feature of the dictionary for each planted one."""
    return synthetic.recover(sae.W_dec.detach().float().numpy(), case.directions)


@torch.no_grad()
def judged(case: Case, sae: Dictionary, seed: int) -> pd.DataFrame:
    """A row per planted feature: truth, whether it was recovered and its source missed, firings, and what each test
    says of its match."""
    x, match = case.test.activations, matched(case, sae)
    n, T = x.shape[:2]
    labellings = {name: position_labelling(n, T, circular=name == SHIFT) for name in (SHIFT, PERMUTATION)}
    found = profile({0: sae}, x, torch.zeros(n, dtype=torch.long), 1, labellings, seed=seed)[0]
    usual = {name: positional(found.observed[name], found.null[name], found.bin_sizes[name]) for name in labellings}
    table = specialisation(sae, case.test, case.drawn, case.read(), usual[SHIFT].significant_K, seed=seed)
    table = table.assign(**{name: test.significant_K for name, test in usual.items()})
    table["firings"] = found.firings_TK.sum(0)
    table = table.iloc[match.learned].reset_index(drop=True)
    recovered = (match.cosine >= MATCHED) & (table["firings"].to_numpy() > 0)
    source = case.truth["source"].to_numpy()
    missed = (source != NO_SOURCE) & ~recovered[source]
    return pd.concat([case.truth.assign(recovered=recovered, source_missed=missed), table], axis=1)
