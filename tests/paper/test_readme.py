"""How claims are told: blocks of README and docs/results, the table across models, the overview notebook's table."""

import dataclasses
import json
import shutil

import pandas as pd
import pytest

from lens import checkout
from lens.errors import ConfigError
from lens.study.params import Study
from lens.study.show import seed_means
from paper import across, claims_file, overview, readme
from paper.in_short import estimate_text, sentences
from paper.readme import PAGES, answer_block, claims_block


def reading(name, estimate, low=None, high=None):
    return {"name": name, "estimate": estimate, "low": low, "high": high}


def claim(name, verdict, *raw, **more):
    return {
        "id": name, "title": f"Title of {name}", "paper_value": 0.15, "verdict": verdict, "attributable": "no",
        "status": "measured" if raw else verdict, "reason": "0.3 < 0.5", "rule": {"kind": "band"},
        "evidence": {"notebook_file": None, "figure": None, "figure_file": None}, "quantity": f"what {name} is",
        "controls": [], "context": [], "quote": "<b>$\\tau_0 = 5.0$</b> & more",
        "readings": [reading("raw", *raw)] if raw else [],
    } | more  # fmt: skip


EVIDENCE = {"notebook_file": "notebooks/n.ipynb", "figure": "f", "figure_file": "figures/f.png"}
DOCUMENT = {
    "study": "quick", "model": "stand-in", "scope": "A stand-in. No verdict here is one about Gemma-2-2B.",
    "claims": [
        claim("C30", "not measured in this study", paper_value=64),
        claim("C01", "partly", 0.084712, 0.0826, 0.08671, evidence=EVIDENCE),
        claim("C02", "not testable here"),
        claim("C03", "inconclusive", 0.7, paper_value=[32, 48]),
        claim("C26", "implemented", 2.44e-7, paper_value=None, rule={"kind": "tolerance"}),
        claim("C27", "implemented", 0.0, title="a | b <i>"),
    ],
}  # fmt: skip


def test_a_row_for_each_claim_and_a_count():
    rows = claims_block(DOCUMENT).splitlines()
    assert (
        "| [C01](../../results/quick/notebooks/n.ipynb) | Title of C01<br><sub>what C01 is</sub> | 0.15 | "
        "0.0847 [0.0826, 0.0867] | [**partly**](../../results/quick/notebooks/05_figures.ipynb) | no |"
    ) in rows
    assert "| C03 | Title of C03<br><sub>what C03 is</sub> | 32 to 48 | 0.7 | **inconclusive** | no |" in rows
    assert "| C30 | Title of C30 | 64 | not measured in this study | 0.3 &lt; 0.5 |" in rows
    assert any(row.startswith(r"| C27 | a \| b &lt;i><br>") for row in rows)  # text cannot break the table
    assert all(sum(f"Title of {c['id']}" in row for row in rows) == 1 for c in DOCUMENT["claims"][:-1])
    assert "<summary>The other 2 claims</summary>" in "\n".join(rows)
    answer = answer_block(DOCUMENT).splitlines()
    assert (
        "Of 6 claims: 1 partly, 1 inconclusive, 2 implemented, 1 not measured in this study, 1 not testable here. "
        "Due to the method by their controls: none." in answer
    )
    assert f"Study `quick`. {DOCUMENT['scope']}" in answer


def test_estimates_in_words():
    assert {c["id"]: estimate_text(c) for c in DOCUMENT["claims"]} == {
        "C01": "0.0847 [0.0826, 0.0867]", "C02": "", "C03": "0.7", "C26": "off by 2.44e-07", "C27": "0", "C30": "",
    }  # fmt: skip
    assert estimate_text(claim("C01", "partly", 1.0), reading("other", -0.5, -0.5, -0.5)) == "−0.5"


def test_the_answer_is_told_with_its_control():
    told = claim("C01", "partly", 0.084712, 0.0826, 0.08671, controls=[reading("raw error, standard", -0.02)])
    assert sentences({"claims": [told, claim("C13", "not testable here")]}) == [
        "**Early positions**: the advantage, one minus the ratio of their error to that of late ones, is 8.5 % "
        "[8.3, 8.7]; the paper says 15 %. In the standard dictionary it is −2.0 %, trained on shuffled positions n/a. "
        "(C01: partly.)"
    ]


def test_amended_rules_that_await_tables_leave_the_verdicts_before_until_they_are_judged():
    before = {"verdict": "reproduced", "attributable": "no", "readings": [reading("full width", 75.0)]}
    ids = ("C05", "C06", "C07", "C08")
    waiting = [claim(name, "not measured in this study", before=before) for name in ids]
    (said,) = sentences({"claims": waiting})
    assert said.startswith("**Spans** are not judged") and "C08: reproduced, due to the method: no.)" in said
    (said,) = sentences({"claims": [claim(name, "partly", 16.0, before=before) for name in ids]})
    assert "16, 16, 16 positions wide" in said and "(C05: partly; C06: partly; C07: partly.)" in said
    assert not sentences({"claims": [c | {"before": before | {"readings": []}} for c in waiting]})


