"""How `make test` spreads the tests over processes: a file stays whole, for its fixtures are made once per process.

The pipeline's finished study takes longest to make. What reads it is one group, begun first; all else runs beside it.
"""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        group = "pipeline" if "made" in item.fixturenames and item.path.parent.name == "pipeline" else item.path.name
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: item.get_closest_marker("xdist_group").args != ("pipeline",))
