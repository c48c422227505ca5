"""Errors that more than one room raises, and the hint that goes with a misspelt name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from numbers import Integral


class ConfigError(ValueError):
    """A parameter is unknown, missing, of the wrong type or out of range; the message names it."""


class DictionaryError(ValueError):
    """A dictionary cannot be read, written or used as asked; the message names both sides and what to do."""


MOST_SEED = 2**32 - 1  # with a step or an epoch mixed in, PyTorch and numpy still take it


def whole(name: str, value: object, least: int, most: int | None = None) -> int:
    """The value of a parameter, numpy's integers as Python's.

    Raises:
        ConfigError: it is no whole number, or less than `least` or more than `most`.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least or (most and int(value) > most):
        to = f" and at most {most}" if most else ""
        raise ConfigError(f"{name} must be a whole number of at least {least}{to}, found {value!r}")
    return int(value)


def seed_of(value: object, name: str = "seed") -> int:
    """A seed; raises as `whole` does."""
    return whole(name, value, 0, MOST_SEED)


def suggest(word: str, names: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the names that `word` resembles; empty where it resembles none."""
    close = difflib.get_close_matches(word, list(names), n=2)
    return f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""