def test_masks_are_answered_with_their_agreement_once_it_is_known():
    name = "correlation of matched masks between seeds"
    known = {"": 0.633, ", shuffled_positions": 0.531, ", own windows": 0.6, ", own windows, shuffled_positions": -4e-3}
    known = [reading(name + end, value) for end, value in known.items()]

    def answer(*more):
        moved = claim("C20", "reproduced", 0.03, 0.02, 0.04, context=list(more))
        return sentences({"claims": [moved, claim("C12", "partly", 0.09)]})[0]

    assert "correlate" not in answer()
    assert "correlate at 0.63 between seeds, there at 0.53 (C20: reproduced.)" in answer(*known[:2])
    assert "(at 0.60 and 0.00 between seeds that share no training windows)" in answer(*known)
    layers = [reading(f"mask shuffled, layer {layer}", value) for layer, value in ((3, 0.014), (8, 0.066))]
    assert "variance by 3.0 % [2.0, 4.0], in a dictionary" in answer()
    assert "variance by 3.0 % [2.0, 4.0] (1.4, 6.6 % at layers 3, 8), in a dictionary" in answer(*layers)


@pytest.fixture
def page(tmp_path, monkeypatch) -> str:
    study = dataclasses.replace(Study.load("quick"), out=tmp_path, model=DOCUMENT["model"])
    (tmp_path / "claims.json").write_text(json.dumps(DOCUMENT))
    return overview.claims_table(study)


def test_the_overview_leads_to_notebooks_and_figures_measured_claims_first(page):
    assert '<a href="n.ipynb">C01</a>' in page and '<a href="05_figures.ipynb">partly</a>' in page
    assert page.index("C01") < page.index("C27") < page.index(">C30<")
    assert "&lt;b&gt;τ₀ = 5.0&lt;/b&gt; &amp; more" in page and "0.3 &lt; 0.5" in page  # text of the paper stays text


def test_means_over_seeds_stand_by_layer_and_are_empty_where_nothing_was_measured():
    rows = [(layer, "standard", seed, "text", "fvu", value) for layer in ("13", "3", "embedding")
            for seed, value in ((0, 0.25), (1, 0.75))]  # fmt: skip
    table = pd.DataFrame(rows, columns=["layer", "variant", "seed", "positions", "metric", "value"])
    means = seed_means(table, ["fvu", "l0"])
    assert means.index.tolist() == [("embedding", "standard"), ("3", "standard"), ("13", "standard")]
    assert means["fvu"].tolist() == ["0.5 (0.25 to 0.75)"] * 3 and means.columns.tolist() == ["fvu"]
    assert seed_means(table, ["l0"]).empty


# The blocks of pages and the table across models


