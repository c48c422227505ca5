"""Windows of token ids as pipelines pack them: documents or chats in a row, cut wherever a window is full."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import transformers
from torch import Tensor

from lens.activations.corpus import LEAST_HELD_OUT, Windows

MOST_ID = 2**31 - 1
Chat = Sequence[Mapping[str, str]]
"""messages with `role` and `content`"""


def packed(documents: Sequence[str | Chat], tokenizer: transformers.PreTrainedTokenizerBase, length: int) -> np.ndarray:
    """Windows [n, length] of token ids, int32: all documents in a row, each with BOS before it (EOS after it where the
    tokenizer has no BOS), without what is left at the end.

    Args:
        documents: texts, read as they are; or chats, to which the tokenizer's chat template is applied.

    Raises:
        ValueError: the tokenizer has no chat template, or there is not enough for one window.
    """
    row: list[int] = []
    for document in documents:
        if isinstance(document, str):
            ids = list(tokenizer(document, add_special_tokens=False, split_special_tokens=True)["input_ids"])
        else:
            if not getattr(tokenizer, "chat_template", None):
                raise ValueError("the tokenizer has no chat template: give texts, or the tokenizer of a chat model")
            text = str(tokenizer.apply_chat_template([dict(message) for message in document], tokenize=False))
            ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
        bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
        if bos is not None:
            row += ids if ids[:1] == [bos] else [bos, *ids]
        else:
            row += ids if eos is None or ids[-1:] == [eos] else [*ids, eos]
    if len(row) < length:
        raise ValueError(f"{len(row)} tokens in {len(documents)} documents: not one window of {length}")
    return np.array(row[: len(row) // length * length], np.int32).reshape(-1, length)


def as_windows(ids: Tensor | np.ndarray) -> Windows:
    """Windows of ids [n, T] as they are given; what documents they are of is not known, so each stands for its own.

    Raises:
        ValueError: they are no whole numbers of two dimensions, or too few windows.
    """
    if isinstance(ids, np.ma.MaskedArray):
        raise ValueError("a masked array: what its mask hides would be read; pass windows that are whole")
    tokens = ids.detach().cpu().numpy() if isinstance(ids, Tensor) else np.asarray(ids)
    if tokens.ndim != 2 or not np.issubdtype(tokens.dtype, np.integer) or not tokens.size:
        raise ValueError(f"token ids are {tokens.dtype} of shape {tokens.shape}: whole numbers [n, T] are needed")
    if (wrong := tokens[(tokens < 0) | (tokens > MOST_ID)]).size:
        raise ValueError(f"token ids hold {wrong[0]}: an id is a whole number from 0 to {MOST_ID}")
    n = len(tokens)
    if n < LEAST_HELD_OUT:
        raise ValueError(f"{n} windows of token ids: a profile needs {LEAST_HELD_OUT} or more")
    tokens = np.ascontiguousarray(tokens, np.int32)
    digest = hashlib.sha256(repr(tokens.shape).encode() + tokens.tobytes()).hexdigest()
    names = tuple(f"window {i}" for i in range(n))
    return Windows(tokens, np.arange(n, dtype=np.int32), np.zeros(n, np.int64), names, digest)
