"""Work that one process does at a time: the others wait, and say what for."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout


@contextlib.contextmanager
def holding(path: Path) -> Iterator[None]:
    """Hold the lock of `path`, a file or folder that need not exist, by the file `.<name>.lock` beside it.

    A process that has to wait prints one line to standard error. The lock of a process that was killed is free; its
    file stays. Not to be nested for one path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.with_name(f".{path.name}.lock")
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        holder = file.read_text() or "another process"
        print(f"waiting for {holder}, which works on {path} (lock {file})", file=sys.stderr, flush=True)
        lock.acquire()
    try:
        with contextlib.suppress(OSError):  # of a full disk, say: work that needs room will name it
            file.write_text(f"process {os.getpid()} on {socket.gethostname()}")
        yield
    finally:
        lock.release()
