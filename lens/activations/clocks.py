"""Clocks beside the position in a window: how many tokens ago a line, a speaker tag, a document or a turn began."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import transformers

from lens.errors import ConfigError, suggest

CLOCKS = ("document", "newline", "turn")  # what can be asked for by name
_ROLES = ("user", "assistant") * 2  # of the chats by which a template is known


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


def named_clocks(
    names: Sequence[str],
    tokens: np.ndarray,
    tokenizer: transformers.PreTrainedTokenizerBase,
    start: np.ndarray | None = None,
    bos: bool = False,
) -> dict[str, np.ndarray]:
    """Clocks of windows [n, T] of token ids, by name: int32 [n, T], 0 where they start, -1 before they ever did.

    - `document`: since a document began, its BOS being 0 (its first token, where tokenizers have none);
    - `newline`: see `clocks`;
    - `turn`: since a turn of a chat began, at the special token by which the tokenizer's chat template begins it.

    Args:
        start: [n] tokens of the document before each window, which is then of one document alone; None: windows are
            packed, and a document begins at each BOS, or after each EOS where the tokenizer has no BOS.
        bos: whether column 0 is a BOS put before the window, which is then no token of the document.

    Raises:
        ConfigError: there is no such clock, a name is given twice, or the clock never starts in these windows.
        ValueError: the tokenizer has neither BOS nor EOS, or no chat template that marks turns.
    """
    if isinstance(names, str):
        raise ConfigError(f"clocks={names!r}: give a list of names, [{names!r}]")
    for name in names:
        if name not in CLOCKS:
            raise ConfigError(f"no clock {name!r}{suggest(name, CLOCKS)}: choose of {', '.join(CLOCKS)}")
    if len(set(names)) < len(names):
        raise ConfigError(f"clocks {', '.join(names)}: name each once")
    found = {}
    for name in names:
        if name == "newline":
            found[name] = clocks(tokens, tokenizer)["since_newline"]
        elif name == "turn":
            found[name] = since_token(tokens, turn_marker(tokenizer))
        else:
            found[name] = _since_document(tokens, tokenizer, start, bos)
    for name, clock in found.items():
        if (clock < 0).all():
            chats = "; a text is read as plain characters, chats as ids (lens.activations.packing)"
            raise ConfigError(
                f"the clock {name!r} never starts in these {len(tokens)} windows{chats if name == 'turn' else ''}"
            )
    return found


def since_token(tokens: np.ndarray, token: int) -> np.ndarray:
    """Tokens since the last one of this id [n, T], 0 on it, -1 before the first of the window."""
    event = tokens == token
    return _since(event, np.zeros_like(event))


def turn_marker(tokenizer: transformers.PreTrainedTokenizerBase) -> int:
    """The special token that begins each turn of a chat: the first of those of which each further message adds one.

    Raises:
        ValueError: the tokenizer has no chat template, or it has no such token.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError("the tokenizer has no chat template, by which turns would be known: leave the clock turn out")
    chats = [[{"role": role, "content": "a"} for role in _ROLES[: n + 1]] for n in range(len(_ROLES))]
    texts = [str(tokenizer.apply_chat_template(chat, tokenize=False)) for chat in chats]
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    special = set(tokenizer.all_special_ids)
    special |= {i for i, token in getattr(tokenizer, "added_tokens_decoder", {}).items() if token.special}
    for token in dict.fromkeys(ids[-1]):
        counts = [chat.count(token) for chat in ids]
        if token in special and all(b - a == 1 for a, b in zip(counts, counts[1:], strict=False)):
            return int(token)
    raise ValueError(
        "the chat template begins turns by no special token of its own: compute the clock, and give it with "
        "activations (lens.Activations, clocks=)"
    )


def _since_document(
    tokens: np.ndarray, tokenizer: transformers.PreTrainedTokenizerBase, start: np.ndarray | None, bos: bool
) -> np.ndarray:
    token = tokenizer.bos_token_id
    has_bos = isinstance(token, int)
    if start is not None:
        since = start[:, None] + np.arange(tokens.shape[1]) - bos + has_bos
        since[:, : int(bos)] = -1
        return since.astype(np.int32)
    if isinstance(token, int):
        return since_token(tokens, token)
    if tokenizer.eos_token_id is None:
        raise ValueError("the tokenizer has neither BOS nor EOS: nothing says where a packed document begins")
    after = np.zeros(tokens.shape, bool)
    after[:, 1:] = tokens[:, :-1] == tokenizer.eos_token_id
    return _since(after, np.zeros_like(after))
