"""Texts by name, one row per document, and the token windows cut from them."""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import datasets
import numpy as np
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from lens.activations import packages, plays

NAMES = ("tiny-shakespeare", "shakespeare-held-out", "pandas-docs")
_LONG_LINE = 25  # characters; shorter lines ("My lord!", a speaker's name) recur in unrelated texts
_PLAIN: dict[str, Any] = {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}


@dataclass(frozen=True)
class Windows:
    """Token windows of one corpus, each cut from a single document.

    Attributes:
        tokens: int32 `[n, T]`; with BOS, column 0 is BOS and columns 1..T-1 are text.
        document: int32 `[n]`, index into `documents`.
        start: int64 `[n]`, offset in tokens of the window's first text token in its document.
        documents: names of all documents of the corpus, in its order.
        digest: sha256 of the corpus text.
    """

    tokens: np.ndarray
    document: np.ndarray
    start: np.ndarray
    documents: tuple[str, ...]
    digest: str


def load(name: str) -> datasets.Dataset:
    """A corpus as rows of `text` and `document` (and `genre` for plays).

    Args:
        name: `tiny-shakespeare`, `shakespeare-held-out`, `pandas-docs`, the path of a UTF-8 text file, or a
            data set of the hub as `name` or `name:configuration` (its `train` split, one document per row).

    Raises:
        ValueError: a file is not UTF-8 (the message gives the byte offset), a data set has no `text` column,
            or every document is empty.
        FileNotFoundError: neither a file nor a data set that can be reached.
    """
    if name == "tiny-shakespeare":
        corpus = datasets.Dataset.from_list(plays.tiny_shakespeare())
    elif name == "shakespeare-held-out":
        corpus = datasets.Dataset.from_list(plays.held_out())
    elif name == "pandas-docs":
        corpus = _pandas_docs()
    elif Path(name).is_file():
        corpus = _text_file(Path(name))
    else:
        corpus = _hub(name)
    if not any(text.strip() for text in corpus["text"]):
        raise ValueError(f"corpus {name!r} has no text: all of its {len(corpus)} documents are empty")
    return corpus


def speeches(play: str) -> datasets.Dataset:
    """The speeches and stage directions of one play, in order, as labels for its text.

    Columns: play, genre, act, scene, turn, speaker, kind (`speech` or `stage direction`), text, and start and
    stop, offsets in characters in the play's text as `load` gives it (see `token_characters`).
    """
    genre = plays.document(play)["genre"]
    return datasets.Dataset.from_list([{"play": play, "genre": genre, **row} for row in plays.parse(play)[1]])


def draw_windows(
    dataset: datasets.Dataset,
    tokenizer: PreTrainedTokenizerBase,
    n: int,
    length: int,
    *,
    starts: Literal["random", "fixed", "disjoint"] = "random",
    bos: bool = True,
    bos_id: int | None = None,
    seed: int = 0,
) -> Windows:
    """`n` windows of `length` tokens: BOS and text of one document (without `bos`, text alone).

    Args:
        starts: `random`: distinct starts, uniform over every valid start of every document;
            `fixed`: the first `n` consecutive chunks;
            `disjoint`: windows without overlap, from all documents in proportion to their length, in an order
            whose first m windows are spread over the documents too.
        bos_id: the token to put at position 0; needed if `bos`.
        seed: draws the windows (`random`, `disjoint`).

    Raises:
        ValueError: the corpus holds too few windows (the message gives the counts); `bos` without `bos_id`.
    """
    if bos and bos_id is None:
        raise ValueError("bos=True needs bos_id; for a tokenizer that has none, pass bos=False")
    n_text = length - bos
    if n < 1 or n_text < 1:
        raise ValueError(f"expected n >= 1 windows with text in them, found n = {n}, length = {length}")
    tokens = tokenise(dataset, tokenizer)
    sizes = np.asarray(tokens["size"], np.int64)
    available = np.maximum(sizes - n_text + 1, 0) if starts == "random" else sizes // n_text
    if available.sum() < n:
        kind = "distinct" if starts == "random" else "non-overlapping"
        raise ValueError(
            f"corpus too short: {n} {kind} windows of {n_text} text tokens asked for, {available.sum()} "
            f"available ({sizes.sum()} tokens in {len(sizes)} documents, the longest {sizes.max()}). "
            f"Ask for fewer or shorter windows, or give more text."
        )
    rng = np.random.default_rng(seed)
    if starts == "random":
        document, start = _locate(rng.choice(available.sum(), size=n, replace=False), available)
    elif starts == "fixed":
        document, start = _locate(np.arange(n), available)
        start *= n_text
    else:
        document, start = _spread(n, sizes, available, n_text, rng)
    return Windows(
        tokens=_cut(tokens, document, start, n_text, bos_id if bos else None),
        document=document.astype(np.int32),
        start=start.astype(np.int64),
        documents=tuple(dataset["document"]),
        digest=digest(dataset),
    )


