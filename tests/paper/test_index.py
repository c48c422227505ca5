import json
import re
import shutil

import pytest

from lens import checkout
from lens.study.params import Study
from paper import index


@pytest.fixture
def study(tmp_path):
    """The committed study without its tables, which the front page does not read."""
    shutil.copytree(
        checkout.root() / "results" / "quick", tmp_path / "quick", ignore=shutil.ignore_patterns("tables", "*.ipynb")
    )
    return Study.load("quick", out=str(tmp_path / "quick"))


def test_the_front_page_leads_to_what_is_there(study):
    page = index.build(study).read_text()
    links = set(re.findall(r'(?:href|src)="([^"#]+)"', page))
    assert {"paper.pdf", "html/00_overview.html", "figures/training_curves.png"} <= links
    assert not [link for link in links if not (study.results / link).is_file()]
    claims = json.loads((study.results / "claims.json").read_text())["claims"]
    assert page.count("<tr><td>") == len(claims)
    assert all(f"{claim['verdict']}<" in page for claim in claims)
    assert "<script" not in page and "http" not in page


def test_what_is_not_there_gets_no_link(study):
    (study.results / "paper.pdf").unlink()
    shutil.rmtree(study.results / "html")
    page = index.build(study).read_text()
    assert "paper.pdf" not in page
    assert 'href="html/07_calibration.html"' not in page


def test_text_is_shown_as_text(study):
    path = study.results / "claims.json"
    document = json.loads(path.read_text())
    document["claims"][0]["title"] = "<script>alert(1)</script> & more"
    path.write_text(json.dumps(document))
    page = index.build(study).read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in page
    assert "<script" not in page


def test_the_same_study_gives_the_same_page(study):
    assert index.build(study).read_bytes() == index.build(study).read_bytes()
