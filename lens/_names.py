"""Public names of a package that cost nothing until they are used (importing PyTorch takes seconds)."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module


def lazy(package: str, modules: dict[str, str]) -> tuple[Callable, Callable]:
    """`__getattr__` and `__dir__` of a package, from a mapping of each public name to its module, or to
    `module:name` where it has another name there."""

    def load(name: str):
        if name not in modules:
            raise AttributeError(f"module {package!r} has no {name!r}; public names: {', '.join(sorted(modules))}")
        module, _, inner = modules[name].partition(":")
        return getattr(import_module(module), inner or name)

    return load, lambda: sorted(modules)
