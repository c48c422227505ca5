"""Texts by name, one row per document, and the token windows cut from them."""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import math
import os
import re
import tempfile
import textwrap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import datasets
import numpy as np
import transformers

from lens.activations import documents, packages, plays, text_file
from lens.activations.documents import Corpus
from lens.activations.on_hub import check_on_hub, near

NAMES = ("tiny-shakespeare", "shakespeare-held-out", "pandas-docs")
LEAST_HELD_OUT = 16  # windows that a profile takes where a text has fewer than were asked for
_FOLD = re.compile(r"plays-fold-(\d+)-of-(\d+)(-held-out)?")
_LONG_LINE = 25  # characters; shorter lines ("My lord!", a speaker's name) recur in unrelated texts
_PLAIN: dict[str, Any] = {
    "add_special_tokens": False, "split_special_tokens": True, "return_attention_mask": False, "verbose": False,
}  # fmt: skip


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


@dataclass(frozen=True)
class Tokens:
    """Token ids of every document."""

    file: BinaryIO
    """int32, of all documents end to end"""
    sizes: np.ndarray
    """int64 `[documents]`, how many are of each"""

    def read(self, first: int, n: int) -> np.ndarray:
        """`n` ids from number `first` on. The file is not mapped: whole stretches around each would then count as
        memory of this process."""
        width = np.dtype(np.int32).itemsize
        return np.frombuffer(os.pread(self.file.fileno(), n * width, first * width), np.int32)


def load(name: str) -> Corpus:
    """A corpus as rows of `text` and `document` (and `genre` for plays).

    Args:
        name: `tiny-shakespeare`, `shakespeare-held-out`, `pandas-docs`, the path of a UTF-8 text file or of a folder
            of such files (each a document, in the order of their names), or a data set of the hub as `name` or
            `name:configuration` (its `train` split, one document per row); of Shakespeare's 38 plays also
            `plays-fold-I-of-N`, those that fold I trains on, and `plays-fold-I-of-N-held-out`, the others (see
            `lens.activations.plays.fold`).

    Raises:
        ValueError: a file is not UTF-8 (the message gives the byte offset), a folder of text has files of other kinds,
            a data set has no `text` column, every document is empty, or there is no such fold.
        FileNotFoundError: neither a file nor a data set that can be reached.
    """
    path = Path(name if os.path.exists(name) else os.path.expanduser(name))
    if name == "tiny-shakespeare":
        corpus = datasets.Dataset.from_list(plays.tiny_shakespeare())
    elif name == "shakespeare-held-out":
        corpus = datasets.Dataset.from_list(plays.held_out())
    elif found := _FOLD.fullmatch(name):
        train, held_out = plays.fold(int(found[1]), int(found[2]))
        corpus = datasets.Dataset.from_list([plays.document(play) for play in (held_out if found[3] else train)])
    elif name == "pandas-docs":
        corpus = _pandas_docs()
    elif path.is_file():
        corpus = documents.from_files([path])
    elif path.is_dir() and (files := documents.texts_in(path)):
        corpus = documents.from_files(files)
    else:
        corpus = _hub(str(path) if path.is_dir() else name)
    check_not_empty(corpus, name)
    return corpus


def holds_plays(name: str) -> bool:
    """Whether a corpus consists of Shakespeare's plays, which come with labels (`speeches`)."""
    return name in ("tiny-shakespeare", "shakespeare-held-out") or _FOLD.fullmatch(name) is not None


def check_not_empty(corpus: Corpus, name: str) -> None:
    """Raise a ValueError if there is nothing but space in all documents."""
    if not any(text.strip() for _, text in documents.pairs(corpus)):
        raise ValueError(f"corpus {name!r} has no text: all of its {len(corpus)} documents are empty")


def speeches(play: str) -> datasets.Dataset:
    """The speeches and stage directions of one play, in order, as labels for its text.

    Columns: play, genre, act, scene, turn, speaker, kind (`speech` or `stage direction`), text, and start and
    stop, offsets in characters in the play's text as `load` gives it (see `token_characters`).
    """
    genre = plays.document(play)["genre"]
    return datasets.Dataset.from_list([{"play": play, "genre": genre, **row} for row in plays.parse(play)[1]])