def _locate(index: np.ndarray, available: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The document and the number in it of places counted through all documents."""
    end = np.cumsum(available)
    document = np.searchsorted(end, index, side="right")
    return document, index - (end - available)[document]


def _spread(
    n: int, sizes: np.ndarray, available: np.ndarray, n_text: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Document and start of `n` windows on a grid in each document, in proportion to its length."""
    share = n * available / available.sum()
    wanted = np.floor(share).astype(np.int64)
    wanted[np.argsort(wanted - share, kind="stable")[: n - wanted.sum()]] += 1  # largest remainders
    for d in np.flatnonzero((wanted == 0) & (available > 0)):  # each document is represented, if n allows it
        if wanted.max() > 1:
            wanted[wanted.argmax()] -= 1
            wanted[d] += 1
    starts, ranks = [], []
    for size, chunks, take in zip(sizes, available, wanted, strict=True):
        phase = rng.integers(size - chunks * n_text + 1)
        starts.append(phase + n_text * rng.choice(chunks, size=take, replace=False))
        ranks.append((np.arange(take) + rng.random()) / max(take, 1))
    order = np.argsort(np.concatenate(ranks))
    return np.repeat(np.arange(len(sizes)), wanted)[order], np.concatenate(starts)[order]


def _cut(
    tokens: datasets.Dataset, document: np.ndarray, start: np.ndarray, n_text: int, bos_id: int | None
) -> np.ndarray:
    bos = bos_id is not None
    windows = np.empty((len(document), n_text + bos), np.int32)
    if bos:
        windows[:, 0] = bos_id
    order = np.argsort(document, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(document[order])) + 1):  # each document is read once
        text = tokens[int(document[rows[0]])]["tokens"]
        windows[rows, int(bos) :] = np.lib.stride_tricks.sliding_window_view(text, n_text)[start[rows]]
    return windows


def tokenise(dataset: datasets.Dataset, tokenizer: PreTrainedTokenizerBase) -> datasets.Dataset:
    """Each document's `tokens` (int32) and their number `size`, without special tokens.

    The name of a special token in the text, such as `<bos>`, is read as plain characters.
    """
    # Named by what goes in: hashing the tokenizer object, as `map` would, takes longer than the tokenisation.
    source = f"{digest(dataset)} {_identity(tokenizer)}"
    with _quiet():
        tokens = dataset.map(
            _encode,
            batched=True,
            remove_columns=dataset.column_names,
            fn_kwargs={"tokenizer": tokenizer},
            new_fingerprint=hashlib.sha256(source.encode()).hexdigest()[:16],
        )
    return tokens.with_format("numpy", dtype=np.int32)


@functools.lru_cache(maxsize=1)
def _identity(tokenizer: PreTrainedTokenizerBase) -> str:
    """sha256 of the whole tokenizer: a second or two for a vocabulary of 262,144."""
    backend = cast(PreTrainedTokenizerFast, tokenizer).backend_tokenizer
    return hashlib.sha256(backend.to_str().encode()).hexdigest()


def _encode(rows: dict[str, list], tokenizer: PreTrainedTokenizerBase) -> dict[str, list]:
    encoded = tokenizer(rows["text"], **_PLAIN)["input_ids"]
    return {"tokens": [np.asarray(ids, np.int32) for ids in encoded], "size": [len(ids) for ids in encoded]}


