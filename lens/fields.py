"""Dataclasses from what a YAML file or a caller says, with every key and type checked."""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from lens.errors import ConfigError, suggest


def build(kind: type, raw: object, where: str, shown: Mapping[str, str] | None = None):
    """An instance of dataclass `kind` from a mapping.

    Args:
        where: what the message of an error begins with.
        shown: names of fields as the file has them, where they differ.

    Raises:
        ConfigError: not a mapping, or a key that is unknown, missing or mistyped.
    """
    if not isinstance(raw, dict):
        raise ConfigError(f"{where}: expected a mapping, found {raw!r}")
    raw = {"null" if key is None else key: value for key, value in raw.items()}  # YAML reads a bare `null` as nothing
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for key in raw:
        if key not in fields:
            raise ConfigError(f"{where}: unknown parameter {key!r}{suggest(str(key), fields)}")
    values = {}
    for name, f in fields.items():
        label = (shown or {}).get(name, name)
        if raw.get(name) is not None:
            values[name] = convert(hints[name], raw[name], f"{where}: {label}")
        elif f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{where}: parameter {label!r} is missing")
    return kind(**values)


def folder_name(name: str, where: str) -> str:
    """The name, if it may be that of a folder: one that stays where it is put, on every system.

    Raises:
        ConfigError: it holds something else than letters, digits, `_`, `-` and `.`, or begins with `.` or `-`.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        raise ConfigError(
            f"{where}: {name!r} names a folder of results: letters, digits, `_`, `-` and `.`, the first a letter, a "
            "digit or `_`"
        )
    return name


def convert(hint: Any, value: object, where: str) -> Any:
    """A value as its type hint wants it: dataclasses from mappings, tuples from lists, floats from integers.

    Raises:
        ConfigError: it is of another type, not finite, or none of the words that are possible.
    """
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return build(hint, value, where)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{where}: expected a list, found {value!r}")
        return tuple(convert(args[0], item, where) for item in value)
    if origin is Literal:
        if value not in args:
            raise ConfigError(f"{where}: {value!r} is not one of {', '.join(map(repr, args))}")
        return value
    kinds = args if origin in (typing.Union, types.UnionType) else (origin or hint,)
    if float in kinds and type(value) is int:
        return float(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where}: expected a finite number, found {value!r}")
    if bool not in kinds and isinstance(value, bool) or not isinstance(value, kinds):
        wanted = " or ".join(k.__name__ for k in kinds)
        raise ConfigError(f"{where}: expected {wanted}, found {value!r}")
    return value
