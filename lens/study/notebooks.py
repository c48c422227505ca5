"""The parameters of a notebook: what its `parameters` cell declares, and the refusal of anything else.

papermill runs a notebook with a misspelt parameter as if nothing had been said (`-p layr 7` runs the default layer).
Here the tagged cell is a contract: every name has a type and a default, and a name or a value outside it is an error.
Every notebook calls `check_parameters` in the cell after its parameters, so plain papermill is as safe as the runner.
"""

from __future__ import annotations

import ast
import json
import re
import types
import typing
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lens import checkout, files
from lens.errors import suggest

_TYPES = {"int": int, "float": float, "str": str, "bool": bool, "list": list, "dict": dict, "None": None}
_ANNOTATION = r"({0})(\[({0})(, ?({0}))?\])?( ?\| ?({0})(\[({0})\])?)*".format("|".join(_TYPES))
_IPYTHON = {"In", "Out"}


class ParameterError(ValueError):
    """A notebook parameter is unknown, missing or of the wrong type; the message names it and the close matches."""


@dataclass(frozen=True)
class Parameter:
    """One line of a parameters cell.

    Written `name: type = default  # help`, or `name = default  # type: int|str  help` where the type is a union
    (papermill's own inspection does not read unions in annotations).
    """

    name: str
    annotation: str
    default: object
    help: str = ""

    @property
    def type(self):
        """The annotation as a type, a union or a generic alias."""
        return eval(self.annotation, {"__builtins__": {}}, _TYPES)  # `_read` lets only _TYPES in


def notebook_path(name: str, root: Path | None = None) -> Path:
    """`02_train`, `02_train.ipynb` or `notebooks/02_train.ipynb` as a path.

    Raises:
        ParameterError: no such notebook; the message lists those there are.
    """
    stem = Path(name).name.removesuffix(".ipynb")
    path = (root or checkout.root()) / "notebooks" / f"{stem}.ipynb"
    if not path.is_file():
        names = sorted(p.stem for p in ((root or checkout.root()) / "notebooks").glob("*.ipynb"))
        raise ParameterError(f"no notebook {name!r}{suggest(stem, names)}; notebooks: {', '.join(names)}")
    return path


def parameters(path: Path) -> dict[str, Parameter]:
    """The contract of the notebook at `path`, in the order of its `parameters` cell.

    Raises:
        ParameterError: no cell tagged `parameters`, or a line in it that is not `name: type = literal`.
    """
    tagged = [c for c in _cells(path) if "parameters" in c.get("metadata", {}).get("tags", [])]
    if len(tagged) != 1:
        raise ParameterError(f"{path.name}: expected one cell tagged `parameters`, found {len(tagged)}")
    source = "".join(tagged[0]["source"])
    try:
        read = [_read(node, source, path.name) for node in ast.parse(source).body]
    except SyntaxError as error:
        raise ParameterError(f"{path.name}: the parameters cell is not plain Python: {error}") from None
    return {p.name: p for p in read}


def check_parameters(notebook: str, namespace: Mapping[str, object], root: Path | None = None) -> None:
    """Refuse names and values that the notebook's contract does not know; call as `check_parameters(name, globals())`.

    Every plain value (number, text, list, mapping) in `namespace` that the notebook does not import must be a declared
    parameter, so the call belongs before anything is assigned.

    Raises:
        ParameterError: unknown or mistyped parameter.
    """
    path = notebook_path(notebook, root)
    contract, imported = parameters(path), _imported_names(path)
    plain = (bool, int, float, str, list, tuple, dict, type(None))
    given = {
        name: value
        for name, value in namespace.items()
        if name in contract
        or not (name.startswith("_") or name in _IPYTHON or name in imported)
        and isinstance(value, plain)
    }
    check_values(notebook, contract, given)


