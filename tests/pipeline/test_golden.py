"""No number of `smoke` changes without a raised version of the stage that makes it (lens/versions.yaml)."""

import math

import pytest

from tests.golden import numbers

KNOWN = numbers.known("smoke")
SAME = (1e-4, 1e-4)  # relative and absolute, where the golden numbers were made on such a processor
OTHER = (0.1, 0.06)  # elsewhere: more than what the processors of the golden numbers differ by


@pytest.fixture(scope="module")
def found(made):
    return numbers.read("smoke", made.root)


@pytest.fixture(scope="module")
def golden(found):
    """Those of this kind of processor, or else those that most numbers agree with."""
    return min(KNOWN, key=lambda known: (known["machine"] != found["machine"], len(_all_differences(known, found))))


@pytest.fixture(scope="module")
def tolerance(golden, found):
    return SAME if golden["machine"] == found["machine"] else OTHER


def _all_differences(known: dict, found: dict) -> list[str]:
    return [name for s, t in known["tables"].items() for name in numbers.differences(t, found["tables"][s], *SAME)]


def told(stage: str, wrong: list[str], golden: dict, versions: dict) -> str:
    """What to do about numbers that are not the golden ones."""
    if versions[stage] > golden["versions"][stage]:
        do = "its version is raised: renew the golden numbers with `python -m tests.golden.numbers smoke <processor>`"
    else:
        do = "raise its version in lens/versions.yaml"
    return f"stage `{stage}` changed its numbers: {do}\n" + "\n".join(wrong[:20])


@pytest.mark.parametrize("stage", sorted(set(numbers.STAGES.values())))
def test_tables_hold_the_golden_numbers(golden, found, tolerance, stage):
    wrong = numbers.differences(golden["tables"][stage], found["tables"][stage], *tolerance)
    assert not wrong, told(stage, wrong, golden, found["versions"])


@pytest.mark.parametrize(("stage", "part"), [("extract", "activations"), ("train", "dictionaries")])
def test_activations_and_dictionaries_have_the_golden_bytes(golden, found, stage, part):
    """On the processor and with the PyTorch that made the golden numbers (one thread, see conftest); elsewhere the last
    digit differs, the tables say whether it matters, and only the names are compared here."""
    same, old, new = golden["machine"] == found["machine"], golden[part], found[part]
    wrong = sorted(old.keys() ^ new.keys()) + [
        name for name in old.keys() & new.keys() if same and old[name] != new[name]
    ]
    assert not wrong, told(stage, wrong, golden, found["versions"])


def test_claims_are_judged_as_before(golden, found, tolerance):
    """Where a rule reads another number than when the golden ones were made, they have its words alone."""
    relative, absolute = tolerance
    assert found["claims"].keys() == golden["claims"].keys()
    for claim, (verdict, attributable, *estimates) in found["claims"].items():
        words, before = golden["claims"][claim][:2], golden["claims"][claim][2:]
        assert [verdict, attributable] == words, claim
        assert all(
            a == b or a is not None and b is not None and math.isclose(a, b, rel_tol=relative, abs_tol=absolute)
            for a, b in zip(before, estimates, strict=bool(before))
        ), (claim, before, estimates)


def test_a_changed_number_names_its_stage():
    golden = KNOWN[0]
    versions = dict(golden["versions"])
    assert "stage `train` changed its numbers: raise its version" in told("train", [], golden, versions)
    assert "renew the golden numbers" in told("train", [], golden, versions | {"train": versions["train"] + 1})


def test_rows_that_came_later_are_let_through_and_no_others():
    old, close = {"layer_1/summary/a/fvu/value": [1, 2.0, 4.0]}, (0.0, 0.0)
    later = {"layer_1/summary/pca_64/fvu/value": [1, 3.0, 9.0]}
    assert not numbers.differences(old, old | later, *close)
    assert numbers.differences(old, old | {"layer_1/summary/a/fv/value": [1, 3.0, 9.0]}, *close)
    assert numbers.differences(old | later, old, *close)  # once golden, it may not go


def test_processors_of_the_golden_numbers_differ_by_less_than_is_allowed_elsewhere():
    """What one of them would say of the other, were it unknown."""
    for a in KNOWN:
        for b in KNOWN:
            wrong = [n for s, t in a["tables"].items() for n in numbers.differences(t, b["tables"][s], *OTHER)]
            assert not wrong, wrong[:20]
