"""The README's claims table: what it shows, and that it is the one that the results give."""

import json

import pytest

from lens import checkout
from lens.errors import ConfigError
from paper import in_short
from paper.readme import END, START, estimate_text, is_fresh, refresh, render


def claim(name, verdict, *, estimate=None, low=None, high=None, **more):
    measured = estimate is not None
    return {
        "id": name, "title": f"Title of {name}", "paper_value": 0.15, "verdict": verdict, "attributable": "no",
        "status": "measured" if measured else verdict, "reason": "the reason", "rule": {"kind": "band"},
        "evidence": {"notebook_file": None, "figure_file": None}, "quantity": f"what {name} is", "controls": [],
        "readings": [{"name": "raw", "estimate": estimate, "low": low, "high": high}] if measured else [],
    } | more  # fmt: skip


DOCUMENT = {
    "study": "quick",
    "model": "stand-in",
    "scope": "A stand-in. No verdict here is one about Gemma-2-2B.",
    "claims": [
        claim(
            "C01",
            "partly",
            estimate=0.084712,
            low=0.0826,
            high=0.08671,
            evidence={"notebook_file": "notebooks/n.ipynb", "figure_file": "figures/f.png"},
        ),
        claim("C02", "not testable here"),
        claim("C03", "inconclusive", estimate=0.7, paper_value=[32, 48]),
        claim("C26", "implemented", estimate=2.44e-7, paper_value=None, rule={"kind": "tolerance"}),
        claim("C27", "implemented", estimate=0.0, title="a | b <i>"),
        claim("C30", "not measured in this study", paper_value=64),
    ],
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of its own: a README with markers, and results of `quick`."""
    monkeypatch.setattr(checkout, "root", lambda: tmp_path)
    (tmp_path / "results" / "quick").mkdir(parents=True)
    (tmp_path / "results" / "quick" / "claims.json").write_text(json.dumps(DOCUMENT))
    (tmp_path / "README.md").write_text(f"# Title\n\n{START}\nold\n{END}\n\nThe rest.\n")
    return tmp_path


def test_the_table_has_one_row_per_claim_and_counts_them():
    text = render(DOCUMENT)
    rows = text.splitlines()
    assert (
        "| [C01](results/quick/notebooks/n.ipynb) | Title of C01<br><sub>what C01 is</sub> | 0.15 | 0.0847 [0.0826, 0.0867] "  # noqa: E501
        "| [**partly**](results/quick/notebooks/05_figures.ipynb) | no |"
    ) in rows
    assert "| C03 | Title of C03<br><sub>what C03 is</sub> | 32 to 48 | 0.7 | **inconclusive** | no |" in rows
    assert "| C30 | Title of C30 | 64 | not measured in this study | the reason |" in rows
    assert all(
        sum(row.startswith((f"| {c['id']} ", f"| [{c['id']}]")) for row in rows) == 1 for c in DOCUMENT["claims"]
    )
    assert (
        "Of 6 claims: 1 partly, 1 inconclusive, 2 implemented, 1 not measured in this study, 1 not testable here. "
        "Due to the method by their controls: none." in rows
    )
    assert DOCUMENT["scope"] in text
    assert "<summary>The other 2 claims</summary>" in text


def test_the_answer_comes_first_with_its_control():
    document = json.loads(json.dumps(DOCUMENT))
    document["claims"][0]["controls"] = [{"name": "raw, standard", "estimate": -0.02, "low": None, "high": None}]
    first = next(row for row in render(document).splitlines() if row.startswith("- "))
    assert first.startswith(
        "- **Early positions**: the advantage, one minus the ratio of their error to that of late ones, is 8.5 % [8.3, 8.7]; "  # noqa: E501
    )
    assert "In the standard dictionary it is −2.0 %, trained on shuffled positions n/a." in first
    assert first.endswith("(C01: partly, due to the method: no.)")


def test_text_cannot_break_the_table():
    row = next(row for row in render(DOCUMENT).splitlines() if row.startswith("| C27"))
    assert r"a \| b &lt;i>" in row


def test_estimates_in_words():
    by_id = {c["id"]: estimate_text(c) for c in DOCUMENT["claims"]}
    assert by_id == {
        "C01": "0.0847 [0.0826, 0.0867]", "C02": "", "C03": "0.7", "C26": "off by 2.44e-07", "C27": "0", "C30": "",
    }  # fmt: skip


def test_refresh_replaces_the_block_and_nothing_else(project):
    assert not is_fresh()
    refresh()
    text = (project / "README.md").read_text()
    assert text == f"# Title\n\n{START}\n{render(DOCUMENT)}\n{END}\n\nThe rest.\n"
    assert is_fresh()
    refresh()
    assert (project / "README.md").read_text() == text


def test_a_changed_result_makes_the_readme_stale(project):
    refresh()
    changed = json.loads(json.dumps(DOCUMENT))
    changed["claims"][0]["readings"][0]["estimate"] = 0.2
    (project / "results" / "quick" / "claims.json").write_text(json.dumps(changed))
    assert not is_fresh()


@pytest.mark.parametrize("text", ["no markers", f"{END} {START}", f"{START} {START} {END}", f"{START} only"])
def test_a_readme_without_a_place_for_the_table_is_refused(project, text):
    (project / "README.md").write_text(text)
    with pytest.raises(ConfigError, match="exactly one"):
        refresh()
    assert (project / "README.md").read_text() == text


def test_missing_results_are_named(project):
    with pytest.raises(ConfigError, match="run the pipeline of study 'full' first"):
        refresh("full")


def test_this_readme_shows_the_committed_results():
    if not (checkout.root() / "results" / "quick" / "claims.json").exists():
        pytest.skip("NOT CHECKED: results/quick/claims.json is absent; run `dvc repro` to make it")
    assert is_fresh(), "README.md is stale: run `python -m lens readme`"


def test_masks_are_answered_with_their_agreement_once_it_is_known():
    name = "correlation of matched masks between seeds"
    known = [{"name": n, "estimate": x, "low": None, "high": None}
             for n, x in ((name, 0.633), (f"{name}, shuffled_positions", 0.531), (f"{name}, own windows", 0.6),
                          (f"{name}, own windows, shuffled_positions", -0.004))]  # fmt: skip
    base = {"controls": [], "verdict": "reproduced", "attributable": "no"}
    moved = {"name": "mask shuffled", "estimate": 0.03, "low": 0.02, "high": 0.04}

    def answer(*more):
        claims = [{"id": "C20", "readings": [moved], "context": list(more), **base},
                  {"id": "C12", "readings": [moved], "context": [], **base}]  # fmt: skip
        return next(s for s in in_short.sentences({"claims": claims}) if "Masks" in s)

    assert "correlate" not in answer()
    assert "correlate at 0.63 between seeds, there at 0.53 (C20: reproduced, due to the method: no.)" in answer(
        *known[:2]
    )
    assert "(at 0.60 and 0.00 between seeds that share no training windows)" in answer(*known)