def check_values(notebook: str, contract: Mapping[str, Parameter], given: Mapping[str, object]) -> None:
    """Every given name is in the contract and every value has its type, else `ParameterError`."""
    _check_names(notebook, contract, given)
    for name, value in given.items():
        if not _fits(value, contract[name].type):
            kind = type(value).__name__
            raise ParameterError(f"{notebook}: {name} must be {contract[name].annotation}, got {value!r} ({kind})")


def from_text(notebook: str, contract: Mapping[str, Parameter], texts: Mapping[str, str]) -> dict[str, object]:
    """Values of the contract's types from command-line texts: `3` is an int where an int is allowed, else a str.

    Raises:
        ParameterError: unknown name, or a text that no allowed type can read.
    """
    _check_names(notebook, contract, texts)
    values = {name: _value(text, contract[name].type) for name, text in texts.items()}
    check_values(notebook, contract, values)
    return values


def _imported_names(path: Path) -> set[str]:
    """Names that the notebook's cells import; a cell that is not plain Python is passed over."""
    names: set[str] = set()
    for cell in _cells(path):
        if cell["cell_type"] == "code":
            with suppress(SyntaxError):
                nodes = ast.walk(ast.parse("".join(cell["source"])))
                aliases = (a for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom)) for a in node.names)
                names |= {alias.asname or alias.name.split(".")[0] for alias in aliases}
    return names


def _cells(path: Path) -> list[dict]:
    return files.read_json(path, "`git checkout` brings it back", {"cells": list}, ParameterError)["cells"]


def _check_names(notebook: str, contract: Mapping[str, Parameter], names: Iterable[str]) -> None:
    for name in names:
        if name not in contract:
            raise ParameterError(
                f"{notebook} has no parameter {name!r}{suggest(name, contract)}; its parameters: {listing(contract)}"
            )


def _read(node: ast.stmt, source: str, where: str) -> Parameter:
    shown = f"{where}: `{ast.unparse(node)}` in the parameters cell"
    row, column = node.end_lineno or node.lineno, node.end_col_offset
    comment = source.splitlines()[row - 1].encode()[column:].decode().strip().lstrip("# ")
    if isinstance(node, ast.AnnAssign) and node.value is not None:
        target, value, annotation = node.target, node.value, ast.unparse(node.annotation)
    elif isinstance(node, ast.Assign) and len(node.targets) == 1 and comment.startswith("type:"):
        target, value = node.targets[0], node.value
        annotation, _, comment = comment.removeprefix("type:").strip().partition(" ")
    else:
        raise ParameterError(f"{shown} is not `name: type = default` (or `name = default  # type: int|str`)")
    if not re.fullmatch(_ANNOTATION, annotation):
        raise ParameterError(f"{shown} has a type made of other names than {', '.join(_TYPES)}")
    try:
        return Parameter(ast.unparse(target), annotation, ast.literal_eval(value), comment.strip())
    except ValueError:
        raise ParameterError(f"{shown} has a default that is not a literal") from None


def listing(contract: Mapping[str, Parameter]) -> str:
    """The contract in one line: names, types and defaults."""
    return ", ".join(f"{p.name}: {p.annotation} = {p.default!r}" for p in contract.values()) or "none"


def _members(kind) -> tuple:
    return typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)


def _fits(value: object, kind) -> bool:
    for member in _members(kind):
        origin, inner = typing.get_origin(member) or member, typing.get_args(member)
        if origin in (None, types.NoneType):
            fits = value is None
        elif origin is float:
            fits = isinstance(value, (int, float)) and not isinstance(value, bool)
        elif origin is list:
            fits = isinstance(value, (list, tuple)) and (not inner or all(_fits(item, inner[0]) for item in value))
        else:
            fits = isinstance(value, origin) and (origin is bool or not isinstance(value, bool))
        if fits:
            return True
    return False


def _value(text: str, kind) -> object:
    """`text` as the first allowed type that reads it; as itself where none does (the type check then names it)."""
    if kind is str:
        return text
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if _fits(value, kind) else text
