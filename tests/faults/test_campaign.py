"""Damaged files are named with what heals them, or are made again; none is taken for what it is not."""

import pytest

from tests.faults.campaign import BAD, CASES, KINDS, Case, sample


def judge(projects, case: Case, record_property) -> None:
    outcome = projects.outcome(case)
    record_property("outcome", (case.kind.name, outcome.word))
    assert outcome.word not in BAD, outcome.said


@pytest.mark.full
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_every_damage_is_healed_or_named(projects, case, record_property):
    judge(projects, case, record_property)


@pytest.mark.parametrize("case", sample(), ids=lambda case: case.id)
def test_some_damages_are_healed_or_named(projects, case, record_property):
    judge(projects, case, record_property)


def test_there_are_cases_of_every_kind_of_file():
    assert len({case.id for case in CASES}) == len(CASES) >= 120
    assert {case.kind for case in CASES} == set(KINDS)
