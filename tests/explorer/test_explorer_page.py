import base64
import dataclasses
import hashlib
import re
import shutil
import subprocess

import pytest

from lens.errors import ConfigError
from lens.explorer import page as explorer
from lens.explorer.data import StudyData, kept_layer
from lens.explorer.layer import KeptLayer, LayerSource
from lens.explorer.profiles import build
from tests.explorer import synthetic

ROOT = explorer.FOLDER.parents[1]


def test_page_is_small_and_asks_for_nothing():
    text = explorer.page([synthetic.study()])
    assert len(text) < 300_000
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", text)
    assert "{{" not in re.sub(r"<script[^>]*>.*?</script>", "", text, flags=re.DOTALL)


def test_corpus_text_is_nowhere_in_the_source():
    text = explorer.page([synthetic.study(), synthetic.encoder()])
    assert "hacked" not in text and "<b>play" not in text
    assert re.findall(r'<script type="([^"]*)"', text) == 6 * ["application/octet-stream"] + ["module"]
    data = re.findall(r' data-study="([^"]*)"(?: data-layer="([^"]*)")?>', text)
    assert data == [*(("tiny", layer) for layer in ("", "embedding", "1", "2")), ("encoder", ""), ("encoder", "2")]


def test_policy_allows_this_script_and_this_style_only():
    text = explorer.page([synthetic.study()])
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'" and "unsafe" not in policy
    for kind, pattern in (("script", r'<script type="module">(.*?)</script>'), ("style", r"<style>(.*?)</style>")):
        inside = re.search(pattern, text, flags=re.DOTALL)[1]
        assert rules[f"{kind}-src"] == f"'sha256-{base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()}'"


def kept(data: StudyData, source: LayerSource) -> KeptLayer:
    return kept_layer(data, source.name, synthetic.DOCUMENT, synthetic.START, source.features, source.numbers)


@pytest.mark.parametrize("first", [["1"], ["2", "embedding"], ["embedding", "1"]])
def test_a_page_made_layer_by_layer_is_the_one_made_at_once(tmp_path, first):
    """Layers that were written before may show other windows than those that come in addition."""
    sources = {source.name: source for source in synthetic.sources()}
    path = explorer.write([synthetic.assembled(*(sources[name] for name in first))], tmp_path / "page.html")
    before = explorer.read(path)["tiny"]
    whole = synthetic.assembled(*(kept(before, s) if s.name in first else s for s in sources.values()))
    assert explorer.page([whole]) == explorer.page([synthetic.study()])


def test_a_layer_is_not_kept_beside_tables_of_another_dictionary(tmp_path):
    before = explorer.read(explorer.write([synthetic.study()], tmp_path / "page.html"))["tiny"]
    source = synthetic.source("1")
    other = dataclasses.replace(source, features=source.features.assign(density=source.features["density"] + 0.01))
    with pytest.raises(ConfigError, match="measured on other dictionaries"):
        synthetic.assembled(kept(before, other))


def test_nothing_is_kept_of_a_page_that_another_version_wrote(tmp_path):
    path = tmp_path / "page.html"
    assert explorer.read(path) == {}
    text = explorer.page([synthetic.study()])
    data = re.search(r'data-layer="1">([^<]*)<', text)[1]
    for other in (data[1:], base64.b64encode(b"another form").decode(), data[:-40], ""):
        path.write_text(text.replace(data, other))
        assert explorer.read(path) == {}


def test_names_of_studies_are_escaped():
    text = explorer.page([dataclasses.replace(synthetic.encoder(), name='"><i>')])
    assert "<i>" not in text and "&quot;&gt;&lt;i&gt;" in text


def test_a_name_like_a_placeholder_stays_text():
    text = explorer.page([dataclasses.replace(synthetic.encoder(), name="{{data}}")])
    assert "({{data}})</title>" in text and text.count("application/octet-stream") == 2


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_what_scripts_compute():
    done = subprocess.run(
        ["node", "--test", "tests/explorer/scripts_test.mjs"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
@pytest.mark.parametrize("path", sorted(explorer.FOLDER.glob("*.js")), ids=lambda path: path.name)
def test_each_script_parses_alone(path):
    subprocess.run(["node", "--check", path], check=True, capture_output=True)


def test_a_page_replaces_no_file_of_another_kind(tmp_path):
    """`lens explore p --out p/about.json` did."""
    (tmp_path / "about.json").write_text("{}")
    with pytest.raises(ConfigError, match="about.json is no explorer, and would be replaced: name another"):
        build(["no-profile"], tmp_path / "about.json")  # before anything is read
    with pytest.raises(ConfigError, match="is a folder: name the file to write"):
        build(["no-profile"], tmp_path)
    with pytest.raises(OSError, match="about.json cannot hold results"):
        build(["no-profile"], tmp_path / "about.json" / "page.html")
    for _ in range(2):  # its own may be
        explorer.write([synthetic.encoder()], tmp_path / "page.html")
    assert (tmp_path / "about.json").read_text() == "{}"
