"""From a verdict back to its rows and the code that wrote them, on the committed results of `full`."""

import dataclasses
import re

import pytest

from lens import checkout
from lens.errors import ConfigError
from lens.study.params import Study
from paper import trace
from paper.evidence import difficulty, early_late, position
from paper.evidence.measured import Measured
from paper.registry import evidence_of, load_registry

UNREAD = {"C05", "C06", "C07", "C08", "C23"}  # need tables or layers that `full` hasn't, and say so before they read


@pytest.fixture(scope="module")
def study() -> Study:
    return Study.load("full")


@pytest.fixture(scope="module")
def loaded(study) -> Measured:
    return Measured.load(study)


@pytest.fixture(autouse=True)
def once(loaded, monkeypatch):
    """Tables that are read once, and few bootstrap samples: reads count here, not intervals."""
    monkeypatch.setattr(Measured, "load", lambda study: dataclasses.replace(loaded, reads=[]))
    for module in (early_late, difficulty, position):
        monkeypatch.setattr(module, "DRAWS", 20)


@pytest.mark.parametrize("claim", load_registry(), ids=lambda claim: claim["id"])
def test_every_claim_leads_to_its_rows_and_to_functions_that_write_them(study, claim):
    said = trace.trace(study, claim["id"])
    assert f" {evidence_of(claim).__name__}" in said and "  verdict " in said and "docs/results/claims.md:" in said
    if claim["id"] not in UNREAD:
        assert "\n  read " in said
    assert "written by\n" not in said and (claim["id"] == "C32" or "not in this checkout" not in said)


def test_the_chain_of_a_claim_names_table_row_function_notebook_and_figure(study):
    said = trace.trace(study, "C20")
    for part in (
        "verdict   depends on the layer; due to the method: depends on the layer, in study full",
        "mask shuffled: 0.0305 [0.0265, 0.0346]",
        "summary: fvu_rise_shuffled of temporallens, shuffled_positions, layers 3, 8, 13; written by lens/profiling/",
        "results/full/notebooks/04_analysis_layer_8.ipynb",
        "table summary in results/full/tables/measures/layer_13.parquet",
        "temporallens, layer 8: 0.0562, 0.0789, 0.0679, 0.0612, 0.0636; mean 0.0656",
        "mask_agreement in results/full/notebooks/05_figures.ipynb",
        "paper/evidence/features.py:",
    ):
        assert part in said
    assert re.search(r"measured by lens/measure/masks\.py:\d+ fvu_rise\n", said)
    assert said.index("fvu_rise_shuffled") < said.index("fvu_rise_mean"), "the number of the verdict comes first"
    assert "tables/training/" not in said and "paper/paper.typ:[" not in said and "trace C20" not in said


@pytest.mark.parametrize("spelt", ["3.1%", "3.1 %", "3.1 % [2.6, 3.5]"])
def test_a_number_of_readme_leads_to_its_claim_alone(study, spelt):
    said = trace.trace(study, spelt)
    assert said.startswith("README.md:") and "\nC20  Masks specialise features" in said
    assert "\nC12  " not in said, "told in the same line, of another number"
    assert "results/across_models.csv: mask_shuffled of study full" in said


def test_ids_and_signs_may_be_typed(study):
    assert trace.trace(study, "c26").startswith("C26  ")
    assert "\nC01  " in trace.trace(study, "-3.5%")
    with pytest.raises(ConfigError, match="did you mean C09a or C09b"):
        trace.trace(study, "C9")


def test_a_number_of_another_model_leads_to_its_column_and_study(study):
    said = trace.trace(study, "65.1 %").splitlines()
    assert said[1:] == [
        "results/across_models.csv: mask_shuffled of study smollm2, which is `mask shuffled` of C20 in "
        "results/smollm2/claims.json"
    ]


def test_numbers_match_whole_and_need_a_claim(study, tmp_path, monkeypatch):
    study = dataclasses.replace(study, out=study.results)
    (tmp_path / "README.md").write_text("It took 19 minutes, 0.684 of them at commit 88c9225ec and 1,200 steps.\n")
    monkeypatch.setattr(trace, "PAGES", {"answer": "README.md"})
    monkeypatch.setattr(checkout, "root", lambda: tmp_path)
    with pytest.raises(ConfigError, match="no claim stands behind '19'\nREADME.md:1 "):
        trace.trace(study, "19")
    for part in ("84", "0.6", "88", "200"):
        with pytest.raises(ConfigError, match="does not stand in README.md"):
            trace.trace(study, part)


def test_what_is_neither_a_claim_nor_in_readme_is_refused(study):
    with pytest.raises(ConfigError, match="'C210' is no claim .*and does not stand in README.md"):
        trace.trace(study, "C210")


def test_tables_that_left_git_are_named_with_their_commit(study, tmp_path, monkeypatch):
    (tmp_path / "results" / "gone").mkdir(parents=True)
    (tmp_path / "results" / "README.md").write_text("Tables that left are in commit 04afd0d.")
    monkeypatch.setattr(checkout, "root", lambda: tmp_path)
    gone = dataclasses.replace(study, name="gone")
    assert trace._at_hand(gone, "figures/a.png") == [
        "results/gone/figures/a.png, not in this checkout: git show 04afd0d:results/gone/figures/a.png"
    ]


def test_a_study_whose_tables_left_git_is_traced_by_the_rows_of_full():
    said = trace.trace(Study.load("smollm2"), "C33")
    assert "decoding: every row" in said and "in study smollm2" in said
    assert "results/smollm2/tables, not in this checkout: git show 04afd0d:results/smollm2/tables" in said
