"""The plan of the house: rooms that import one way, none too large, a library that knows no paper and no variant."""

import ast
import functools
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lens import checkout

ROOMS = "activations dictionaries training measure figures profiling auditing explorer study".split()  # upwards
LEAVES = set("bf16 errors checkout fields files locks processes progress versions".split())  # for all rooms
BELOW = {*LEAVES, "_names", "cli", "__init__", "__main__"}
FILES = sorted((checkout.root() / "lens").rglob("*.py"))
NOT_VARIANTS = {"temporallens"}  # the name of the package and of its format, too


def room(path: Path) -> str:
    return path.relative_to(checkout.root() / "lens").parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Names of the modules that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def at_import(node: ast.AST):
    """What of a file runs when it is imported: not the bodies of functions, but their defaults and decorators."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from (part for root in (*child.args.defaults, *child.decorator_list) for part in ast.walk(root))
        elif not isinstance(child, ast.Lambda):
            yield child
            yield from at_import(child)


def test_every_file_is_in_a_known_room():
    assert {room(path) for path in FILES} <= {*ROOMS, *BELOW}


@pytest.mark.parametrize("name", ROOMS)
def test_rooms_import_only_what_lies_below(name):
    allowed = {*ROOMS[: ROOMS.index(name) + 1], *LEAVES}
    wrong = [
        f"{path.relative_to(checkout.root())}: {module}"
        for path in FILES
        if room(path) == name
        for module in imports(path)
        if module.startswith("lens.") and module.split(".")[1] not in allowed
    ]
    assert not wrong


def test_no_room_is_above_a_quarter_of_the_library():
    lines = dict.fromkeys({room(path) for path in FILES}, 0)
    for path in FILES:
        lines[room(path)] += len(path.read_text(encoding="utf-8").splitlines())
    assert max(lines.values()) <= sum(lines.values()) / 4, lines


def test_the_library_does_not_know_the_paper():
    assert not [path for path in FILES if any(name.split(".")[0] == "paper" for name in imports(path))]


def test_no_file_of_the_library_spells_the_name_of_a_variant():
    recipes = YAML(typ="safe").load((checkout.root() / "paper" / "recipes.yaml").read_text(encoding="utf-8"))
    names = recipes.keys() - NOT_VARIANTS
    wrong = [
        f"{path.relative_to(checkout.root())}, line {node.lineno}: {node.value!r}"
        for path in FILES
        if path.parent.name != "formats"  # the words of other libraries
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in names
    ]
    assert names and not wrong


def test_nothing_looks_for_a_checkout_when_it_is_imported():
    wrong = [
        f"{path.relative_to(checkout.root())}, line {node.lineno}"
        for path in FILES
        for node in at_import(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"checkout.root", "root", "checkout.inside"}
    ]
    assert not wrong


def test_every_public_name_exists():
    import lens

    for name in dir(lens):
        assert getattr(lens, name).__module__.startswith("lens.")
    with pytest.raises(AttributeError, match="has no 'train_layr'"):
        lens.train_layr  # noqa: B018


@functools.cache
def at_its_top(module: str) -> set[str]:
    """Names of the modules that a module of the project imports when it is imported, with the packages around them."""
    path = checkout.root().joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    names: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body if file.is_file() else ():
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name.rsplit(".", n)[0] for name in names for n in range(name.count(".") + 1)}


def loaded(module: str) -> set[str]:
    """Those modules, and what they import in turn."""
    found, rest = set(), {module}
    while rest := rest - found:
        found |= rest
        rest = set().union(*map(at_its_top, rest))
    return found


EVIDENCE = sorted(f"paper.evidence.{path.stem}" for path in checkout.root().glob("paper/evidence/*.py"))


@pytest.mark.parametrize("module", ["lens.cli", "lens.study.commands", "paper.commands", "paper.typeset", *EVIDENCE])
def test_tables_are_judged_and_drawn_without_torch(module):
    """It takes seconds to import."""
    assert "torch" not in loaded(module) and "torch" in loaded("paper.calibration")
