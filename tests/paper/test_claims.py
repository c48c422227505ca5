"""Claims: what is measured, what happens when a study lacks something, and the document that is written."""

import dataclasses
import hashlib
import json
import re
import shutil

import numpy as np
import pytest

from lens import checkout, cli
from lens.errors import ConfigError
from lens.study import table_files, tables
from lens.study.params import Ablations, Study
from paper import claims, operating
from paper.evidence import difficulty, early_late
from paper.evidence.measured import Measured
from paper.registry import REGISTRY as REGISTRY_FILE
from paper.verdicts import WORDS
from tests.paper.planted import MAIN, REGISTRY, judged, plant, reading, without


@pytest.fixture(autouse=True)
def fewer_draws(monkeypatch):
    """Bootstraps of a size that a test needs."""
    monkeypatch.setattr(early_late, "DRAWS", 1000)
    monkeypatch.setattr(difficulty, "DRAWS", 200)
    monkeypatch.setattr(operating, "DRAWS", 20)


# What is missing


def test_one_seed_is_inconclusive_with_the_reason():
    data = plant(seeds=(0,))
    for claim in ("C01", "C03", "C04", "C09a"):
        entry = judged(data, claim)
        assert (entry["verdict"], entry["readings"][0]["low"]) == ("inconclusive", None), claim
        assert "seed" in entry["reason"] and entry["readings"][0]["estimate"] is not None
        assert entry["attributable"] in ("not assessed", "not applicable")
    other = judged(data, "C09b")
    assert other["verdict"] == "not measured in this study" and "no other seed" in other["reason"]
    assert judged(data, "C26")["verdict"] == "implemented"
    assert judged(plant(seeds=(0, 1)), "C09b")["verdict"] == "inconclusive"  # two seeds: no pair is left to leave out


def test_a_missing_control_leaves_the_verdict_and_not_the_attribution():
    data = without(plant(0.15), variant="standard")
    entry = judged(data, "C01")
    assert (entry["verdict"], entry["attributable"]) == ("reproduced", "not assessed")
    assert "no 'mse' of variant 'standard'" in entry["attributable_reason"]
    assert judged(data, "C09b")["verdict"] == "not measured in this study"


def test_a_missing_method_is_said_and_nothing_is_dropped():
    entries = claims.judge_all(REGISTRY, without(plant(), variant="temporallens"), on_paper_model=False)
    assert [e["id"] for e in entries] == [c["id"] for c in REGISTRY]
    for entry in entries:
        if entry["id"] in ("C15", "C21", "C22", "C30", "C32"):  # not about this study's dictionaries
            continue
        assert entry["verdict"] == entry["status"] == "not measured in this study"
        assert entry["reason"] and entry["readings"] == []


def test_a_missing_definition_or_seed_or_table_of_documents_is_named():
    entry = judged(without(plant(), metric="hoyer"), "C03")
    assert reading(entry, "Hoyer") == {
        "name": "Hoyer", "estimate": None, "low": None, "high": None, "n_seeds": None, "n_blocks": None, "p": None,
        "detail": "no 'hoyer' of variant 'temporallens'", "verdict": "not measured in this study",
    }  # fmt: skip
    gap = judged(without(plant(), variant="temporallens", seed=3, metric="mse"), "C01")
    assert gap["reason"] == "no 'mse' of variant 'temporallens' at layer 3, seed 3, position 1"
    seeds_only = judged(without(plant(), metric="sq_error"), "C01")
    assert seeds_only["verdict"] == "reproduced" and seeds_only["readings"][0]["n_blocks"] is None
    assert "documents not resampled" in seeds_only["readings"][0]["detail"]
    single = judged(plant(n_blocks=1), "C01")
    assert "text is not replicated" in single["readings"][0]["detail"]


def test_short_windows_are_judged_by_their_own_quarter():
    data = plant()
    rows = data.tables["positions"]
    short = dataclasses.replace(data, length=16, tables=data.tables | {"positions": rows[rows["position"] < 16]})
    entry = judged(short, "C01")
    assert reading(entry, "positions 8 to T/4")["verdict"] == "not measured in this study"
    assert "windows of 16 have no such positions" in reading(entry, "positions 8 to T/4")["detail"]


# The document


def test_p_values_of_the_family_are_adjusted_together():
    entries = {e["id"]: e for e in claims.judge_all(REGISTRY, plant(), on_paper_model=False)}
    family = [e for e in entries.values() if e["family"] == "paper" and e["p"] is not None]
    assert {"C01", "C09b", "C37"} == {e["id"] for e in family}
    assert entries["C09b"]["p"] == pytest.approx(1 / 127, rel=1e-5)
    ordered = sorted(family, key=lambda e: e["p"])
    stepped = np.maximum.accumulate([min(1, (3 - i) * e["p"]) for i, e in enumerate(ordered)])
    assert [e["p_holm"] for e in ordered] == pytest.approx(stepped, rel=1e-4)
    assert entries["C09a"]["p_holm"] is None and entries["C03"]["p"] is None


