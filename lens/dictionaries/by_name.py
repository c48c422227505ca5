"""Architectures and position terms by name: the library's by that of their file, and those of somebody's own.

One of your own is named by `package.module:Class` or `path/to/file.py:Class`, wherever a name is asked for.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import inspect
import pkgutil
import sys
from pathlib import Path

from lens import checkout
from lens.dictionaries.parts import Architecture, PositionTerm, name_of
from lens.errors import DictionaryError, suggest


def architecture(name: str) -> type[Architecture]:
    """An architecture by its name.

    Raises:
        DictionaryError: there is none; close names are given.
    """
    return _find(name, "architecture", "lens.dictionaries.architectures", Architecture)


def position_term(name: str) -> type[PositionTerm]:
    """A position term by its name, or two of the library's by `<one on the input>+<one on scores or codes>`.

    Raises:
        DictionaryError: there is none; close names are given.
    """
    if "+" in name and not is_own(name):
        both = [position_term(part) for part in name.split("+", 1)]
        return pkgutil.resolve_name("lens.dictionaries.combined:combined")(name, *both)
    return _find(name, "position term", "lens.dictionaries.positions", PositionTerm)


def check_together(term: type[PositionTerm], kind: type[Architecture]) -> None:
    """Raise DictionaryError where a position term means nothing for an architecture."""
    if kind.of_windows and name_of(term) != "none":
        raise DictionaryError(
            f"position term {name_of(term)} on architecture {name_of(kind)}: it codes windows, in which the vectors of "
            "several positions decide a feature; choose position none, or another architecture"
        )
    term.check(kind)


def is_own(name: str) -> bool:
    """Whether a name stands for somebody's own file."""
    return ":" in name


def identity(name: str) -> str:
    """What stands for a part in the keys of finished work: for one of your own, the content of its file.

    The library's own are versioned."""
    if not is_own(name):
        return name
    kind = own_class(name)
    return f"{kind.__qualname__} {code_digest(kind)}"


@functools.cache  # what runs is the file as it was read: a later edit isn't in it
def code_digest(kind: type) -> str:
    """sha256 of the file of a part of one's own."""
    return hashlib.sha256(Path(inspect.getfile(kind)).read_bytes()).hexdigest()


def names(package: str) -> list[str]:
    """Names of the files in a package of parts."""
    return sorted(module.name for module in pkgutil.iter_modules(pkgutil.resolve_name(package).__path__))


def _find(name: str, what: str, package: str, base: type) -> type:
    if is_own(name):
        kind = own_class(name)
        if not (isinstance(kind, type) and issubclass(kind, base)):
            raise DictionaryError(f"{what} {name!r} is no subclass of lens.dictionaries.parts.{base.__name__}")
        return kind
    known = names(package)
    if name not in known:
        if name.endswith(".py") and _place(name).is_file():
            raise DictionaryError(f"{what} {name!r} is a file: name one of its classes, {_classes(name)}")
        raise DictionaryError(
            f"unknown {what} {name!r}{suggest(name, known)}; known: {', '.join(known)}; "
            "name one of your own as package.module:Class or path/to/file.py:Class"
        )
    module = pkgutil.resolve_name(f"{package}.{name}")
    return next(
        kind
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, base) and kind.__module__ == module.__name__
    )


def own_class(name: str) -> type:
    """A class of somebody's own by `package.module:Class` or `path/to/file.py:Class`.

    Raises:
        DictionaryError: it cannot be imported.
    """
    where, _, kind = name.rpartition(":")
    try:
        if where.endswith(".py"):
            return _mark(getattr(_from_file(where), kind), name)
        return pkgutil.resolve_name(name)
    except (ImportError, AttributeError, FileNotFoundError) as error:
        raise DictionaryError(
            f"{name!r} cannot be imported: {error}; expected package.module:Class or path/to/file.py:Class"
        ) from error


def _mark(kind: type, name: str) -> type:
    kind._name = name  # a class from a file has no module by which it could be found again
    return kind


def _classes(where: str) -> str:
    """Names of the classes of a file, which is not run."""
    body = ast.parse(_place(where).read_bytes()).body
    return (
        ", ".join(f"{where}:{node.name}" for node in body if isinstance(node, ast.ClassDef)) or "of which it has none"
    )


def _place(where: str) -> Path:
    """A file by its path from here or from the top of the checkout."""
    path = Path(where)
    if not path.is_absolute() and not path.is_file() and checkout.inside():
        return checkout.root() / where
    return path


def _from_file(where: str):
    path = _place(where)
    name = f"lens_own_{hashlib.sha256(path.read_bytes() + str(path.resolve()).encode()).hexdigest()[:16]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None  # it ends in .py
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up while it runs
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]
