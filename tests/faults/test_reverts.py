"""The list of mended faults: what would bring each back, and the tests that see it."""

import ast

import pytest

from scripts import reverts

LIST = reverts.read()


@pytest.mark.parametrize("revert", LIST, ids=lambda revert: revert.fault)
def test_the_list_is_about_the_code_as_it_is(revert):
    """What a mend is undone by stands there once, and the tests that see it are there."""
    for undoing in revert.undo:
        assert (reverts.ROOT / undoing.file).read_text(encoding="utf-8").count(undoing.old) == 1, undoing.file
        assert undoing.old != undoing.new
    for test in revert.tests:
        file, _, name = test.partition("::")
        functions = ast.walk(ast.parse((reverts.ROOT / file).read_text(encoding="utf-8")))
        names = {node.name for node in functions if isinstance(node, ast.FunctionDef)}
        assert not name or name.partition("[")[0] in names, test


@pytest.fixture(scope="module")
def copy():
    with reverts.scratch_copy() as root:
        yield root


@pytest.mark.full
@pytest.mark.parametrize("revert", LIST, ids=lambda revert: revert.fault)
def test_an_undone_mend_is_seen(copy, revert):
    assert reverts.shown(revert, copy) == "test fails"
