"""CONTRIBUTING.md, carried out: each example goes where it says, in a copy of the project, and works."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lens import checkout

PLACE = re.compile(r"# (?P<path>[\w/.]+)(?:: (?P<how>at the end|(?:before|after) `(?P<line>.*)`))?\n")
CLAIM = """
from tests.paper.planted import judged, plant
entry = judged(plant(), "C99")
assert (entry["verdict"], round(entry["readings"][0]["estimate"], 2)) == ("reproduced", 0.9), entry
"""


@pytest.fixture
def project(tmp_path) -> Path:
    """A copy of what the examples touch, with a text of one's own."""
    for name in ("lens", "paper", "tests"):
        shutil.copytree(checkout.root() / name, tmp_path / name)
    for name in ("pyproject.toml", "params.yaml", "dvc.yaml"):
        shutil.copy(checkout.root() / name, tmp_path)
    (tmp_path / "scratch").mkdir()
    (tmp_path / "mine.txt").write_text("some words and then some more of them\n" * 400)
    return tmp_path


def blocks(section: str) -> list[str]:
    text = (checkout.root() / "CONTRIBUTING.md").read_text(encoding="utf-8")
    found = re.findall(r"```\w+\n(.*?)```", text.partition(f"## {section}\n")[2].partition("\n## ")[0], re.S)
    assert found, section
    return found


def put(project: Path, block: str) -> bool:
    """Write a block where its first line says; False if it names no place."""
    if not (place := PLACE.match(block)):
        return False
    path, code = project / place["path"], block[place.end() :]
    if not place["how"]:
        path.write_text(code)
        return True
    lines = path.read_text().splitlines(keepends=True)
    at = len(lines)
    if place["line"]:
        [at, *_] = [i for i, line in enumerate(lines) if line.startswith(place["line"])]
        at += place["how"].startswith("after")
    path.write_text("".join([*lines[:at], code, *lines[at:]]))
    return True


def run(project: Path, code: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-c", code], cwd=project, env=environment, capture_output=True, text=True)


def test_the_examples_work_as_they_stand(project):
    """In one process, for most of the time goes into starting it."""
    sections = ("An architecture", "A position term", "A format")
    code = [block for section in sections for block in blocks(section) if not put(project, block)]
    assert len(code) == len(sections)
    done = run(project, "\n".join(code))
    assert done.returncode == 0, done.stderr


def test_a_claim_is_locked_and_judged(project):
    *parts, amendment = blocks("A claim")
    assert all(put(project, block) for block in parts)
    stopped = run(project, CLAIM)
    digest = re.search(r"with sha256: ([0-9a-f]{64})", stopped.stderr)
    assert stopped.returncode == 1 and digest, stopped.stderr
    put(project, amendment.replace("THE DIGEST", digest[1]))
    done = run(project, CLAIM)
    assert done.returncode == 0, done.stderr
