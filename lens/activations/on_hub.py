"""Is a model or data set where its name says? Asked of the hub once, for two seconds at most where there is no network:
its own clients ask six times, over half a minute."""

from __future__ import annotations

import os
import queue
import socket
import threading
import urllib.request
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import huggingface_hub
from huggingface_hub import constants

from lens.errors import suggest
from lens.files import check_link

CONNECT = 2  # seconds: who is not connected by then has no network, or one that drops what is sent
SLOW = 10  # seconds after which a hub that does not answer may still do so when the files are asked for
COMPARED = 1000  # files of a folder, for names that come close

Kind = Literal["model", "dataset"]


def check_on_hub(name: str, kind: Kind = "model") -> None:
    """Raise OSError, with the reason, unless the name is that of something local, of what was fetched before, or of
    what is on the hub.

    Args:
        kind: `model` (dictionaries are stored as models) or `dataset`.

    Raises:
        OSError: the hub cannot be reached, or has none of that name; or the name can only be a path, and nothing is
            there.
        ValueError: the name is no path and no id.
    """
    if os.path.exists(name):
        return
    check_link(Path(name))
    if os.path.isabs(name) or name.startswith(("./", "../", "~")) or name.endswith("/") or name.count("/") > 1:
        raise OSError(f"there is no folder {name}, and an id on the hub is <name> or <owner>/<name>.")
    if constants.HF_HUB_OFFLINE or name in fetched(kind):  # offline, what is not here is missed at once
        return
    options: dict[str, Any] = {"timeout": (CONNECT, SLOW)}  # to connect, and for an answer
    try:
        _resolve(urlsplit(constants.ENDPOINT).hostname or "")
        huggingface_hub.HfApi().repo_info(name, repo_type=kind, **options)
    except (OSError, ValueError):
        raise
    except Exception as error:  # of the client's transport, which differs between versions
        name_of_error = type(error).__name__
        if "Timeout" in name_of_error and "Connect" not in name_of_error:
            return
        raise OSError(f"the model hub cannot be reached: {str(error) or name_of_error}.") from error


def near(name: str, known: Iterable[str], kind: Kind = "model") -> str:
    """` (did you mean 'x'?)` for what resembles a name: what lies where a path leads to, else among those known and
    what was fetched from the hub before; empty where nothing does."""
    folder, _, last = name.rstrip("/").rpartition("/")
    beside = Path(folder).expanduser() if folder else None
    if beside is not None and beside.is_dir():
        there = [path.name for path in islice(beside.iterdir(), COMPARED) if not path.name.startswith(".")]
        if close := suggest(last, there):
            return close.replace("?)", f" in {folder}?)")
    return suggest(name, [*known, *fetched(kind)])


def fetched(kind: Kind = "model") -> list[str]:
    """Names of what was fetched from the hub before."""
    begin = f"{kind}s--"
    found = Path(constants.HF_HUB_CACHE).glob(f"{begin}*/snapshots/*")
    return sorted({path.parents[1].name.removeprefix(begin).replace("--", "/") for path in found})


def _resolve(host: str) -> None:
    """Ask for a host's address. A resolver that does not answer is waited for by no timeout of a client.

    Raises:
        OSError: none in time, or none at all.
    """
    if urllib.request.getproxies():  # which look it up themselves
        return
    answer: queue.SimpleQueue[OSError | None] = queue.SimpleQueue()

    def ask() -> None:
        try:
            socket.getaddrinfo(host, None)
        except OSError as error:
            answer.put(OSError(f"the model hub cannot be reached: {host}: {error}."))
        else:
            answer.put(None)

    threading.Thread(target=ask, daemon=True).start()
    try:
        error = answer.get(timeout=CONNECT)
    except queue.Empty:
        raise OSError(f"the model hub cannot be reached: no address of {host} within {CONNECT} s.") from None
    if error is not None:
        raise error
