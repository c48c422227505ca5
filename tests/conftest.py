"""How `make test` spreads the tests over processes: by file, for fixtures are made once per process.

The pipeline's finished study takes longest to make, and is made once for all processes: the golden numbers ask for it
first, and files of two rooms that do without it run beside that. The two long files that read it come next, and then
all others, of which none is so long that processes would wait for it at the end.
"""

import sys

import pytest

sys.modules.setdefault("rfc3987_syntax", None)  # takes two seconds to import, as lens.study.commands says

TURNS = {"test_golden.py": 0, "test_pipeline.py": 2, "test_copies.py": 2}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=turn)


def turn(item: pytest.Item) -> int:
    return TURNS.get(item.path.name, 1) if item.path.parent.name in ("pipeline", "study") else 3
