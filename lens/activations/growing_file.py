"""A safetensors file that is filled row by row, and goes on after an interruption where it stopped."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path

import torch
from torch import Tensor

from lens.activations.store import KEY, sha256, write_json
from lens.files import remove, writing


class GrowingFile:
    """A safetensors file with one bf16 tensor [n, T, d] that is filled from the first row to the last.

    It has its final size and header from the start. `<name>.progress.json` beside it says how many rows are written and
    the sha256 of the file up to there; rows that are no longer what was written do not count, nor do any after them.

    Attributes:
        rows: how many are written.

    Raises:
        OSError: the disk has no room for the whole file, of which nothing is left; the message has path and size.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int]):
        nbytes = 2 * math.prod(shape)
        header = json.dumps({KEY: {"dtype": "BF16", "shape": list(shape), "data_offsets": [0, nbytes]}}).encode()
        header += b" " * (-len(header) % 8)
        self.path, self._progress = path, path.with_suffix(".progress.json")
        self._header = len(header).to_bytes(8, "little") + header
        self._size, self._row = len(self._header) + nbytes, nbytes // shape[0]
        if not self._resumes():
            if self._progress.exists():
                print(f"{path} is not what was written there: it is filled again from the first row", file=sys.stderr)
            self._allocate()
            self.go_back(0)

    def _resumes(self) -> bool:
        """Whether the rows recorded as written are on disk; they count from then on."""
        try:
            recorded = json.loads(self._progress.read_text())
            self.go_back(int(recorded["rows"]))
            return self._sha.hexdigest() == recorded["sha256"] and self.path.stat().st_size == self._size
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return False

    def _allocate(self) -> None:
        remove(self._progress)
        remove(self.path)  # a link there would be written through
        try:
            with writing(self.path, self._size), open(self.path, "wb") as file:
                file.write(self._header)
                file.flush()
                os.posix_fallocate(file.fileno(), 0, self._size)  # a full disk shows here, not after an hour
        except OSError:
            self.path.unlink(missing_ok=True)
            raise

    def _end(self) -> int:
        return len(self._header) + self.rows * self._row

    def go_back(self, rows: int) -> None:
        """Let only the first `rows` count as written."""
        self.rows = rows
        self._sha = sha256(self.path, self._end())

    def append(self, values: Tensor) -> None:
        """Write the next rows [m, T, d]; on return they are on disk."""
        data = values.to(torch.bfloat16).cpu().contiguous().view(torch.int16).numpy().tobytes()
        with writing(self.path, len(data)), open(self.path, "r+b") as file:
            file.seek(self._end())
            file.write(data)
            file.flush()
            os.fdatasync(file.fileno())
        self.rows += len(values)
        self._sha.update(data)
        write_json(self._progress, {"rows": self.rows, "sha256": self._sha.hexdigest()})

    def finish(self) -> str:
        """Drop the record of progress; sha256 of all that was written, whatever the disk has made of it."""
        self._progress.unlink()
        return self._sha.hexdigest()
