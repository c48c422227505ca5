"""The explorer as a page of this machine, where own text can be typed in and read.

The page is served to this machine alone (127.0.0.1). What is asked has to name this address (Host), so that a name
that another site points here is of no use to it, and a text is read for this page alone (Origin), not for another one
that is open in the same browser.
"""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from lens.errors import ConfigError
from lens.explorer import page
from lens.explorer.data import StudyData
from lens.explorer.pack import Part, plain
from lens.explorer.profiles import collect, read_all
from lens.profiling.own_text import Reader, TextError, reader_of

ADDRESS = "127.0.0.1"
Place = tuple[str, str]  # names of a study and one of its layers
LARGEST = 2**16  # bytes of a request: a text of more has too many tokens for any dictionary


def server_of(folders: Sequence[Path | str], port: int = 0, *, trust: bool = False) -> ThreadingHTTPServer:
    """A server of the explorer of profiles, which runs once it is told to (`serve_forever`).

    Args:
        port: 0 takes one that is free.
        trust: as in `lens.load`.

    Raises:
        ProfileError: a folder holds no intact profile, or the dictionary or model of one is not at hand.
        ConfigError: the port is taken.
    """
    profiles = read_all(folders)
    studies = collect(profiles)
    readers = {
        (study.name, layer): reader_of(profile, trust=trust)
        for study, profile in zip(studies, profiles.values(), strict=True)
        for layer in study.layers
    }
    return serving(studies, readers, port)


def serving(studies: Sequence[StudyData], readers: Mapping[Place, Reader], port: int = 0) -> ThreadingHTTPServer:
    """The same, of data with a reader for each study and layer by their names."""
    told = [
        _with_limit(study, min(reader.most for (name, _), reader in readers.items() if name == study.name))
        for study in studies
    ]
    text = page.page(told, served=True).encode()

    class Handler(_Handler):
        page, lock = text, threading.Lock()

    Handler.readers = readers
    try:
        return ThreadingHTTPServer((ADDRESS, port), Handler)
    except OSError as error:
        raise ConfigError(f"port {port} can't be used ({error.strerror}): name another with --port, or none") from None


def _with_limit(study: StudyData, most: int) -> StudyData:
    return dataclasses.replace(study, study=Part(study.study.header | {"reads": most}, study.study.arrays))


class _Refused(Exception):
    """A request that is not answered, and with which status."""

    def __init__(self, status: HTTPStatus, message: str):
        super().__init__(message)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    page: bytes
    readers: Mapping[Place, Reader]
    lock: threading.Lock
    """one text at a time: a model's hooks are not made for two"""

    def do_GET(self) -> None:
        try:
            self._check_host()
            if self.path != "/":
                raise _Refused(HTTPStatus.NOT_FOUND, f"nothing at {self.path}: the page is at /")
        except _Refused as refused:
            self._answer(refused.status, {"error": str(refused)})
            return
        self._send(HTTPStatus.OK, "text/html; charset=utf-8", self.page)

    def do_POST(self) -> None:
        try:
            self._check_host()
            self._check_origin()
            reader, text = self._asked()
            with self.lock:
                read = reader.read(text)
        except _Refused as refused:
            self._answer(refused.status, {"error": str(refused)})
        except (TextError, ValueError) as error:  # also of a dictionary that asks more of a text
            self._answer(HTTPStatus.UNPROCESSABLE_ENTITY, {"error": str(error)})
        else:
            self._answer(HTTPStatus.OK, {"words": read.words, "on": [_on(row) for row in read.strengths_TK]})

    def _check_host(self) -> None:
        assert isinstance(self.server, ThreadingHTTPServer)
        port = self.server.server_port
        if self.headers.get("Host") not in (f"{ADDRESS}:{port}", f"localhost:{port}"):
            raise _Refused(HTTPStatus.FORBIDDEN, f"this is a page of this machine alone: http://{ADDRESS}:{port}/")

    def _check_origin(self) -> None:
        if self.headers.get("Origin") != f"http://{self.headers['Host']}":
            raise _Refused(HTTPStatus.FORBIDDEN, "only the page that is served here may have a text read")

    def _asked(self) -> tuple[Reader, str]:
        """Which dictionary reads which text: the body is JSON, {"study": name, "layer": name, "text": text}."""
        if self.path != "/read":
            raise _Refused(HTTPStatus.NOT_FOUND, f"nothing at {self.path}: texts are read at /read")
        size = self.headers.get("Content-Length", "")
        if not size.isdecimal():
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "the request doesn't say its length")
        if int(size) > LARGEST:
            self.close_connection = True  # what isn't read would be taken for the next request
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the text is too long: shorten it")
        try:
            asked = json.loads(self.rfile.read(int(size)))
            reader, text = self.readers[asked["study"], asked["layer"]], asked["text"]
        except (ValueError, TypeError, KeyError):
            known = ", ".join(f"{study} with layer {layer}" for study, layer in self.readers)
            raise _Refused(HTTPStatus.BAD_REQUEST, f"not understood: name one of {known} and a text") from None
        if not isinstance(text, str):
            raise _Refused(HTTPStatus.BAD_REQUEST, "not understood: the text is no text")
        return reader, text

    def _answer(self, status: HTTPStatus, said: dict) -> None:
        self._send(status, "application/json", json.dumps(said, ensure_ascii=False).encode())

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: texts are nobody else's business."""


def _on(strengths_K: np.ndarray) -> dict:
    """The features that are on at a token, and how strongly."""
    features = np.flatnonzero(strengths_K)
    return {"features": features.tolist(), "strengths": plain(strengths_K[features])}
