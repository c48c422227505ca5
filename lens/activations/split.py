"""One text in two parts: what a dictionary is trained on, and what it is measured on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import datasets
import numpy as np

from lens.activations import corpus

LONGEST_PATH = 4096  # characters
Text = str | Sequence[str] | datasets.Dataset


def as_dataset(text: Text) -> datasets.Dataset:
    """A corpus by name or the path of a text file (see `lens.activations.corpus.load`), a list of documents, or rows of
    `text` and `document` as they are.

    Raises:
        FileNotFoundError: there is no such file. See `lens.activations.corpus.load` for what else can be wrong.
        ValueError: the string is text itself and not a name or a path.
    """
    if isinstance(text, str):
        if "\n" in text or len(text) > LONGEST_PATH:
            raise ValueError(f"a text of {len(text)} characters where a path or a name is expected: pass [text]")
        if Path(text).suffix in (".txt", ".md", ".text") and not Path(text).is_file():
            raise FileNotFoundError(f"no text file {text}")  # before the hub is asked for a data set of that name
        return corpus.load(text)
    if isinstance(text, datasets.Dataset):
        return text
    return datasets.Dataset.from_dict({"text": list(text), "document": [str(i) for i in range(len(text))]})


def split_text(text: Text, held_out: float = 0.2) -> tuple[datasets.Dataset, datasets.Dataset]:
    """Training and held-out documents: the last `held_out` share of the characters is held out.

    Whole documents go to one side; the one in which the cut falls is cut at a line break (at a space if it has none),
    so a single text file works too. Neighbouring text is alike, so held out here means less than another author's text.

    Raises:
        ValueError: one part would be empty.
    """
    rows = as_dataset(text)
    sizes = np.array([len(t) for t in rows["text"]])
    cut = (1 - held_out) * sizes.sum()
    parts: tuple[list, list] = ([], [])
    for row, end in zip(rows, sizes.cumsum(), strict=True):
        at = int(cut - (end - len(row["text"])))
        if at > 0:
            at = len(row["text"]) if end <= cut else _break_before(row["text"], at)
        for part, piece in zip(parts, (row["text"][: max(at, 0)], row["text"][max(at, 0) :]), strict=True):
            if piece.strip():
                part.append({"text": piece, "document": row["document"]})
    if not all(parts):
        raise ValueError(
            f"a text of {sizes.sum()} characters cannot be split into {1 - held_out:.0%} and {held_out:.0%}"
        )
    return tuple(datasets.Dataset.from_list(part) for part in parts)


def _break_before(text: str, at: int) -> int:
    """Just after the last line break before `at`, or the last space, or `at` itself."""
    return next((place + 1 for mark in "\n " if (place := text.rfind(mark, 0, at)) > 0), at)
