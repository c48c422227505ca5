"""How `make test` spreads the tests over processes: by file, for fixtures are made once per process.

The pipeline's finished study takes longest to make, and is made once for all processes: the golden numbers ask for it
first, all else runs beside that, and what else reads it comes last.
"""

import sys

import pytest

sys.modules.setdefault("rfc3987_syntax", None)  # takes two seconds to import, as lens.study.commands says


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=turn)


def turn(item: pytest.Item) -> int:
    if item.path.parent.name != "pipeline":
        return 1
    return {"test_golden.py": 0, "test_pipeline.py": 2, "test_copies.py": 2}.get(item.path.name, 1)
