"""No number of `smoke` changes without a raised version of the stage that makes it (lens/versions.yaml)."""

import json
import math

import pytest

from tests.golden import numbers

GOLDEN = json.loads((numbers.GOLDEN / "smoke.json").read_text(encoding="utf-8"))
TOLERANCE = 1e-4  # between processors, whose sums round differently


@pytest.fixture(scope="module")
def found(made):
    return numbers.read("smoke", made.root)


def told(stage: str, wrong: list[str], versions: dict) -> str:
    """What to do about numbers that are not the golden ones."""
    if versions[stage] > GOLDEN["versions"][stage]:
        do = "its version is raised: renew the golden numbers with `python -m tests.golden.numbers smoke`"
    else:
        do = "raise its version in lens/versions.yaml"
    return f"stage `{stage}` changed its numbers: {do}\n" + "\n".join(wrong[:20])


@pytest.mark.parametrize("stage", sorted(set(numbers.STAGES.values())))
def test_tables_hold_the_golden_numbers(found, stage):
    wrong = numbers.differences(GOLDEN["tables"][stage], found["tables"][stage], TOLERANCE)
    assert not wrong, told(stage, wrong, found["versions"])


@pytest.mark.parametrize(("stage", "part"), [("extract", "activations"), ("train", "dictionaries")])
def test_activations_and_dictionaries_have_the_golden_bytes(found, stage, part):
    """On the processor and with the PyTorch that made the golden numbers (one thread, see conftest); elsewhere the last
    digit differs, the tables say whether it matters, and only the names are compared here."""
    same = GOLDEN["machine"] == found["machine"]
    wrong = list(GOLDEN[part].keys() ^ found[part].keys())
    wrong += [
        name for name in GOLDEN[part].keys() & found[part].keys() if same and GOLDEN[part][name] != found[part][name]
    ]
    assert not wrong, told(stage, sorted(wrong), found["versions"])


def test_claims_are_judged_as_before(found):
    assert found["claims"].keys() == GOLDEN["claims"].keys()
    for claim, (verdict, attributable, *estimates) in found["claims"].items():
        words = GOLDEN["claims"][claim][:2]
        golden = GOLDEN["claims"][claim][2:]
        assert [verdict, attributable] == words, claim
        assert all(
            a == b or a is not None and b is not None and math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
            for a, b in zip(golden, estimates, strict=True)
        ), (claim, golden, estimates)


def test_a_changed_number_names_its_stage():
    versions = dict(GOLDEN["versions"])
    assert "stage `train` changed its numbers: raise its version" in told("train", [], versions)
    assert "renew the golden numbers" in told("train", [], versions | {"train": versions["train"] + 1})
    golden = {"a": [3, 1.0, 2.0], "b": [1, 1.0, 1.0]}
    assert numbers.differences(golden, {"a": [3, 1.00001, 2.0], "b": [1, 1.0, 1.0]}, TOLERANCE) == []
    assert len(numbers.differences(golden, {"a": [3, 1.001, 2.0], "c": [1, 1.0, 1.0]}, TOLERANCE)) == 3
