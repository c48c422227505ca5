import base64
import dataclasses
import hashlib
import re
import shutil
import subprocess

import pytest

from lens.errors import ConfigError
from lens.explorer import page as explorer
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
