"""The processes of one `torchrun` call, which work together on collectives of torch.distributed (gloo; nccl on GPUs).

    torchrun --nproc-per-node 2 -m lens run 02_train --study params.yaml --layer 8
    torchrun --nproc-per-node 2 mine.py          # a script that calls `lens.fit`

Without `torchrun` there is one process, and nothing here does anything. All processes make the same calls in the same
order; when one of them stops, `torchrun` ends the others. They need one file system for what is kept.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from lens.locks import holding

S = TypeVar("S")
T = TypeVar("T")
LONGEST_WAIT = timedelta(days=30)  # for processes that have more to do


def rank() -> int:
    """Number of this process, from 0."""
    return int(os.environ["RANK"]) if _launched() else 0


def count() -> int:
    """Number of processes."""
    return int(os.environ["WORLD_SIZE"]) if _launched() else 1


def _launched() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ  # WORLD_SIZE alone may be that of a cluster's job


def join() -> None:
    """Let the processes know of one another; each has a GPU of its own, where there are any."""
    if count() == 1:
        return
    import torch
    from torch import distributed as dist

    if not dist.is_initialized():
        gpu = torch.cuda.is_available()
        if gpu:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo", timeout=LONGEST_WAIT)
        atexit.register(dist.destroy_process_group)


def wait_for_all() -> None:
    """Go on when every process has come here."""
    from_all(None)


def from_all(value: T) -> list[T]:
    """The values of all processes, in their order."""
    if count() == 1:
        return [value]
    from torch import distributed as dist

    join()
    found: list[Any] = [None] * count()
    dist.all_gather_object(found, value)
    return found


def from_first(value: T) -> T:
    """The value of the first process."""
    return from_all(value)[0]


def in_turn(items: Sequence[S], do: Callable[[S], T]) -> Iterator[T]:
    """What `do` makes of each item, in their order: each process does its share, and the first one gets them all."""
    for first in range(0, len(items), count()):
        mine = first + rank()
        made = do(items[mine]) if mine < len(items) else None
        if count() == 1:
            yield made  # type: ignore
            continue
        from torch import distributed as dist

        join()
        found: list[Any] | None = None if rank() else [None] * count()
        dist.gather_object(made, found)
        yield from (found or [])[: len(items) - first]


@contextmanager
def holding_together(path: Path) -> Iterator[None]:
    """`lens.locks.holding` for all processes, which enter and leave together; the first one holds the lock."""
    with nullcontext() if rank() else holding(path):
        wait_for_all()
        yield
        wait_for_all()
