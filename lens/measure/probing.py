"""Sparse probing of pooled activations and features, with SAEBench's protocol and metric names.

One-vs-rest, balanced tasks; the k coordinates whose class means differ most on the training rows; logistic regression
on those; held-out accuracy (Gurnee et al. 2023; SAEBench). Two things differ from SAEBench: the full probe is the same
logistic regression, not one whose best epoch is picked on the test rows; and no document is on both sides of a split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

K_VALUES = (1, 2, 5, 10, 20, 50)
CHUNK = 32  # windows held in fp32 at a time
MIN_EXAMPLES = 20  # of each class, on each side of the split
TEST_SHARE = 1 / 3  # of the documents of each stratum

Encode = Callable[[Tensor], Tensor]  # raw activations [b, T, d] -> representation [b, T, width]


class TooFewExamples(ValueError):
    """A class has too few examples on one side of the split to probe for it."""


@dataclass(frozen=True)
class Task:
    """A balanced binary question about windows; rows index the windows."""

    name: str
    train_rows: np.ndarray
    train_y: np.ndarray
    """bool, half of them true"""
    test_rows: np.ndarray
    test_y: np.ndarray
    """bool, half of them true: a constant answer scores exactly .5"""


# Representations


@torch.no_grad()
def pooled(encode: Encode, activations: Tensor, first: int = 1) -> np.ndarray:
    """Mean of `encode(x)` over each window's positions from `first` on, [n, T, d] -> float64 [n, width].

    Args:
        activations: raw, whole windows; position 0 is BOS and is left out.
    """
    if first < 1:
        raise ValueError(f"first = {first}: position 0 is BOS and belongs to no pooled representation, pass 1 or more")
    means = [
        encode(activations[start : start + CHUNK].float())[:, first:].mean(1, dtype=torch.float64)
        for start in range(0, len(activations), CHUNK)
    ]
    return torch.cat(means).numpy()


# Tasks


def split_documents(stratum_D: np.ndarray, seed: int) -> np.ndarray:
    """Which documents are for testing, bool [D]: `TEST_SHARE` of each stratum, at least one if it has two or more."""
    rng = np.random.default_rng(seed)
    test_D = np.zeros(len(stratum_D), bool)
    for stratum in np.unique(stratum_D):
        members = rng.permutation(np.flatnonzero(stratum_D == stratum))
        test_D[members[: max(round(TEST_SHARE * len(members)), int(len(members) > 1))]] = True
    return test_D


def balanced_task(name: str, rows: np.ndarray, y: np.ndarray, is_test: np.ndarray, seed: int) -> Task:
    """A task on `rows` [m] with answers `y` [m], of which `is_test` [m] are held out; the larger class is subsampled.

    Raises:
        TooFewExamples: fewer than `MIN_EXAMPLES` of a class on a side.
    """
    rng = np.random.default_rng(seed)
    sides = []
    for side, here in (("training", ~is_test), ("test", is_test)):
        classes = [np.flatnonzero(here & (y == answer)) for answer in (False, True)]
        n = min(map(len, classes))
        if n < MIN_EXAMPLES:
            raise TooFewExamples(
                f"{name}: {len(classes[1])} {side} windows are in the class and {len(classes[0])} are not, "
                f"{MIN_EXAMPLES} of each are needed; draw more held-out windows"
            )
        chosen = np.sort(np.concatenate([rng.choice(members, n, replace=False) for members in classes]))
        sides += [rows[chosen], y[chosen]]
    return Task(name, *sides)


def tasks_from_labels(
    document: np.ndarray,
    genre: np.ndarray,
    act: np.ndarray,
    stage_direction: np.ndarray,
    speaker_changes: np.ndarray,
    documentation: np.ndarray | None = None,
    seed: int = 0,
) -> tuple[Task, ...]:
    """The possible tasks on windows of plays, all of them on one split by play that is stratified by genre.

    They are `genre:<g>` and `act:<a>` (one against the rest), `stage_direction` (one was left out in the window),
    `speaker_changes` (more than the median of the training windows) and, with a second corpus, `shakespeare`.

    Args:
        document: [n] play of each window, as an index or a name.
        genre, act, stage_direction, speaker_changes: [n] labels; windows whose act is missing are in no act task.
        documentation: [m] document of each window of the second corpus, whose rows follow the n.

    Raises:
        TooFewExamples: no task at all is possible.
    """
    document, genre, act = (np.asarray(a) for a in (document, genre, act))
    _, first, index = np.unique(document, return_index=True, return_inverse=True)
    is_test = split_documents(genre[first], seed)[index]
    rows = np.arange(len(document))
    changes = np.asarray(speaker_changes)
    has_act = pd.notna(act)

    tasks: list[Task] = []
    refused: list[str] = []

    def add(name: str, rows: np.ndarray, y: np.ndarray, is_test: np.ndarray) -> None:
        try:
            tasks.append(balanced_task(name, rows, y, is_test, seed))
        except TooFewExamples as error:
            refused.append(str(error))

    for g in np.unique(genre):
        add(f"genre:{g}", rows, genre == g, is_test)
    for a in np.unique(act[has_act]):
        add(f"act:{a}", rows[has_act], act[has_act] == a, is_test[has_act])
    add("stage_direction", rows, np.asarray(stage_direction, bool), is_test)
    add("speaker_changes", rows, changes > np.median(changes[~is_test]), is_test)
    if documentation is not None:
        names, index = np.unique(documentation, return_inverse=True)
        other_test = split_documents(np.zeros(len(names)), seed)[index]
        y = np.arange(len(rows) + len(index)) < len(rows)
        add("shakespeare", np.arange(len(y)), y, np.concatenate([is_test, other_test]))
    if not tasks:
        raise TooFewExamples("no probing task is possible: " + "; ".join(refused))
    return tuple(tasks)


# Probes


def probe(
    X: np.ndarray, task: Task, family: Literal["llm", "sae"], k_values: Iterable[int] = K_VALUES
) -> dict[str, float]:
    """Held-out accuracy of each probe of pooled representations X [n, width], under SAEBench's names.

    `<family>_top_<k>_test_accuracy` for each k up to the width, and `<family>_test_accuracy` on all coordinates.
    """
    best = top_coordinates(X[task.train_rows], task.train_y)
    accuracies = {f"{family}_test_accuracy": _accuracy(X, task)}
    for k in k_values:
        if k <= X.shape[1]:
            accuracies[f"{family}_top_{k}_test_accuracy"] = _accuracy(X[:, best[:k]], task)
    return accuracies


def top_coordinates(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Coordinates of training rows X [m, width] by |mean of the class - mean of the rest|, largest first."""
    return np.argsort(-np.abs(X[y].mean(0) - X[~y].mean(0)), kind="stable")


def _accuracy(X: np.ndarray, task: Task) -> float:
    # L2 with C = 1, coordinates not standardised: SAEBench's setting.
    fitted = LogisticRegression(C=1.0, max_iter=1000).fit(X[task.train_rows], task.train_y)
    return float(fitted.score(X[task.test_rows], task.test_y))
