"""The claims as the overview shows them."""

import dataclasses
import json

import pandas as pd
import pytest

from lens import checkout
from lens.study.params import Study
from lens.study.show import seed_means
from paper import overview


def claim(name, verdict, status="measured", **evidence):
    return {
        "id": name, "title": name, "quote": "<b>$\\tau_0 = 5.0$</b> & more", "verdict": verdict, "attributable": "no",
        "status": status, "reason": "0.3 < 0.5", "rule": {"kind": "band"}, "controls": [],
        "readings": [{"name": "r", "estimate": 0.3, "low": 0.2, "high": 0.4}] if status == "measured" else [],
        "evidence": {"notebook_file": None, "figure_file": None, **evidence},
    }  # fmt: skip


@pytest.fixture
def page(tmp_path, monkeypatch) -> str:
    monkeypatch.setattr(checkout, "root", lambda: tmp_path)
    study = dataclasses.replace(Study.load("params.yaml"), name="made")
    claims = [
        claim("C01", "not measured in this study", "not measured in this study"),
        claim("C02", "partly", notebook_file="notebooks/04_analysis_layer_8.ipynb", figure_file="figures/forest.png"),
    ]
    study.results.mkdir(parents=True)
    (study.results / "claims.json").write_text(json.dumps({"claims": claims}))
    return overview.claims_table(study)


def test_a_claim_leads_to_its_notebook_and_its_figure(page):
    assert '<a href="04_analysis_layer_8.ipynb">C02</a>' in page
    assert '<a href="05_figures.ipynb">partly</a>' in page
    assert "0.3 [0.2, 0.4]" in page


def test_text_of_the_paper_is_shown_as_text(page):
    assert "&lt;b&gt;τ₀ = 5.0&lt;/b&gt; &amp; more" in page and "0.3 &lt; 0.5" in page


def test_what_was_measured_comes_first(page):
    assert page.index("C02") < page.index(">C01<")


def test_means_over_seeds_stand_by_layer_and_are_empty_where_nothing_was_measured():
    rows = [(layer, "standard", seed, "text", "fvu", value) for layer in ("13", "3", "embedding")
            for seed, value in ((0, 0.25), (1, 0.75))]  # fmt: skip
    table = pd.DataFrame(rows, columns=["layer", "variant", "seed", "positions", "metric", "value"])
    means = seed_means(table, ["fvu", "l0"])
    assert means.index.tolist() == [("embedding", "standard"), ("3", "standard"), ("13", "standard")]
    assert means["fvu"].tolist() == ["0.5 (0.25 to 0.75)"] * 3 and means.columns.tolist() == ["fvu"]
    assert seed_means(table, ["l0"]).empty
