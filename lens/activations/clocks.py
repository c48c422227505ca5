"""Structural clocks of a play's text: how many tokens ago the last line and the last speaker tag ended."""

from __future__ import annotations

import numpy as np
import transformers


def clocks(tokens: np.ndarray, tokenizer: transformers.PreTrainedTokenizerBase) -> dict[str, np.ndarray]:
    """Clocks of windows [n, T] of token ids, read off the tokens' own text: int32 [n, T] by name.

    `since_newline`: tokens since the last one that holds a line break. `since_speaker`: tokens since the last one that
    ends a speaker tag, a line that ends in ":" and follows an empty line or the start of the window's text. A clock is
    0 at the token that restarts it, and -1 at special tokens and before anything was seen in the window. A window that
    starts in the middle of a line takes the rest of it for a line: more often right than not where it ends in ":".
    """
    n, T = tokens.shape
    ids, index = np.unique(tokens, return_inverse=True)
    special = set(tokenizer.all_special_ids)
    texts = ["" if i in special else tokenizer.decode([i], clean_up_tokenization_spaces=False) for i in ids.tolist()]
    newline, speaker = np.zeros((n, T), bool), np.zeros((n, T), bool)
    for row, window in enumerate(index.reshape(n, T)):
        line, after_empty = "", True
        for t, i in enumerate(window):
            *ended, rest = texts[i].split("\n")
            for piece in ended:
                line = (line + piece).strip()
                newline[row, t] = True
                speaker[row, t] |= after_empty and line.endswith(":")
                line, after_empty = "", not line
            line += rest
    no_text = np.isin(tokens, list(special))
    return {"since_newline": _since(newline, no_text), "since_speaker": _since(speaker, no_text)}


def _since(event: np.ndarray, no_text: np.ndarray) -> np.ndarray:
    """Steps since the last event [n, T] along each row, 0 on it; -1 before the first and where there is no text."""
    t = np.arange(event.shape[1])
    last = np.maximum.accumulate(np.where(event, t, -1), axis=1)
    return np.where((last < 0) | no_text, -1, t - last).astype(np.int32)
