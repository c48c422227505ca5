"""Progress of what takes long: a bar where somebody watches, one line in a log or an executed notebook.

The line goes to standard error, which canonical notebooks leave out: what was begun stands there at once, the count,
the time and the rate when it has ended.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
WATCHED = "LENS_WATCHED"  # set where standard error is passed on to a terminal, as that of a kernel may be


def watched() -> bool:
    """Whether somebody sees standard error as it is written: in a terminal, or in Jupyter."""
    return sys.stderr.isatty() or bool(os.environ.get(WATCHED) or os.environ.get("JPY_SESSION_NAME"))


@contextmanager
def progress(what: str, total: int, unit: str, done: int = 0) -> Iterator[Callable[[int], object]]:
    """Progress on `total` of `unit` (a plural), of which `done` were there before; yields what to call with how many
    more are done."""
    if watched():
        with tqdm(total=total, initial=done, desc=what, unit=f" {unit}", unit_scale=total >= 10_000) as bar:
            yield bar.update
        return
    now, start = done, time.monotonic()

    def advance(n: int) -> None:
        nonlocal now
        now += n

    print(f"{what}: {total - done:,} {unit}", end=" ", file=sys.stderr, flush=True)
    try:
        yield advance
    finally:
        seconds = max(time.monotonic() - start, 1e-3)
        rate = (now - done) / seconds
        stopped = "" if now == total else f"stopped after {now - done:,}, "
        speed = f"{rate:,.0f}" if rate >= 100 else f"{rate:.2g}"
        print(f"{stopped}{seconds:.1f} s, {speed} {unit}/s", file=sys.stderr, flush=True)


def track(items: Collection[T], what: str, unit: str) -> Iterator[T]:
    """The items, one after the other, with their progress."""
    with progress(what, len(items), unit) as advance:
        for item in items:
            yield item
            advance(1)
