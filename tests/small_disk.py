"""A disk with little room, for tests of what is said when it is full."""

from __future__ import annotations

import contextlib
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PLENTY = 1 << 30  # bytes


@contextlib.contextmanager
def small_disk(folder: Path, nbytes: int) -> Iterator[Callable[[], None]]:
    """`folder` on a disk of its own with room for `nbytes`, until the function that it gives is called.

    Where nothing can be mounted, no file may be larger than a quarter of it instead; the test is skipped where that
    fails too.
    """
    folder.mkdir()
    if _mount(folder, f"size={nbytes}"):
        try:
            yield lambda: _mount(folder, f"remount,size={PLENTY}") or pytest.fail("cannot make the disk larger")
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)
        return
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes // 4, before[1]))
    except (OSError, ValueError) as error:
        pytest.skip(f"a full disk cannot be tried: neither mount nor RLIMIT_FSIZE works here ({error})")
    try:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _mount(folder: Path, options: str) -> bool:
    if shutil.which("mount") is None:
        return False
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True)
    return done.returncode == 0
