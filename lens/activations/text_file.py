"""UTF-8 text in documents that fit in memory: a large file is read part by part, whenever a part is asked for."""

from __future__ import annotations

import codecs
import io
import itertools
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
class Part:
    """A document: a stretch of a text file."""

    path: Path
    modified: int
    """nanoseconds of the file's last change: offsets are of no use in another text"""
    document: str
    start: int
    """first byte"""
    stop: int

    def read(self) -> str:
        """The text, with every line ending as a line feed.

        Raises:
            ValueError: the file is not UTF-8 text, or was changed; the message gives the place and how to convert it.
        """
        return _decode(self.path, self.start, self._bytes(self.stop)).replace("\r\n", "\n").replace("\r", "\n")

    def cut(self, size: int) -> tuple[Part, Part]:
        """The first `size` bytes, back to a line break or a space, and the rest; one of them may be empty."""
        place = self.start + size
        place = self.start + _seam(self._bytes(place), (b"\n", b" "), 0) if size > 0 else self.start
        return replace(self, stop=place), replace(self, start=place)

    def _bytes(self, stop: int) -> bytes:
        with self.path.open("rb") as file:
            if os.fstat(file.fileno()).st_mtime_ns != self.modified:
                raise ValueError(f"{self.path} was changed while it was read: start again")
            file.seek(self.start)
            return file.read(stop - self.start)


@dataclass(frozen=True)
class TextFiles(Sequence):
    """Text files in parts, as rows of `text` and `document`; a part is read when it is asked for."""

    parts: tuple[Part, ...]

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, i):
        """The row `i`."""
        return {"text": self.parts[i].read(), "document": self.parts[i].document}

    def split(self, share: float) -> tuple[TextFiles, TextFiles]:
        """The first `share` of the bytes, and the rest; see `lens.activations.split.split_text`."""
        sizes = [part.stop - part.start for part in self.parts]
        ends = list(itertools.accumulate(sizes))
        cut = int(share * ends[-1])
        i = next(i for i, end in enumerate(ends) if cut < end)
        first, rest = self.parts[i].cut(cut - (ends[i] - sizes[i]))
        before = (*self.parts[:i], *([first] if first.start < first.stop else []))
        after = (*([rest] if rest.start < rest.stop else []), *self.parts[i + 1 :])
        return TextFiles(before), TextFiles(after)


def read(paths: Sequence[Path]) -> TextFiles:
    """Text files in parts of at most `PART` bytes, which end at an empty line, a line break or a space.

    A document has the name of its file; with files of one name in several folders, the path from the folder they share.

    Raises:
        OSError: a file can't be read.
    """
    names = [path.stem for path in paths]
    if len(set(names)) < len(names):
        shared = os.path.commonpath([path.absolute().parent for path in paths])
        names = [path.absolute().relative_to(shared).as_posix() for path in paths]
    parts = []
    for path, name in zip(paths, names, strict=True):
        with path.open("rb") as file:
            spans = list(_spans(file))
            modified = os.fstat(file.fileno()).st_mtime_ns
        numbered = [name] if len(spans) == 1 else [f"{name}#{i}" for i in range(len(spans))]
        parts += [Part(path, modified, document, *span) for document, span in zip(numbered, spans, strict=True)]
    return TextFiles(tuple(parts))


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