def test_the_adjustment_is_holms():
    twice = [claim for claim in REGISTRY if claim["id"] == "C09b"] * 2
    entries = claims.judge_all(twice, plant(), on_paper_model=False)
    assert [e["p_holm"] for e in entries] == pytest.approx([2 / 127] * 2, rel=1e-5)  # Benjamini-Hochberg gives 1 / 127


def test_a_stand_in_never_judges_the_papers_model():
    entry = judged(plant(), "C01")
    assert (entry["verdict"], entry["verdict_on_paper_model"]) == ("reproduced", "not testable here")
    assert judged(plant(), "C01", on_paper_model=True)["verdict_on_paper_model"] == "reproduced"
    quick = Study.load("quick")
    assert not claims.is_paper_model(quick) and "No verdict here is one about Gemma-2-2B." in claims.scope(quick)
    real = dataclasses.replace(quick, model="google/gemma-2-2b", layers=(5, 12, 19), main_layers=())
    assert claims.is_paper_model(real) and claims.scope(real).startswith("The paper's model")
    assert not claims.is_paper_model(dataclasses.replace(real, layers=(4, 12, 19)))
    assert "with random weights" in claims.scope(dataclasses.replace(quick, model="random:google/gemma-2-2b"))


@pytest.fixture
def study(tmp_path, monkeypatch) -> Study:
    """A study in a folder of its own, with planted tables written as the pipeline writes them."""
    quick, data = Study.load("quick"), plant(layers=("3",), seeds=(0, 1, 2))
    monkeypatch.setattr(checkout, "root", lambda: tmp_path)
    changes = {
        "name": "planted",
        "model": "stand-in",
        "layers": (3,),
        "main_layers": (),
        "variants": MAIN,
        "ablations": Ablations(),
    }
    study = dataclasses.replace(quick, **changes, seeds=(0, 1, 2))
    named = data.tables
    own = {n: t.drop(columns=["study", "model", "layer"]) for n, t in named.items()}
    tables.save(study, "training", 3, {"history": own.pop("history")})
    tables.save(study, "measures", 3, own)
    return study


def test_build_writes_every_claim_and_the_digest_of_the_registry(study):
    path = claims.build(study)
    assert path == study.results / "claims.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["claims_sha256"] == hashlib.sha256(REGISTRY_FILE.read_bytes()).hexdigest()
    assert (document["study"], document["model"], len(document["claims"])) == ("planted", "stand-in", 38)
    assert {c["verdict"] for c in document["claims"]} <= set(WORDS)
    entry = next(c for c in document["claims"] if c["id"] == "C01")
    assert entry["verdict"] == "reproduced"
    estimate = entry["readings"][0]["estimate"]
    assert estimate == float(f"{estimate:.6g}")


def test_build_is_deterministic_and_leaves_nothing_half_written(study):
    first = claims.build(study).read_bytes()
    assert claims.build(study).read_bytes() == first
    assert list(study.results.glob("*.partial")) == []
    assert first.decode("utf-8").endswith("}\n") and b"NaN" not in first


def test_tables_of_later_stages_may_be_missing_and_others_may_not(study):
    assert set(Measured.load(study).tables) == {"positions", "summary", "blocks", "history"}
    path = study.results / "tables" / "measures" / "layer_3.parquet"
    table_files.write(path, {name: table_files.read(path, name) for name in ("positions", "summary")})
    with pytest.raises(ConfigError, match="no table 'blocks'"):
        claims.build(study)


FEWER = {
    "rows of a seed": {"blocks": "seed != 1", "history": "seed != 1"},
    "some rows": {"blocks": "block != 'play 03' or seed != 1", "history": "step < 900 or seed != 1"},
}


@pytest.mark.parametrize("kind", ["measures", "training"])
@pytest.mark.parametrize("damage", ["a folder", "cut", *FEWER])
def test_incomplete_tables_stop_the_claims_and_nothing_is_written(study, damage, kind, monkeypatch, capsys):
    monkeypatch.setattr(cli, "_of_checkout", lambda: ["paper.commands"])
    monkeypatch.setattr(Study, "load", lambda name: study)
    path = study.results / "tables" / kind / "layer_3.parquet"
    if damage == "a folder":
        shutil.rmtree(path.parent)
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        held = {name: table_files.read(path, name) for name in table_files.names(path)}
        queries = {name: FEWER[damage][name] for name in held if name in FEWER[damage]}
        table_files.write(path, held | {name: held[name].query(query) for name, query in queries.items()})
    assert cli.main(["claims"]) == 1
    assert re.search(r"planted/tables.*`git checkout`", capsys.readouterr().err)
    assert not (study.results / "claims.json").exists()