def draw_windows(
    dataset: Corpus,
    tokenizer: transformers.PreTrainedTokenizerBase,
    n: int,
    length: int,
    *,
    starts: Literal["random", "disjoint"] = "random",
    bos: bool = True,
    bos_id: int | None = None,
    seed: int = 0,
    least: int | None = None,
    name: str = "corpus",
    tokens: Tokens | None = None,
) -> Windows:
    """`n` windows of `length` tokens: BOS and text of one document (without `bos`, text alone).

    Args:
        starts: `random`: distinct starts, uniform over every valid start of every document;
            `disjoint`: windows without overlap, from all documents in proportion to their length, in an order
            whose first m windows are spread over the documents too.
        bos_id: the token to put at position 0; needed if `bos`.
        seed: draws the windows (`random`, `disjoint`).
        least: windows that will do: where the corpus holds fewer than n, all of them are taken, with a warning.
        name: of the corpus, for messages.
        tokens: those of the corpus (see `tokenise`), where they are there already.

    Raises:
        ValueError: the corpus holds too few windows (the message gives the counts, and the characters that are needed
            and there); `bos` without `bos_id`.
    """
    if bos and bos_id is None:
        raise ValueError(
            "bos=True needs bos_id; where the tokenizer has none, bos=False (windows.bos: false in a study)"
        )
    n_text = length - bos
    if n < 1 or n_text < 1:
        raise ValueError(f"expected n >= 1 windows with text in them, found n = {n}, length = {length}")
    with contextlib.nullcontext(tokens) if tokens else tokenise(dataset, tokenizer) as tokens:
        sizes = tokens.sizes
        available = np.maximum(sizes - n_text + 1, 0) if starts == "random" else sizes // n_text
        if available.sum() < n:
            n = _fewer(
                dataset, sizes, int(available.sum()), n, n if least is None else min(least, n), n_text, starts, name
            )
        rng = np.random.default_rng(seed)
        if starts == "random":
            document, start = _locate(rng.choice(available.sum(), size=n, replace=False), available)
        else:
            document, start = _spread(n, sizes, available, n_text, rng)
        cut = _cut(tokens, document, start, n_text, bos_id if bos else None)
    return Windows(
        tokens=cut,
        document=document.astype(np.int32),
        start=start.astype(np.int64),
        documents=tuple(name for name, _ in documents.pairs(dataset)),
        digest=digest(dataset),
    )


