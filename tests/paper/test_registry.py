"""The registry: what a claim needs, and the lock that a change without an amendment breaks."""

import copy
import json

import pytest

from lens import checkout
from lens.errors import ConfigError
from paper import registry
from paper.gallery import FIGURES
from tests.paper.planted import REGISTRY

UNDRAWN = {"calibration"}  # drawn from the calibration study, not among a study's own figures


def test_registry_holds_every_claim_once_and_each_is_measured():
    ids = [claim["id"] for claim in REGISTRY]
    numbers = [f"C{i:02d}" for i in range(1, 38)]
    assert ids == [*numbers[:8], "C09a", "C09b", *numbers[9:]]
    assert all(callable(registry.evidence_of(claim)) for claim in REGISTRY)
    with pytest.raises(ConfigError, match="claim C01: paper/evidence has no function spans.none"):
        registry.evidence_of({"id": "C01", "evidence": {"function": "spans.none"}})


def test_every_quote_is_in_the_paper():
    paper = checkout.root().parent / "shared" / "paper" / "temporallens.txt"
    if not paper.exists():
        pytest.skip("the paper's text is not part of the package")
    text = " ".join(paper.read_text(encoding="utf-8").split())
    assert [claim["id"] for claim in REGISTRY if " ".join(claim["quote"].split()) not in text] == []


def test_evidence_names_real_notebooks_and_figures():
    notebooks = {path.stem for path in (checkout.root() / "notebooks").glob("*.ipynb")}
    for claim in REGISTRY:
        assert claim["evidence"]["notebook"] in {*notebooks, "none"}, claim["id"]
        assert claim["evidence"]["figure"] in {*FIGURES, *UNDRAWN, "none"}, claim["id"]


def load(tmp_path, document: dict) -> list[dict]:
    path = tmp_path / "claims.yaml"
    path.write_text(json.dumps(document), encoding="utf-8")
    return registry.load_registry(path)


def locked(claims: list[dict] = REGISTRY) -> dict:
    """A document with a matching lock."""
    claims = copy.deepcopy(claims)
    return {"registered": {"date": "2026-11-25", "sha256": registry.digest(claims)}, "amendments": [], "claims": claims}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("rule"), r"claim C01: missing or unknown fields \['rule'\]"),
        (lambda c: c.update(verdict="reproduced"), r"unknown fields \['verdict'\]"),
        (lambda c: c.update(kind="vague"), "kind 'vague' is none of"),
        (lambda c: c.update(rule={"kind": "band", "low": 1}), "claim C01: rule .* is none of"),
        (
            lambda c: c.update(rule={"kind": "conditions", "reproduced": [{"measure": "m", "over": 1}], "partly": []}),
            "condition .* is not a `measure` and one of above, below",
        ),
        (
            lambda c: c.update(
                rule={"kind": "conditions", "reproduced": [{"measure": "m", "above": 1, "below": 2}], "partly": []}
            ),
            "condition .* is not a `measure` and one of above, below",
        ),
    ],
)
def test_a_faulty_claim_is_refused_with_its_name(tmp_path, change, message):
    document = locked(REGISTRY[:1])
    change(document["claims"][0])
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, document)


def test_a_claim_given_twice_or_no_list_at_all_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"claim ids \['C01'\] stand there twice"):
        load(tmp_path, locked([REGISTRY[0], REGISTRY[0]]))
    for faulty in ({"claims": "none"}, {"claims": [3]}, {}, []):
        with pytest.raises(ConfigError, match="expected a list `claims`|it holds a list"):
            load(tmp_path, faulty)


# The lock


def raise_threshold(claims: list[dict]) -> None:
    claims[0]["rule"]["low"] = 0.01


CHANGES = {
    "threshold": raise_threshold,
    "condition": lambda claims: claims[4]["rule"]["reproduced"][0].update({"in": [1, 100]}),
    "test": lambda claims: claims[0].update(test="none"),
    "reading that decides": lambda claims: claims[0]["readings"].reverse(),
    "prediction": lambda claims: claims[0].update(prediction="as found"),
    "claim left out": lambda claims: claims.pop(),
}


def amended(document: dict, date="2026-12-01", **changes) -> dict:
    """The document with one more amendment that matches its claims."""
    entry = {"date": date, "claims": ["C01"], "reason": "a reason", "sha256": registry.digest(document["claims"])}
    return {**document, "amendments": [*document["amendments"], {**entry, **changes}]}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_needs_an_amendment(tmp_path, change):
    document = locked()
    assert load(tmp_path, document) == document["claims"]
    before = registry.digest(document["claims"])
    CHANGES[change](document["claims"])
    after = registry.digest(document["claims"])
    with pytest.raises(ConfigError, match=f"have the digest {after}, registered .* says {before}") as error:
        load(tmp_path, document)
    assert "add a dated entry to `amendments`" in str(error.value)
    assert load(tmp_path, amended(document)) == document["claims"]


def test_a_change_after_an_amendment_needs_another(tmp_path):
    document = locked()
    raise_threshold(document["claims"])
    document = amended(document)
    document["claims"][0]["rule"]["high"] = 0.9
    with pytest.raises(ConfigError, match=r"amendment 1 \(2026-12-01\) says"):
        load(tmp_path, document)
    assert load(tmp_path, amended(document, "2026-12-02"))


def test_dates_do_not_go_backwards(tmp_path):
    with pytest.raises(ConfigError, match="amendment 1: its date 2026-11-24 lies before the previous entry's, 2026-11"):
        load(tmp_path, amended(locked(), "2026-11-24"))
    later = amended(amended(locked(), "2026-12-02"), "2026-12-01")
    with pytest.raises(ConfigError, match="amendment 2: its date 2026-12-01 lies before the previous entry's"):
        load(tmp_path, later)
    assert load(tmp_path, amended(locked(), "2026-11-25"))  # the same day is no step back


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"reason": ""}, "amendment 1: expected"),
        ({"claims": []}, "amendment 1: expected"),
        ({"claims": ["C99"]}, r"amendment 1: no claims \['C99'\]"),
        ({"date": "tomorrow"}, "amendment 1: 'tomorrow' is no date"),
        ({"by": "someone"}, "amendment 1: expected"),
    ],
)
def test_an_incomplete_amendment_is_refused(tmp_path, entry, message):
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, amended(locked(), **entry))


def test_a_registry_that_was_never_locked_is_refused(tmp_path):
    document = locked()
    del document["registered"]
    with pytest.raises(ConfigError, match=r"registered: expected \['date', 'sha256'\], found None"):
        load(tmp_path, document)


def test_words_that_decide_nothing_and_the_order_of_claims_are_not_locked():
    claims = copy.deepcopy(REGISTRY)
    claims[0].update(title="Another title", evidence={"notebook": "none", "figure": "none", "table": "none"})
    claims.reverse()
    assert registry.digest(claims) == registry.digest(REGISTRY)