def token_characters(
    dataset: datasets.Dataset, tokenizer: PreTrainedTokenizerBase
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each document's tokens (as `tokenise` gives them) and the offset in characters at which each starts (int64), to
    join tokens with `speeches`."""
    encoded = tokenizer(list(dataset["text"]), return_offsets_mapping=True, **_PLAIN)
    return [
        (np.asarray(ids, np.int32), np.asarray(offsets, np.int64).reshape(-1, 2)[:, 0])
        for ids, offsets in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    ]


def check_no_leak(train: datasets.Dataset, test: datasets.Dataset, tolerance: float = 0.05) -> None:
    """Raise if test text was there in training.

    Raises:
        ValueError: more than `tolerance` of the test text's long lines (25 characters or more) are lines of
            the training text too; the message gives the share and the document that shares most.
    """
    seen = {line for text in train["text"] for line in _long_lines(text)}
    shared, total = 0, 0
    worst = (0.0, "")
    for text, document in zip(test["text"], test["document"], strict=True):
        lines = _long_lines(text)
        again = sum(line in seen for line in lines)
        shared, total = shared + again, total + len(lines)
        worst = max(worst, (again / max(len(lines), 1), document))
    if total and shared / total > tolerance:
        raise ValueError(
            f"test text leaks into training: {shared} of {total} test lines ({shared / total:.1%}) are in "
            f"the training text, the largest share in document {worst[1]!r} ({worst[0]:.1%}). "
            f"Use a test corpus of other documents."
        )


def digest(dataset: datasets.Dataset) -> str:
    """sha256 of the corpus: names and texts of its documents, in order."""
    total = hashlib.sha256()
    for text, document in zip(dataset["text"], dataset["document"], strict=True):
        for part in (document, text):
            data = part.encode()
            total.update(len(data).to_bytes(8, "big") + data)
    return total.hexdigest()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress bars of `datasets`, which would end up in executed notebooks."""
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def _long_lines(text: str) -> list[str]:
    return [line for line in map(str.strip, text.splitlines()) if len(line) >= _LONG_LINE]


@functools.cache
def _pandas_docs() -> datasets.Dataset:
    """Docstrings of pandas, a document per module: technical prose of a version that the lock fixes, as the help of
    Python itself, which changes with every patch release, is not."""
    root = packages.folder("pandas", "`pandas-docs` is read from pandas: pip install pandas")
    modules = sorted(path.relative_to(root) for path in root.rglob("*.py"))
    texts = {path.with_suffix("").as_posix(): _docstrings(root / path) for path in modules if "tests" not in path.parts}
    rows = {name: text for name, text in texts.items() if text}
    return datasets.Dataset.from_dict({"text": list(rows.values()), "document": list(rows)})


def _docstrings(path: Path) -> str:
    """The docstrings of a Python file in order, read and not run."""
    found = [
        textwrap.dedent(first.value.value).strip()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and node.body
        for first in node.body[:1]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    ]
    return "\n\n".join(found)


def _text_file(path: Path) -> datasets.Dataset:
    # Streamed, so that no copy in the cache of `datasets` can go stale.
    rows = datasets.load_dataset("text", data_files=str(path), sample_by="document", split="train", streaming=True)
    try:
        text = "".join(row["text"] for row in rows)
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise ValueError(
            f"{path} is not UTF-8: byte {byte:#04x} at byte offset {error.start}. "
            f"Convert it first, for example: iconv -f latin1 -t utf-8 {path.name}"
        ) from None
    return datasets.Dataset.from_dict({"text": [text], "document": [path.stem]})


def _hub(name: str) -> datasets.Dataset:
    try:
        rows = datasets.load_dataset(*name.split(":", 1), split="train")
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"corpus {name!r}: no such file, and not loaded from the model hub either ({error}). "
            f"Corpora that need no network: {', '.join(NAMES)}, or the path of a UTF-8 text file"
        ) from error
    if "text" not in rows.column_names:
        raise ValueError(f"data set {name!r} has no column 'text'; it has {', '.join(rows.column_names)}")
    names = [f"{name}#{i}" for i in range(len(rows))]
    return rows.select_columns("text").add_column("document", names)
