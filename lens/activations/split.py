"""One text in two parts: what a dictionary is trained on, and what it is measured on."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from numbers import Real
from pathlib import Path

import datasets
import numpy as np

from lens.activations import corpus, documents
from lens.activations.documents import LONGEST_PATH, Corpus
from lens.activations.text_file import TextFiles

Text = str | os.PathLike | Sequence[str | os.PathLike] | Corpus


def as_dataset(text: Text) -> Corpus:
    """A corpus by name or the path of a text file (see `lens.activations.corpus.load`), a list of documents or of
    `Path`s of text files, or a data set with `text` (and `document`, the name of each).

    Raises:
        FileNotFoundError: there is no such file. See `lens.activations.corpus.load` for what else can be wrong.
        ValueError: the string is text itself and not a name or a path; or see `lens.activations.documents`.
    """
    if isinstance(text, str | os.PathLike):
        name = os.fspath(text)
        if "\n" in name or len(name) > LONGEST_PATH:
            raise ValueError(f"a text of {len(name)} characters where a path or a name is expected: pass [text]")
        named_as_file = isinstance(text, os.PathLike) or Path(name).suffix in (".txt", ".md", ".text")
        if named_as_file and not Path(name).exists() and not Path(os.path.expanduser(name)).exists():
            raise FileNotFoundError(f"no text file {name}")  # before the hub is asked for a data set of that name
        return corpus.load(name)
    if isinstance(text, datasets.Dataset):
        rows = documents.from_rows(text)
    else:
        rows = text if isinstance(text, TextFiles) else documents.from_texts(text)
    corpus.check_not_empty(rows, "text")
    return rows


def split_text(text: Text, held_out: float = 0.2) -> tuple[Corpus, Corpus]:
    """Training and held-out documents: the last `held_out` share of the characters is held out.

    Whole documents go to one side; the one in which the cut falls is cut at a line break (at a space if it has none),
    so a single text file works too. Neighbouring text is alike, so held out here means less than another author's text.

    Warns where more than a twentieth of what is held out stands in the training part too
    (`lens.activations.corpus.check_no_leak`): documents that recur, say.

    Raises:
        ValueError: one part would be empty.
    """
    if isinstance(held_out, bool) or not isinstance(held_out, Real) or not 0 < held_out < 1:
        raise ValueError(f"held_out = {held_out!r} is no share between 0 and 1: one part would be empty")
    train, test = _parts(as_dataset(text), 1 - float(held_out))
    try:
        corpus.check_no_leak(train, test)
    except ValueError as error:
        warnings.warn(str(error), stacklevel=2)
    return train, test


def _parts(rows: Corpus, share: float) -> tuple[Corpus, Corpus]:
    parts = rows.split(share) if isinstance(rows, TextFiles) else _cut(rows, share)
    if not all(any(text.strip() for _, text in documents.pairs(part)) for part in parts):
        characters = sum(len(text) for _, text in documents.pairs(rows))
        raise ValueError(f"a text of {characters} characters cannot be split into {share:.0%} and {1 - share:.0%}")
    return parts


def _cut(rows: datasets.Dataset, share: float) -> tuple[datasets.Dataset, datasets.Dataset]:
    sizes = np.array([len(t) for t in rows["text"]])
    cut = share * sizes.sum()
    parts: tuple[list, list] = ([], [])
    for row, end in zip(rows, sizes.cumsum(), strict=True):
        at = int(cut - (end - len(row["text"])))
        if at > 0:
            at = len(row["text"]) if end <= cut else _break_before(row["text"], at)
        for part, piece in zip(parts, (row["text"][: max(at, 0)], row["text"][max(at, 0) :]), strict=True):
            if piece.strip():
                part.append({"text": piece, "document": row["document"]})
    return datasets.Dataset.from_list(parts[0]), datasets.Dataset.from_list(parts[1])


def _break_before(text: str, at: int) -> int:
    """Just after the last line break before `at`, or the last space, or `at` itself."""
    return next((place + 1 for mark in "\n " if (place := text.rfind(mark, 0, at)) > 0), at)
