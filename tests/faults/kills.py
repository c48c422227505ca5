"""Processes that end in the middle of their work: at a chosen change of the disk, or at a chosen byte of a file."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

CHANGES = {
    "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "shutil.rmtree",
    "shutil.copyfile", "mmap.__new__",
}  # fmt: skip


def changes(work: Callable[[], object], root: Path) -> int:
    """How often `work` changes something below `root`."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        seen = [0]
        _watch(root, lambda: seen.__setitem__(0, seen[0] + 1))
        work()
        os.write(writer, str(seen[0]).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return int(answer)


def killed_before(change: int, work: Callable[[], object], root: Path) -> bool:
    """Run `work` in a process of its own that is killed before it changes `root` for the n-th time, counted from 0."""

    def prepare() -> None:
        left = [change]

        def count() -> None:
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1

        _watch(root, count)

    return _ended(prepare, work) == signal.SIGKILL


def killed_at_byte(size: int, work: Callable[[], object]) -> bool:
    """Run `work` in a process of its own that ends when a file that it writes would grow beyond `size` bytes."""

    def prepare() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return _ended(prepare, work) == signal.SIGXFSZ


def _ended(prepare: Callable[[], None], work: Callable[[], object]) -> int:
    """The signal that ended a process which does the work; 0 if none did."""
    child = os.fork()
    if child == 0:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1), os.dup2(null, 2)
        try:
            prepare()
            work()
        finally:
            os._exit(0)
    try:
        status = os.waitpid(child, 0)[1]
    except BaseException:  # a time limit: what goes on would write into the folders of the next test
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def _watch(root: Path, notice: Callable[[], None]) -> None:
    inside, busy = str(root), [False]

    def hook(event: str, arguments: tuple) -> None:
        if busy[0]:
            return
        busy[0] = True
        try:
            if event == "open":
                path, _, flags = arguments
                if flags & (os.O_WRONLY | os.O_RDWR) and str(path).startswith(inside):
                    notice()
            elif event == "mmap.__new__" or event in CHANGES and str(arguments[0]).startswith(inside):
                notice()
        finally:
            busy[0] = False

    sys.addaudithook(hook)