def _fewer(
    dataset: Corpus, sizes: np.ndarray, available: int, n: int, least: int, n_text: int, starts: str, name: str
) -> int:
    """All windows that are there, which are fewer than n; or a ValueError with what is needed for the least."""
    kind = "distinct" if starts == "random" else "non-overlapping"
    found = f"{available} available ({sizes.sum()} tokens in {len(sizes)} documents, the longest {sizes.max()})"
    asked = f"{n} {kind} windows of {n_text} text tokens asked for"
    if available >= least:
        warnings.warn(f"{name}: {asked}, {found}: taking these", stacklevel=3)
        return available
    characters = sum(len(text) for _, text in documents.pairs(dataset))
    if not sizes.sum():
        raise ValueError(f"{name}: the tokenizer makes no token of its {characters:,} characters")
    tokens = least + n_text - 1 if starts == "random" else least * n_text
    needed = math.ceil(tokens * characters / sizes.sum())
    raise ValueError(
        f"{name} too short: {asked}, {found}. {least} take about {needed:,} characters, in documents of {n_text} "
        f"tokens or more; there are {characters:,}: "
        + (f"pass windows={available} or fewer" if available else "pass a smaller length=")
        + " (in a study, see `windows:`), or more text."
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


def _cut(tokens: Tokens, document: np.ndarray, start: np.ndarray, n_text: int, bos_id: int | None) -> np.ndarray:
    bos = bos_id is not None
    windows = np.empty((len(document), n_text + bos), np.int32)
    if bos:
        windows[:, 0] = bos_id
    first = (np.cumsum(tokens.sizes) - tokens.sizes)[document] + start
    for row, place in zip(windows, first.tolist(), strict=True):
        row[int(bos) :] = tokens.read(place, n_text)
    return windows


@contextlib.contextmanager
def tokenise(dataset: Corpus, tokenizer: transformers.PreTrainedTokenizerBase) -> Iterator[Tokens]:
    """The tokens of each document, without special tokens.

    The name of a special token in the text, such as `<bos>`, is read as plain characters. Memory doesn't grow with the
    text: a few documents are tokenised at a time, and the tokens are kept in a file, which is removed after use.
    """
    sizes = []
    with tempfile.TemporaryFile() as file:
        for texts in _batches(dataset):
            for ids in cast(list[list[int]], tokenizer(texts, **_PLAIN)["input_ids"]):
                _write(file, np.asarray(ids, np.int32))
                sizes.append(len(ids))
        yield Tokens(file, np.asarray(sizes, np.int64))


def _write(file: BinaryIO, ids: np.ndarray) -> None:
    try:
        file.write(ids.tobytes())
        file.flush()
    except OSError as error:
        folder = tempfile.gettempdir()
        what = f"{ids.nbytes:,} bytes of tokens after {file.tell():,} could not be written to {folder}"
        raise OSError(error.errno, f"{what}: {error.strerror}; make room, or set TMPDIR to another folder") from None


def _batches(dataset: Corpus) -> Iterator[list[str]]:
    """The texts in order, in lists of `text_file.PART` characters at most: a tokenizer needs 200 times their size."""
    batch, size = [], 0
    for _, text in documents.pairs(dataset):
        if batch and size + len(text) > text_file.PART:
            yield batch
            batch, size = [], 0
        batch.append(text)
        size += len(text)
    if batch:
        yield batch


def token_ids(text: str, tokenizer: transformers.PreTrainedTokenizerBase) -> list[int]:
    """The tokens of one text, as `tokenise` gives them."""
    return cast(list[int], tokenizer(text, **_PLAIN)["input_ids"])


def token_characters(
    dataset: datasets.Dataset, tokenizer: transformers.PreTrainedTokenizerBase
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each document's tokens (as `tokenise` gives them) and the offset in characters at which each starts (int64), to
    join tokens with `speeches`."""
    encoded = tokenizer(list(dataset["text"]), return_offsets_mapping=True, **_PLAIN)
    return [
        (np.asarray(ids, np.int32), np.asarray(offsets, np.int64).reshape(-1, 2)[:, 0])
        for ids, offsets in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    ]


def check_no_leak(train: Corpus, test: Corpus, tolerance: float = 0.05) -> None:
    """Raise if test text was there in training.

    Raises:
        ValueError: more than `tolerance` of the test text's long lines (25 characters or more) are lines of
            the training text too; the message gives the share and the document that shares most.
    """
    tested = np.unique(np.concatenate([_long_lines(text) for _, text in documents.pairs(test)]))
    seen = np.zeros(len(tested), bool)
    for _, text in documents.pairs(train):  # which may be much longer than the test text
        seen |= np.isin(tested, _long_lines(text))
    shared, total = 0, 0
    worst = (0.0, "")
    for document, text in documents.pairs(test):
        lines = _long_lines(text)
        again = int(np.isin(lines, tested[seen]).sum())
        shared, total = shared + again, total + len(lines)
        worst = max(worst, (again / max(len(lines), 1), document))
    if total and shared / total > tolerance:
        raise ValueError(
            f"test text leaks into training: {shared} of {total} test lines ({shared / total:.1%}) are in "
            f"the training text, the largest share in document {worst[1]!r} ({worst[0]:.1%}). "
            f"Use a test corpus of other documents."
        )


def digest(dataset: Corpus) -> str:
    """sha256 of the corpus: names and texts of its documents, in order."""
    total = hashlib.sha256()
    for row in documents.pairs(dataset):
        for part in row:
            data = part.encode()
            total.update(len(data).to_bytes(8, "big") + data)
    return total.hexdigest()


def _long_lines(text: str) -> np.ndarray:
    """A hash of each long line: the lines themselves would take more memory than the corpus."""
    return np.array([hash(line) for line in map(str.strip, text.splitlines()) if len(line) >= _LONG_LINE], np.int64)


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


def _hub(name: str) -> datasets.Dataset:
    folder = os.path.isdir(name)
    if folder and (pattern := re.search(r"[\[\]*?]|::", name)):
        raise ValueError(f"`datasets` takes the {pattern[0]!r} in {name} for a pattern: rename the folder")
    named = [name] if folder else name.split(":", 1)
    try:
        check_on_hub(named[0], "dataset")
        rows = datasets.load_dataset(*named, split="train")
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"corpus {name!r}{near(name, NAMES, 'dataset')}: no such file, and not loaded from the model hub either "
            f"({error}). Corpora that need no network: {', '.join(NAMES)}, or the path of a UTF-8 text file"
        ) from error
    rows = cast(datasets.Dataset, rows)
    if "text" in rows.column_names:
        rows = rows.select_columns("text")
    return documents.from_rows(rows, name)
