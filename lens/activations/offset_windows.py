"""Stretches of text that are read several times, in windows which start at different places."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import transformers

from lens.activations.corpus import Corpus, draw_windows

TILES = 2  # windows whose text one stretch holds: longer ones waste fewer windows at their ends, and are fewer


@dataclass(frozen=True)
class OffsetWindows:
    """G stretches of S tokens, each read M times; a reading needs `TILES` + 1 windows in a row."""

    tokens: np.ndarray
    """[G, M, TILES + 1, T] int32, BOS at position 0 where there is one"""
    phase: np.ndarray
    """[G, M] text tokens before the stretch in its first window; evenly spread, in random order over the readings"""
    document: np.ndarray
    """[G]"""
    bos: bool
    """whether position 0 is BOS"""

    @property
    def text(self) -> int:
        """P: text tokens of a window."""
        return self.tokens.shape[-1] - self.bos

    @property
    def places(self) -> int:
        """S: tokens of a stretch."""
        return TILES * self.text

    @property
    def positions(self) -> np.ndarray:
        """[G, M, S] position at which each reading has each token of a stretch."""
        return self.bos + (np.arange(self.places) + self.phase[..., None]) % self.text


def draw_offset_windows(
    corpus: Corpus,
    tokenizer: transformers.PreTrainedTokenizerBase,
    stretches: int,
    length: int,
    *,
    readings: int,
    bos_id: int | None,
    seed: int = 0,
) -> OffsetWindows:
    """Draw stretches of text without overlap, spread over all documents, and the windows of their readings.

    Args:
        stretches: G.
        length: T, tokens of a window.
        readings: M, at least 2 and at most the text of a window.
        bos_id: put at position 0; None: windows are text alone.

    Raises:
        ValueError: fewer than two readings, or too little text: a stretch and the text around it take 4 windows of one
            document.
    """
    bos = bos_id is not None
    P = length - bos
    if not 2 <= readings <= P:
        raise ValueError(f"{readings} readings of a text: choose 2..{P}, the text tokens of a window")
    around = draw_windows(corpus, tokenizer, stretches, (TILES + 2) * P, starts="disjoint", bos=False, seed=seed)
    rng = np.random.default_rng((seed, 1))
    even = (rng.integers(P, size=(stretches, 1)) + np.arange(readings) * P // readings) % P
    phase = rng.permuted(even, axis=1)
    first = P - phase[..., None] + np.arange(TILES + 1) * P  # [G, M, windows] where each begins
    text = around.tokens[np.arange(stretches)[:, None, None, None], first[..., None] + np.arange(P)]
    start = np.full((*text.shape[:-1], int(bos)), bos_id if bos else 0, np.int32)
    return OffsetWindows(np.concatenate([start, text], -1).astype(np.int32), phase, around.document, bos)
