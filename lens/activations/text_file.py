"""UTF-8 text in documents that fit in memory: a large file is read part by part, whenever a part is asked for."""

from __future__ import annotations

import codecs
import io
import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

PART = 1 << 20  # bytes: a longer text is several documents, so that a tokenizer is never given more at a time
_OTHERS = {
    b"\x1f\x8b": "compressed: gunzip --keep {}",
    b"BZh": "compressed: bunzip2 --keep {}",
    b"\xfd7zXZ\0": "compressed: unxz --keep {}",
    b"\x28\xb5\x2f\xfd": "compressed: zstd -d {}",
    b"PK\x03\x04": "an archive (or a document of an office program): unzip it, or save it as plain text",
    b"PAR1": "a table in Parquet: pass datasets.load_dataset('parquet', data_files=..., split='train')",
    b"%PDF-": "a PDF: pdftotext {}",
}
"""what files of other kinds begin with, and what to do about them"""
_MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"}  # the first of these begins like UTF-16
_MARKS |= {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


@dataclass(frozen=True)
class TextFile(Sequence):
    """Parts of a text file, as rows of `text` and `document`."""

    path: Path
    modified: int
    """nanoseconds of its last change: offsets are of no use in another text"""
    parts: tuple[tuple[str, int, int], ...]
    """name, first byte and end of each"""

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, i):
        """The row `i`: its text is read now, with every line ending as a line feed."""
        name, start, stop = self.parts[i]
        with self.path.open("rb") as file:
            if os.fstat(file.fileno()).st_mtime_ns != self.modified:
                raise ValueError(f"{self.path} was changed while it was read: start again")
            file.seek(start)
            text = _decode(self.path, start, file.read(stop - start))
        return {"text": text.replace("\r\n", "\n").replace("\r", "\n"), "document": name}

    def split(self, share: float) -> tuple[TextFile, TextFile]:
        """The first `share` of the bytes, and the rest; see `lens.activations.split.split_text`."""
        first, end = self.parts[0][1], self.parts[-1][2]
        cut = first + int(share * (end - first))
        i = next(i for i, (_, _, stop) in enumerate(self.parts) if cut < stop)
        name, start, stop = self.parts[i]
        with self.path.open("rb") as file:
            file.seek(start)
            cut = start + _seam(file.read(cut - start), (b"\n", b" "), 0) if cut > start else start
        halves = [(name, a, b) for a, b in ((start, cut), (cut, stop)) if a < b]
        before = self.parts[:i] + tuple(halves[:-1])
        return replace(self, parts=before), replace(self, parts=(halves[-1], *self.parts[i + 1 :]))


def read(path: Path) -> TextFile:
    """A text file in parts of at most `PART` bytes, which end at an empty line, a line break or a space.

    Raises:
        ValueError: the file is not UTF-8 text; the message gives the place and how to convert it.
    """
    with path.open("rb") as file:
        spans = list(_spans(file))
        modified = os.fstat(file.fileno()).st_mtime_ns
    names = [path.stem] if len(spans) == 1 else [f"{path.stem}#{i}" for i in range(len(spans))]
    return TextFile(path, modified, tuple((name, *span) for name, span in zip(names, spans, strict=True)))


def parts(text: str) -> list[str]:
    """A text as `read` would part it in a file."""
    if len(text) <= PART // 4:  # of at most four bytes
        return [text]
    data = text.encode()
    return [data[start:stop].decode() for start, stop in _spans(io.BytesIO(data))]


def _spans(file: BinaryIO) -> Iterator[tuple[int, int]]:
    start = 0
    while block := file.read(PART + 1):
        stop = start + (_seam(block[:PART]) if len(block) > PART else len(block))
        yield start, stop
        file.seek(stop)
        start = stop


def _seam(block: bytes, marks: Sequence[bytes] = (b"\n\n", b"\n", b" "), least: float = 0.5) -> int:
    """Where to cut a block of UTF-8: after the last of the first mark that there is, or before its last character.

    Args:
        least: marks in this share of the block don't count: the part would be too short.
    """
    first = int(least * len(block))
    for mark in marks:
        if (place := block.rfind(mark, first)) >= 0:
            return place + len(mark)
    stop = len(block) - 1
    while stop > 0 and block[stop] & 0xC0 == 0x80:  # inside a character
        stop -= 1
    return stop or len(block)


def _decode(path: Path, start: int, data: bytes) -> str:
    name = shlex.quote(str(path))
    for mark, remedy in _OTHERS.items() if start == 0 else ():
        if data.startswith(mark):
            raise ValueError(f"{path} is not text but {remedy.format(name)}")
    for mark, encoding in _MARKS.items() if start == 0 else ():
        if data.startswith(mark):
            raise ValueError(f"{path} is {encoding.upper()}, not UTF-8: iconv -f {encoding} -t utf-8 {name}")
    try:
        text = data.removeprefix(b"" if start else codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8: byte {data[error.start]:#04x} at byte offset {start + error.start}. "
            f"Convert it first, for example: iconv -f latin1 -t utf-8 {name}"
        ) from None
    if "\0" in text:
        raise ValueError(
            f"{path} has a NUL byte at byte offset {start + data.index(0)}: it is no UTF-8 text. "
            f"If it is UTF-16, convert it: iconv -f utf-16le -t utf-8 {name}"
        )
    return text
