"""Every claim on tables that hold something for all of them, and on tables with a part taken away."""

import dataclasses

import pytest

from paper import claims, operating
from paper.evidence import difficulty, early_late, position
from paper.registry import as_before, evidence_of
from paper.verdicts import WORDS
from tests.paper.planted import REGISTRY, without
from tests.paper.planted_everything import ABLATED, everything, timings

METHOD = "temporallens"
READ_NO_TABLE = {"C15", "C21", "C22", "C30", "C32"}  # or are not judged by what they read
SLOW = {"C01", "C02", "C09a", "C09b", "C37"}  # bootstraps; what they do without a part is tested with them


@pytest.fixture(autouse=True)
def quick(record, monkeypatch):
    """Few bootstrap samples, and what benchmarks recorded."""
    for module in (early_late, difficulty, position, operating):
        monkeypatch.setattr(module, "DRAWS", 20)
    record("cost", timings())
    record("install", dict.fromkeys(("wheel", "imports", "fit", "profile"), True))


@pytest.fixture(scope="module")
def data():
    return everything()


@pytest.fixture(scope="module")
def reads(data) -> dict[str, set[str]]:
    """Claim -> the tables and variants that it reads; what is missing elsewhere is nothing to it."""
    found = {}
    for claim in REGISTRY:
        if claim["id"] not in SLOW:
            data.reads.clear()
            for each in (claim, as_before(claim)) if "before" in claim else (claim,):
                evidence_of(each)(data)
            found[claim["id"]] = {word for read in data.reads for word in (read.table, read.variant or METHOD)}
    return found


def test_registered_readings_controls_and_measures_are_the_measured_ones(data):
    for claim in REGISTRY:
        evidence = evidence_of(claim)(data)
        names = [r.name for r in evidence.readings]
        assert names[: len(claim["readings"])] == claim["readings"], claim["id"]
        assert len(set(names)) == len(names), claim["id"]
        rule, how = claim["rule"], claim["attribution"]
        asked = [*claim.get("needs", ())]
        asked += [*rule["reproduced"], *rule["partly"]] if rule["kind"] == "conditions" else []
        if not evidence.untestable:
            assert {c["measure"] for c in asked} <= set(evidence.measures), claim["id"]
        if how == "none":
            continue
        assert {f"temporallens - {control}" for control in how["controls"]} <= set(evidence.differences), claim["id"]
        if how["kind"] == "control":
            assert set(how["controls"]) <= set(evidence.controls), claim["id"]
            assert rule["kind"] != "conditions" or set(how["controls"]) <= set(evidence.control_measures), claim["id"]


def test_nothing_is_missing_where_everything_is_there(data):
    for entry in claims.judge_all(REGISTRY, data, on_paper_model=False):
        assert entry["status"] in ("measured", "not testable here"), (entry["id"], entry["reason"])
        empty = [r["name"] for kind in ("readings", "differences") for r in entry[kind] if r["estimate"] is None]
        assert empty == [], entry["id"]


@pytest.mark.parametrize(
    "part",
    [
        {"variant": METHOD},
        {"variant": METHOD, "seed": 2},
        {"variant": METHOD, "layer": "8"},
        {"variant": "standard"},
        {"variant": "shuffled_positions"},
        {"variant": "untrained"},
        *({"table": name} for name in ("positions", "summary", "blocks", "history", "probing", "decoding", "tests")),
    ],
    ids=lambda part: " ".join(map(str, part.values())),
)
def test_with_a_part_taken_away_every_claim_that_reads_it_is_judged_or_says_what_it_lacks(data, reads, part):
    of = part.get("table") or part["variant"]
    registry = [claim for claim in REGISTRY if of in reads.get(claim["id"], ())]
    assert registry
    for entry in claims.judge_all(registry, taken(data, part), on_paper_model=False):
        assert entry["verdict"] in WORDS, entry["id"]
        if part == {"variant": METHOD} and entry["id"] not in READ_NO_TABLE:
            about_others = entry["id"] in ("C14", "C33")  # the standard dictionary, and the activations themselves
            assert (entry["verdict"] == "not measured in this study") != about_others, entry["id"]
        if entry["verdict"] != "not measured in this study":
            continue
        assert entry["id"] not in READ_NO_TABLE and entry["readings"] == []
        if part.get("variant") == METHOD:
            assert METHOD in entry["reason"] or "'tests'" in entry["reason"], (entry["id"], entry["reason"])
        for name, value in part.items():
            if name in ("seed", "layer"):
                assert f"{name} {value}" in entry["reason"], (entry["id"], entry["reason"])


@pytest.mark.parametrize("variant", ABLATED)
def test_an_ablation_that_is_missing_is_named_by_the_claims_that_lack_it(data, reads, variant):
    registry = [claim for claim in REGISTRY if variant in reads.get(claim["id"], ())]
    assert registry
    found = claims.judge_all(registry, without(data, variant=variant), on_paper_model=False)
    missing = [entry for entry in found if entry["verdict"] == "not measured in this study"]
    assert all(variant in entry["reason"] for entry in missing) and len(missing) <= 2


def taken(data, part: dict):
    """The tables without one of the parts."""
    if "table" not in part:
        return without(data, **part)
    emptied = {name: table.iloc[:0] if name == part["table"] else table for name, table in data.tables.items()}
    return dataclasses.replace(data, tables=emptied)
