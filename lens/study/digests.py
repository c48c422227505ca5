"""Semantic digests: what a stage's code means, so that only a change of meaning runs the stage again.

An entry is a notebook or a module that a stage runs. Its digest holds the notebook's cells and, for every `lens` module
reached by imports (also those inside functions), the sha256 of its syntax tree without comments, docstrings and
formatting. Files that lie beside a module and are not Python (templates, scripts, styles) count byte by byte.
Package `__init__` files hold only names and are left out.
"""

from __future__ import annotations

import ast
import hashlib
import json
from pathlib import Path

from lens import checkout

NOTEBOOKS = ("00_overview", "01_extract", "02_train", "03_ablations", "04_analysis", "05_figures", "07_calibration")
MODULES = {
    "claims": "paper.claims",
    "paper": "paper.typeset",
    "pages": "lens.study.pages",
    "explorer": "lens.explorer.page",
    "index": "paper.index",
}
ENTRIES = (*NOTEBOOKS, *MODULES)
DATA_NOTEBOOKS = ("01_extract", "02_train", "03_ablations", "04_analysis", "07_calibration")
PRESENTATION = ("lens.figures", "lens.study.show", "lens.study.notebooks")
"""Modules that draw, or refuse a parameter, but decide nothing that a data notebook writes. They are left out of its
digest: a new line style must not call for activations and training, which a reader of the tables does not have."""


class DigestError(ValueError):
    """Code that a digest cannot follow; the message names the file and the line."""


def write(folder: Path, root: Path | None = None) -> list[Path]:
    """Write `<folder>/<entry>.json` for every entry and return the paths."""
    root = root or checkout.root()
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name in ENTRIES:
        path = folder / f"{name}.json"
        path.write_text(json.dumps(entry(name, root), indent=1, sort_keys=True) + "\n", encoding="utf-8")
        paths.append(path)
    return paths


def entry(name: str, root: Path | None = None) -> dict:
    """The digest of one entry: {"entry", "notebook" (notebooks only), "modules", "files"}.

    Raises:
        DigestError: a module or cell that cannot be read or followed.
    """
    root = root or checkout.root()
    if name in MODULES:
        return {"entry": name, **_reached([MODULES[name]], root)}
    path = root / "notebooks" / f"{name}.ipynb"
    cells = notebook_cells(path)
    found = []
    for index, cell in enumerate(cells):
        if cell["type"] == "code":
            where = f"{path.name}, cell {index}"
            found += _imports(_parse(cell["source"], where), None, root, where)
    if name in DATA_NOTEBOOKS:
        found = [module for module in found if not module.startswith(PRESENTATION)]
    return {"entry": name, "notebook": _sha(json.dumps(cells)), **_reached(found, root)}


def room(module: str, without: tuple[str, ...] = (), root: Path | None = None) -> dict[str, str]:
    """Digests of `module` and of those modules of its own package that it reaches by imports, but for `without`."""
    root = root or checkout.root()
    package = module.rpartition(".")[0]
    modules = _reached([module], root)["modules"]
    return {name: digest for name, digest in modules.items() if name.startswith(package) and name not in without}


def notebook_cells(path: Path) -> list[dict]:
    """Type, source and sorted tags of each cell; ids, outputs, counts and other metadata are left out."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        return [
            {
                "type": cell["cell_type"],
                "source": "".join(cell["source"]).rstrip(),
                "tags": sorted(cell.get("metadata", {}).get("tags", [])),
            }
            for cell in notebook["cells"]
        ]
    except FileNotFoundError:
        raise DigestError(f"{path}: no such notebook") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DigestError(f"{path}: not a notebook: {error!r}") from None


def _reached(modules: list[str], root: Path) -> dict:
    """Digests of `modules`, of all they import, and of the files that lie beside them."""
    digests, folders, waiting = {}, set(), sorted(set(modules))
    while waiting:
        module = waiting.pop()
        path = _module_file(module, root)
        if module in digests or path.name == "__init__.py":
            continue
        tree = _parse(path.read_text(encoding="utf-8"), str(path.relative_to(root)))
        digests[module] = _meaning(tree)
        waiting += _imports(tree, module, root, str(path.relative_to(root)))
        folders.add(path.parent)
    files = {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in folders
        for path in folder.iterdir()
        if path.is_file() and path.suffix not in {".py", ".pyc", ".md"} and not path.name.startswith(".")
    }
    return {"modules": digests, "files": files}


def _imports(tree: ast.AST, module: str | None, root: Path, where: str) -> list[str]:
    """The `lens` modules imported anywhere in `tree`, which is the code of `module` (None: of a notebook)."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in (alias.name for alias in node.names if _is_ours(alias.name)):
                if _module_file(name, root).name == "__init__.py":
                    raise DigestError(f"{where}, line {node.lineno}: `import {name}` names no module; import one")
                found.append(name)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, module)
            if not _is_ours(base):
                continue
            if _module_file(base, root).name != "__init__.py":
                found.append(base)
                continue
            for alias in node.names:
                name = f"{base}.{alias.name}"
                try:
                    _module_file(name, root)
                except DigestError:
                    raise DigestError(
                        f"{where}, line {node.lineno}: `from {base} import {alias.name}` hides where "
                        f"{alias.name} is defined; import it from its own module"
                    ) from None
                found.append(name)
        elif isinstance(node, ast.Call) and _called(node) in {"import_module", "__import__"}:
            raise DigestError(f"{where}, line {node.lineno}: an import by name cannot be followed; use `import`")
    return found


def _absolute(node: ast.ImportFrom, module: str | None) -> str:
    if not node.level:
        return node.module or ""
    package = (module or "").split(".")[: -node.level]
    return ".".join([*package, *([node.module] if node.module else [])])


def _called(node: ast.Call) -> str:
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def _is_ours(module: str) -> bool:
    return module == "lens" or module.startswith("lens.")


def _module_file(module: str, root: Path) -> Path:
    base = root.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    raise DigestError(f"{module}: no such module under {root / 'lens'}")


def _parse(source: str, where: str) -> ast.Module:
    try:
        return ast.parse(source)
    except SyntaxError as error:
        raise DigestError(f"{where}, line {error.lineno}: not plain Python: {error.msg}") from None


def _meaning(tree: ast.Module) -> str:
    return _sha(json.dumps(_plain(tree), sort_keys=True))


def _plain(node):
    """A syntax tree as nested lists that differ only where the code's meaning does.

    Empty fields are dropped, so a Python version that adds a field to a node leaves old digests alone.
    """
    if isinstance(node, list):
        return [_plain(item) for item in node if not _is_bare_string(item)]
    if isinstance(node, ast.AST):
        fields = {name: _plain(value) for name, value in ast.iter_fields(node) if name not in {"kind", "ctx"}}
        return [type(node).__name__, {name: value for name, value in fields.items() if value not in (None, [])}]
    return repr(node) if node is not None else None


def _is_bare_string(node) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
