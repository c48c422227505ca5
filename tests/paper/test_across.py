"""The table across models: what it takes from each study, and that what is written is what the results say."""

import json
import shutil

import pytest

from lens import checkout
from lens.errors import ConfigError
from paper import across
from paper.across import END, START


def reading(name, estimate, low=None, high=None):
    return {"name": name, "estimate": estimate, "low": low, "high": high}


def judged(root, study, **changed):
    """A `claims.json` in which every reading that the table takes is 0.25 [0.125, 0.5], or as said."""
    claims: dict[str, dict] = {}
    for claim, name in across.READINGS.values():
        entry = claims.setdefault(claim, {"id": claim, "readings": [reading("another", 9.0)], "controls": []})
        kept = entry["controls" if name.endswith("standard") else "readings"]
        kept.append(reading(name, *changed.get(claim, (0.25, 0.125, 0.5))))
    folder = root / "results" / study
    folder.mkdir(parents=True)
    (folder / "claims.json").write_text(json.dumps({"study": study, "claims": list(claims.values())}))


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setattr(checkout, "root", lambda: tmp_path)
    for study in ("minilm", "random-gemma", "smoke"):
        shutil.copytree(checkout.root() / "studies" / study, tmp_path / "studies" / study)
    (tmp_path / "README.md").write_text(f"# Title\n\n{START}\n{END}\n\nThe rest.\n")
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


def test_readme_shows_the_table_and_what_was_not_measured(project):
    across.refresh()
    text = (project / "README.md").read_text()
    minilm, random = [row.split(" | ") for row in text.splitlines() if row.startswith("| [`")]
    assert minilm[0] == "| [`minilm`](results/minilm/claims.json)" and minilm[2:4] == ["600 × 3", "25.0 % [12.5, 50.0]"]
    assert minilm[6:8] == ["0.25 [0.12, 0.50]", "−8.0 % [−9.0, −7.0]"]
    assert random[1] == "random:gemma-3-270m: 3, 8, 13" and random[5] == "n/a"
    assert text.startswith("# Title\n") and text.endswith("\nThe rest.\n")


def test_what_is_written_is_fresh_until_a_result_changes(project):
    assert not across.is_fresh()
    across.refresh()
    assert across.is_fresh()
    across.refresh()
    assert across.is_fresh()
    shutil.rmtree(project / "results" / "minilm")
    judged(project, "minilm", C01=(-0.02, -0.03, -0.01))
    assert not across.is_fresh()


def test_a_claim_that_a_study_lacks_has_no_estimate(project):
    path = project / "results" / "minilm" / "claims.json"
    document = json.loads(path.read_text())
    document["claims"] = [claim for claim in document["claims"] if claim["id"] != "C01"]
    path.write_text(json.dumps(document))
    missing = across.collect().query("study == 'minilm' and estimate != estimate")
    assert missing["quantity"].tolist() == ["early_advantage"]


def test_results_of_a_study_that_is_no_more_are_named_with_what_to_do(project):
    shutil.rmtree(project / "studies" / "minilm")
    with pytest.raises(ConfigError, match="results/minilm/claims.json: .*move results/minilm out of results/"):
        across.refresh()


def test_a_table_without_a_place_in_readme_is_refused(project):
    (project / "README.md").write_text("no markers")
    with pytest.raises(ConfigError, match="models:start"):
        across.refresh()


def test_the_committed_table_is_what_the_results_say():
    assert across.is_fresh(), "run `python -m lens readme --study <the study README shows>`"
