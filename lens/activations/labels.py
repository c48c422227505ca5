"""Labels of token windows cut from plays, for probing: play, genre, act, speakers and stage directions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import datasets
import numpy as np
import pandas as pd
import transformers

from lens.activations import corpus, plays

TABLE = ["play", "genre", "act", "has_speaker_tag", "speaker_changes", "has_stage_direction"]
_TAG = re.compile(r"(?:\A|(?<=\n\n))[^\n]+:$", re.MULTILINE)  # in a rendered play, only tags follow an empty line


@dataclass(frozen=True)
class WindowLabels:
    """What the plays say about each window and token."""

    table: pd.DataFrame
    """a row per window, columns `TABLE`: play; genre (folder of the play); act of the window's middle token, None in a
    prologue or induction; whether a speech starts in the window, and how many do; whether a stage direction was left
    out between two of its characters"""
    speaker_tag: np.ndarray
    """[n, T] bool: the token holds part of a speaker tag ("First Citizen:"); never BOS, never the line break alone"""


def play_labels(
    tokens: np.ndarray,
    document: np.ndarray,
    start: np.ndarray,
    documents: Sequence[str],
    tokenizer: transformers.PreTrainedTokenizerBase,
    *,
    bos: bool = True,
) -> WindowLabels:
    """Labels of windows [n, T] cut from plays, as `lens.activations.corpus.draw_windows` cuts them.

    Stage directions inside a line of verse are not counted: the corpus keeps no record of them.

    Args:
        document: [n] index into `documents`, the names of the plays.
        start: [n] offset in tokens of the window's first text token in its play.
        bos: whether column 0 is BOS.

    Raises:
        ValueError: a document is not a play, or the windows do not hold the play's tokens at `start`.
    """
    n, T = tokens.shape
    n_text = T - bos
    table = pd.DataFrame(index=range(n), columns=TABLE, dtype=object)
    speaker_tag = np.zeros((n, T), bool)
    present = np.unique(document)
    texts = datasets.Dataset.from_list([plays.document(documents[int(d)]) for d in present])
    encoded = corpus.token_characters(texts, tokenizer)
    for d, whole, (ids, first) in zip(present, texts, encoded, strict=True):
        play, rows, text = documents[int(d)], np.flatnonzero(document == d), whole["text"]
        places = start[rows, None] + np.arange(n_text)
        if places.max() >= len(ids) or (ids[places] != tokens[rows, int(bos) :]).any():
            raise ValueError(
                f"the windows of {play!r} do not hold its tokens at their starts: "
                "pass the tokenizer, starts and bos that the windows were cut with"
            )
        # The tokens of one character's bytes share its offset, and each of them stands for the whole character.
        end = np.maximum(np.append(first[1:], len(text)), first + 1)
        tags = np.array([match.span() for match in _TAG.finditer(text)])
        speaker_tag[rows, int(bos) :] = _touches(tags, first, end, len(text))[places]
        low, high = first[places[:, 0]], end[places[:, -1]]
        lines = pd.DataFrame(plays.parse(play)[1])
        directions = lines.start[lines.kind == "stage direction"].to_numpy()
        changes = _within(tags[:, 0], low, high)
        table.loc[rows, "play"] = play
        table.loc[rows, "genre"] = whole["genre"]
        table.loc[rows, "act"] = _acts(lines, first[places[:, n_text // 2]])
        table.loc[rows, "has_speaker_tag"] = changes > 0
        table.loc[rows, "speaker_changes"] = changes
        table.loc[rows, "has_stage_direction"] = _within(directions, low + 1, high) > 0
    types = {"has_speaker_tag": bool, "speaker_changes": np.int64, "has_stage_direction": bool}
    return WindowLabels(table.astype(types), speaker_tag)


def _touches(spans: np.ndarray, low: np.ndarray, high: np.ndarray, length: int) -> np.ndarray:
    """Whether [low, high) shares a character with any of the disjoint `spans` [m, 2] of a text."""
    edges = np.zeros(length + 1, np.int64)
    np.add.at(edges, spans[:, 0], 1)
    np.add.at(edges, spans[:, 1], -1)
    covered = np.append(0, np.cumsum(np.cumsum(edges)))  # characters in spans before each offset
    return covered[high] > covered[low]


def _within(offsets: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """How many of the sorted `offsets` lie in [low, high), for each pair of bounds."""
    return np.searchsorted(offsets, high) - np.searchsorted(offsets, low)


def _acts(lines: pd.DataFrame, characters: np.ndarray) -> np.ndarray:
    """The act at each character; None before the first act."""
    # An act begins where the text before it stops, so that its first speaker tag belongs to it.
    changes = lines.act.ne(lines.act.shift()).to_numpy()
    begin = lines.stop.shift(fill_value=0).to_numpy()[changes]
    names = np.array([name or None for name in lines.act[changes]], object)
    return names[np.searchsorted(begin, characters, side="right") - 1]
