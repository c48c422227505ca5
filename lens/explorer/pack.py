"""Numbers and strings as one compressed piece of text that an HTML page can hold and a browser can unpack.

    base64(gzip( length of the header (uint32, little-endian) | header (JSON, UTF-8) | arrays, each padded to 4 bytes ))

The header lists the arrays as {name: [type, shape, offset]}; offsets count from the end of the padded header.
"""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import dataclass, field

import numpy as np

_TYPES = {np.dtype("u1"): "u8", np.dtype("<u2"): "u16", np.dtype("<i4"): "i32", np.dtype("<f4"): "f32"}


@dataclass(frozen=True)
class Part:
    """A piece of the page's data: what is written as JSON, and arrays by name."""

    header: dict
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


def pack(part: Part) -> str:
    """The part as base64 text; the same part gives the same text.

    Raises:
        ValueError: the header holds a number that JSON has no word for (NaN, infinity): write None instead.
    """
    arrays = {name: _small(values) for name, values in part.arrays.items()}
    listed, body = {}, b""
    for name, values in arrays.items():
        listed[name] = [_TYPES[values.dtype], list(values.shape), len(body)]
        body += _padded(values.tobytes())
    header = json.dumps(
        {**part.header, "arrays": listed}, ensure_ascii=False, separators=(",", ":"), allow_nan=False
    ).encode()
    header = header + b" " * (-len(header) % 4)
    data = len(header).to_bytes(4, "little") + header + body
    return base64.b64encode(gzip.compress(data, compresslevel=9, mtime=0)).decode("ascii")


def plain(values, digits: int = 6) -> list:
    """Numbers for the header: integers as they are, others with `digits` significant digits, None where not finite."""
    values = np.asarray(values)
    if values.dtype.kind in "iub":
        return values.astype(int).tolist()
    return [float(f"{v:.{digits}g}") if np.isfinite(v) else None for v in values.tolist()]


def _small(values: np.ndarray) -> np.ndarray:
    """The smallest of the page's types that holds an array."""
    if values.dtype.kind == "f":
        return np.ascontiguousarray(values, "<f4")
    highest, lowest = int(values.max(initial=0)), int(values.min(initial=0))
    kind = "u1" if 0 <= lowest and highest < 2**8 else "<u2" if 0 <= lowest and highest < 2**16 else "<i4"
    return np.ascontiguousarray(values, kind)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
