"""The words behind the numbers: each token as it reads inside a text, whatever the tokenizer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import transformers


def token_texts(ids: Sequence[int] | np.ndarray, tokenizer: transformers.PreTrainedTokenizerBase) -> list[str]:
    """The characters that each token adds to a text, so that the texts of a window's tokens join to the window.

    A token alone is not decoded as it is in a text: word pieces lose the space before them, or keep a mark of their
    tokenizer. So each is decoded after a letter, which is then taken away. A piece of a character reads as U+FFFD.
    """

    def decode(ids: list[int]) -> str:
        return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))

    letter = tokenizer.encode("a", add_special_tokens=False)[:1]
    before = decode(letter)
    found = []
    for i in ids:
        text = decode([*letter, int(i)])
        # Where letters are bytes too, an incomplete character takes the letter down with it.
        found.append(text.removeprefix(before) if text.startswith(before) else decode([int(i)]))
    return found