def judged(root, study, **changed):
    """A `claims.json` in which every reading that the table takes is 0.25 [0.125, 0.5], or as said."""
    claims = {}
    for name, quantity in across.READINGS.values():
        entry = claims.setdefault(name, claim(name, "partly", 9.0))
        kept = entry["controls" if quantity.endswith("standard") else "readings"]
        kept.append(reading(quantity, *changed.get(name, (0.25, 0.125, 0.5))))
    folder = root / "results" / study
    folder.mkdir(parents=True, exist_ok=True)
    document = {"study": study, "model": Study.load(study).model, "scope": "", "claims": list(claims.values())}
    (folder / "claims.json").write_text(json.dumps(document))


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A checkout with two studies and smoke, and pages with a place for each block."""
    for study in ("minilm", "random-gemma", "smoke"):
        shutil.copytree(checkout.root() / "studies" / study, tmp_path / "studies" / study)
    (tmp_path / "paper").mkdir()
    shutil.copy(checkout.root() / "paper" / "recipes.yaml", tmp_path / "paper")
    monkeypatch.setattr(checkout, "root", lambda: tmp_path)
    (tmp_path / "docs" / "results").mkdir(parents=True)
    for name in PAGES:
        block = f"<!-- {name}:start -->\nold\n<!-- {name}:end -->\n"
        readme.path(name).write_text(f"# Title\n\n{block}\nThe rest.\n")
    judged(tmp_path, "minilm", C01=(-0.08, -0.09, -0.07))
    judged(tmp_path, "random-gemma", C20=(None,))
    judged(tmp_path, "smoke")
    return tmp_path


def test_every_model_is_there_once_with_its_size_and_readings(project):
    table = across.collect()
    assert table["study"].unique().tolist() == ["minilm", "random-gemma"]
    assert table.groupby("study").size().eq(len(across.READINGS)).all()
    first = table.set_index(["study", "quantity"]).loc[("minilm", "early_advantage")]
    assert first[["estimate", "low", "high"]].tolist() == [-0.08, -0.09, -0.07]
    assert first[["model", "layers", "steps", "seeds"]].tolist() == ["all-minilm-l6-v2", "1, 2, 4", 600, 3]


def pages() -> dict[str, str]:
    return {name: readme.path(name).read_text() for name in PAGES}


def test_pages_show_their_blocks_and_nothing_else_changes(project):
    assert len(readme.stale()) == 4
    readme.refresh(Study.load("minilm"))
    texts = pages()
    minilm, random = [row.split(" | ") for row in texts["models"].splitlines() if row.startswith("| [`")]
    assert minilm[0] == "| [`minilm`](../../results/minilm/claims.json)" and minilm[2:4] == [
        "600 × 3",
        "25.0 % [12.5, 50.0]",
    ]
    assert minilm[6:8] == ["0.25 [0.12, 0.50]", "−8.0 % [−9.0, −7.0]"]
    assert random[1] == "random:gemma-3-270m: 3, 8, 13" and random[5] == "n/a"
    assert all(text.startswith("# Title\n") and text.endswith("\nThe rest.\n") for text in texts.values())
    assert "Study `minilm`" in texts["answer"] and readme.stale() == []
    readme.refresh(Study.load("minilm"))
    assert pages() == texts
    judged(project, "random-gemma", C01=(-0.02, -0.03, -0.01))
    assert readme.stale() == ["docs/results/models.md, models", "across_models.csv"]
    path = project / "results" / "minilm" / "claims.json"
    path.write_text(path.read_text().replace("Title of C01", "Another title"))
    assert "docs/results/claims.md, claims" in readme.stale()


def test_what_a_rule_before_an_amendment_read_is_still_told(project):
    path = project / "results" / "minilm" / "claims.json"
    document = json.loads(path.read_text())
    (amended,) = (claim for claim in document["claims"] if claim["id"] == "C05")
    amended |= {"before": {"readings": amended["readings"], "controls": []}, "readings": []}
    path.write_text(json.dumps(document))
    table = across.collect().set_index(["study", "quantity"])
    assert table.loc[("minilm", "span_shallow"), "estimate"] == 0.25


def test_a_claim_that_a_study_lacks_has_no_estimate(project):
    path = project / "results" / "minilm" / "claims.json"
    document = json.loads(path.read_text())
    document["claims"] = [claim for claim in document["claims"] if claim["id"] != "C01"]
    path.write_text(json.dumps(document))
    missing = across.collect().query("study == 'minilm' and estimate != estimate")
    assert missing["quantity"].tolist() == ["early_advantage"]


def test_results_that_are_missing_or_of_no_study_are_named_with_what_to_do(project):
    smoke, minilm = Study.load("smoke"), Study.load("minilm")
    (smoke.results / "claims.json").unlink()
    with pytest.raises(ConfigError, match=r"smoke/claims\.json is missing: .*run the pipeline of study .smoke"):
        readme.refresh(smoke)
    shutil.rmtree(project / "studies" / "minilm")
    with pytest.raises(ConfigError, match="results/minilm/claims.json: .*move results/minilm out of results/"):
        readme.refresh(minilm)


@pytest.mark.parametrize("content", ["", "{}", '{"study": "minilm", "cl', '{"study": "minilm", "claims": 3}', "[]"])
def test_damaged_verdicts_are_named_by_every_reader(project, content):
    path, study = project / "results" / "minilm" / "claims.json", Study.load("minilm")
    path.write_text(content)
    for read in (across.rows, overview.answer, readme.refresh, claims_file.by_id):
        with pytest.raises(ConfigError, match=r"minilm/claims\.json cannot be read .*run the pipeline of study .mini"):
            read(study)
    assert not across.path().exists()


def test_verdicts_with_a_claim_that_is_none_are_refused(project):
    path = project / "results" / "minilm" / "claims.json"
    document = json.loads(path.read_text())
    del document["claims"][1]["verdict"]
    path.write_text(json.dumps(document))
    with pytest.raises(ConfigError, match=r"minilm/claims\.json: claim 1 lacks .*verdict"):
        across.collect()


START, END = "<!-- answer:start -->", "<!-- answer:end -->"


@pytest.mark.parametrize("text", ["no markers", f"{END} {START}", f"{START} {START} {END}", f"{START} only"])
def test_a_readme_without_a_place_for_a_block_is_refused(project, text):
    (project / "README.md").write_text(text)
    with pytest.raises(ConfigError, match="exactly one"):
        readme.refresh(Study.load("minilm"))
    assert (project / "README.md").read_text() == text


def test_the_committed_blocks_and_table_are_what_the_results_say():
    assert readme.stale() == [], "run `python -m lens readme --study full`"
