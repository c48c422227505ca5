"""How `make test` spreads the tests over processes: by file, for fixtures are made once per process.

The pipeline's finished study takes longest to make, and is made once for all processes: the golden numbers ask for it
first, and files of three rooms that do without it run beside that. The long files that read it come next, and then
all others, of which none is so long that processes would wait for it at the end.
"""

import sys

import pytest

sys.modules.setdefault("rfc3987_syntax", None)  # takes two seconds to import, as lens.study.commands says

FILES = {"test_golden.py": 0, "test_pipeline.py": 3, "test_copies.py": 3, "test_missing.py": 3}
ROOMS = {"pipeline": 1, "study": 1, "training": 2}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=turn)


def turn(item: pytest.Item) -> int:
    return FILES.get(item.path.name, ROOMS.get(item.path.parent.name, 4))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes are told apart by number: compressed ones hold the second in which they were made, and the processes that
    share the tests would not have the same ones."""
    return argname if isinstance(val, bytes) else None
