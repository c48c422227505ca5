"""Killed work is taken up again: the same files as without the kill, and nothing beside them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from lens import checkout
from tests.faults import kills, project
from tests.faults.campaign import DICTIONARIES, STORE, TABLES, Projects

WORK: dict[str, tuple[str, Callable[[], object], tuple[str, ...]]] = {
    "extraction": ("nothing", project.extract, ()),
    "extraction that goes on": ("unfinished extraction", project.extract, ()),
    "extraction of a layer more": ("finished", project.extract, (STORE, "artifacts/pool/activations-*/layer_2")),
    "training": ("extracted", project.train_all, ()),
    "training that goes on": ("unfinished training", project.train_all, ()),
    "training of a variant more": ("finished", project.train_all, (DICTIONARIES, TABLES, "artifacts/pool/trained-*0*")),
    "claims": ("finished", project.claims, ("results/mini/claims.json",)),
    "pages": ("finished", project.pages, ("results/mini/figures", "results/mini/explorer.html")),
    "fit": ("nothing", project.fit, ()),
}
SIZES = (0, 100, 1000, 20_000)


def everything() -> dict[str, str]:
    """All files; of locks only those that are left behind matter, and these are empty and stay."""
    found = project.files(checkout.root() / "artifacts", checkout.root() / "results", checkout.root() / "fitted")
    return {name: digest for name, digest in found.items() if not name.endswith(".lock")}


@pytest.fixture(scope="session")
def count(projects):
    """How often each work changes the disk."""

    @cache
    def counted(name: str) -> int:
        state, work, without = WORK[name]
        with projects.copy(state) as root:
            projects.remove(root, without)
            return kills.changes(work, root)

    return counted


@pytest.fixture(scope="session")
def right(projects):
    """The files of each work that nobody killed."""

    @cache
    def made(name: str) -> dict[str, str]:
        state, work, without = WORK[name]
        with projects.copy(state) as root:
            projects.remove(root, without)
            work()
            return everything()

    return made


def survives(
    projects: Projects, name: str, right: dict[str, str], kill: Callable[[Callable[[], object], Path], bool]
) -> None:
    state, work, without = WORK[name]
    with projects.copy(state) as root:
        projects.remove(root, without)
        kill(work, root)
        work()
        found = everything()
    assert sorted(set(found) - set(right)) == []
    assert found == right


@pytest.mark.full
@pytest.mark.parametrize("name", WORK)
def test_work_that_is_killed_before_any_change_of_the_disk_goes_on_to_the_same_files(projects, right, count, name):
    assert count(name) > 2
    for change in range(0, count(name), max(1, count(name) // 40)):
        survives(projects, name, right(name), lambda work, root, n=change: kills.killed_before(n, work, root))


@pytest.mark.full
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", WORK)
def test_work_that_is_killed_within_a_file_goes_on_to_the_same_files(projects, right, name, size):
    survives(projects, name, right(name), lambda work, root: kills.killed_at_byte(size, work))
