"""A corpus: rows of `text` and `document`, of what a user has: a data set, strings, files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.compute as pc

from lens.activations import text_file

Corpus = datasets.Dataset | text_file.TextFiles
LONGEST_PATH = 4096  # characters
TEXTS = (".txt", ".text", ".md", ".rst")  # files that are documents
DATA = {".parquet": "parquet", ".arrow": "arrow", ".json": "json", ".jsonl": "json", ".csv": "csv", ".tsv": "csv"}
"""files of data sets, and what `datasets` calls them"""


def pairs(corpus: Corpus) -> Iterator[tuple[str, str]]:
    """Name and text of each document."""
    for row in corpus:
        yield row["document"], row["text"]


def from_files(paths: Sequence[Path]) -> Corpus:
    """Text files: each one document, or several if it is long; see `lens.activations.text_file.read`.

    Raises:
        ValueError: the name of one is that of a data set, of which each row is a document.
    """
    for path in paths:
        if (suffix := path.suffix.lower()) in DATA:
            raise ValueError(
                f"{path} is a data set by its name: pass datasets.load_dataset({DATA[suffix]!r}, "
                f"data_files={str(path)!r}, split='train'), or the folder that it lies in"
            )
    files = text_file.read(paths)
    return files if len(files) > 1 else datasets.Dataset.from_list(list(files))


def texts_in(folder: Path) -> list[Path]:
    """The text files in a folder and the folders in it, by name; none if it holds a data set.

    Raises:
        ValueError: there are files of other kinds too, that would be left out.
    """
    files = sorted(
        p for p in folder.rglob("*") if p.is_file() and not any(_hidden(x) for x in p.relative_to(folder).parts)
    )
    texts = [p for p in files if p.suffix.lower() in TEXTS]
    if not texts or any(p.suffix.lower() in DATA for p in files):  # where a text file is the data set's description
        return []
    if others := [p for p in files if p not in set(texts)]:
        kinds = ", ".join(sorted({p.suffix or p.name for p in others}))
        raise ValueError(
            f"{folder} holds {len(texts)} text files ({', '.join(TEXTS)}) and {len(others)} others ({kinds}): name "
            f"those to read, as sorted(Path({str(folder)!r}).rglob('*.txt'))"
        )
    return texts


def _hidden(name: str) -> bool:
    return name.startswith(".")


def from_texts(texts: Any) -> Corpus:
    """Documents given as strings, or as `Path` of text files; named by their number or their file.

    Raises:
        ValueError: something is neither, or every string is the name of a file.
    """
    if isinstance(texts, Mapping):
        names = ", ".join(map(str, texts))
        raise ValueError(f"a {type(texts).__name__} of {names} where a text is expected: pass one of them, text[...]")
    if hasattr(texts, "columns"):
        names = ", ".join(map(str, getattr(texts, "column_names", texts.columns)))
        raise ValueError(f"a table with the columns {names} where a text is expected: pass one of them, text[...]")
    if isinstance(texts, set | frozenset):
        raise ValueError("a set has no order, and windows would be others in every process: pass a list")
    if not isinstance(texts, Iterable) or isinstance(texts, bytes):
        raise ValueError(f"a {type(texts).__name__} where a text is expected: pass [text], a Path or a data set")
    if isinstance(texts, datasets.IterableDataset):
        raise ValueError("an IterableDataset may have no end: pass a list of its rows, as list(text.take(1000))")
    given, rows = list(texts), []
    if given and all(isinstance(text, str) and _is_file(text) for text in given):
        raise ValueError(f"each of the {len(given)} documents is the name of a file: pass Paths to read the files")
    if given and all(isinstance(text, os.PathLike) for text in given):
        return from_files([Path(text) for text in given])
    for i, text in enumerate(given):
        if isinstance(text, os.PathLike):
            rows += from_files([Path(text)])
        elif isinstance(text, Mapping) and isinstance(text.get("text"), str):  # a row of a data set
            for part in (name := str(text.get("document", i)), text["text"]):
                _check_encodes(part, i)
            rows += _parts(name, text["text"])
        elif isinstance(text, str):
            _check_encodes(text, i)
            rows += _parts(str(i), text)
        else:
            raise ValueError(f"document {i} of the text is a {type(text).__name__}: pass strings or Paths")
    columns = {column: [row[column] for row in rows] for column in _COLUMNS}
    return datasets.Dataset.from_dict(columns, datasets.Features(dict.fromkeys(_COLUMNS, datasets.Value("string"))))


def from_rows(rows: datasets.Dataset, name: str = "text") -> datasets.Dataset:
    """A data set as it is, but for rows without a name, which get one, and long documents, which become several.

    Raises:
        ValueError: `text` is missing, not of strings, or absent from a row.
    """
    if "text" not in rows.column_names:
        raise ValueError(f"data set {name!r} has no column 'text'; it has {', '.join(rows.column_names)}")
    kind = rows.features["text"]
    if getattr(kind, "dtype", "") not in ("string", "large_string"):
        raise ValueError(f"column 'text' of data set {name!r} holds {kind}, not strings")
    rows = rows.with_format(None)
    if "document" not in rows.column_names:
        rows = rows.add_column("document", [f"{name}#{i}" for i in range(len(rows))])
    elif rows.features["document"] != datasets.Value("string"):
        try:
            rows = rows.cast_column("document", datasets.Value("string"))
        except (TypeError, ValueError, pa.ArrowException):
            raise ValueError(
                f"column 'document' of data set {name!r} holds {rows.features['document']}, not names: leave it out, "
                "text.remove_columns('document')"
            ) from None
    longest = 0
    for table in rows.with_format("arrow").iter(1000):
        for column in _COLUMNS:
            if missing := table[column].null_count:
                advice = f"leave them out: text.filter(lambda row: row[{column!r}] is not None)"
                raise ValueError(f"data set {name!r} has rows without {column!r} ({missing} or more); {advice}")
        longest = max(longest, pc.max(pc.binary_length(table["text"])).as_py())
    if longest <= text_file.PART:
        return rows
    return datasets.Dataset.from_list([part for document, text in pairs(rows) for part in _parts(document, text)])


_COLUMNS = ("text", "document")


def _parts(name: str, text: str) -> list[dict[str, str]]:
    parts = text_file.parts(text)
    names = [name] if len(parts) == 1 else [f"{name}#{i}" for i in range(len(parts))]
    return [{"text": part, "document": n} for part, n in zip(parts, names, strict=True)]


def _check_encodes(text: str, i: int) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"document {i} of the text has half of a surrogate pair ({text[error.start]!r}) at {error.start}: it is no "
            'character; text.encode("utf-8", "replace").decode() replaces it'
        ) from None


def _is_file(name: str) -> bool:
    return len(name) <= LONGEST_PATH and "\n" not in name and "\0" not in name and os.path.isfile(name)
