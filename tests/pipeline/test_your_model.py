"""The README's two ways to a model of one's own, as they stand there, on a smaller scale."""

import os
import re
import subprocess
import sys

import pytest

from lens import checkout
from lens.activations import corpus
from lens.profiling.position_profile import PositionProfile


@pytest.fixture(scope="module")
def section():
    readme = (checkout.root() / "README.md").read_text(encoding="utf-8")
    return readme.partition("## On your own model")[2].partition("\n## ")[0]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.txt").write_text(corpus.load("tiny-shakespeare")["text"][0][:120_000])
    return tmp_path


def block(section: str, language: str, start: str) -> str:
    found = [b for b in re.findall(rf"```{language}\n(.*?)```", section, re.S) if b.startswith(start)]
    assert len(found) == 1, (language, start)
    return found[0]


def run(command, **environment):
    done = subprocess.run(
        command,
        cwd=checkout.root(),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(checkout.root()), **environment},
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def test_the_papermill_line(section, folder):
    line = block(section, "sh", "papermill").strip()
    out = folder / "out"
    for name, place in (("mine.txt", folder / "mine.txt"), ("scratch/mine.ipynb", folder / "mine.ipynb")):
        line = line.replace(name, str(place))
    small = "-p windows 64 -p steps 30 -p held_out 40 -p fidelity 1 -p out".split()
    run([sys.executable, "-m", *line.split(), *small, out])
    assert (folder / "mine.ipynb").is_file()
    found = PositionProfile.read(out / "profile_masked")
    assert (found.about.model, found.about.layer) == ("smollm2-135m", "14")
    assert PositionProfile.read(out / "profile_standard").about.windows == 40


def test_the_python_snippet(section, folder):
    code = block(section, "python", "import lens")
    code = code.replace("mine.txt", str(folder / "mine.txt")).replace("scratch/mine", str(folder / "mine"))
    code = code.replace("steps=500", "steps=30, windows=64").replace("held_out)", "held_out, windows=40, fidelity=1)")
    run([sys.executable, "-c", code])
    assert PositionProfile.read(folder / "mine" / "profile").about.model == "smollm2-135m"


def test_the_command_line(section, folder):
    """On what the snippet would have trained; the command itself is checked on a tiny model."""
    line = block(section, "sh", "python -m lens profile")
    assert "--out" in line
    (folder / "words.txt").write_text("abc def\n" * 800)
    options = "windows=20, length=16, steps=4"
    code = f"import lens; lens.fit('random:gemma-3-tiny', 1, ['abc def\\n' * 800], r'{folder / 'tiny'}', {options})"
    run([sys.executable, "-c", code])
    words = [
        str(folder / "tiny/dictionaries/relu-mask/relu-mask-seed0"),
        "random:gemma-3-tiny",
        str(folder / "words.txt"),
    ]
    options = ["--windows", "20", "--length", "16", "--fidelity", "2", "--out", str(folder / "profile")]
    shown = run([sys.executable, "-m", "lens", "profile", *words, *options])
    assert "PositionProfile of" in shown
    assert PositionProfile.read(folder / "profile").about.length == 16
    nothing = [sys.executable, "-m", "lens", "profile", str(folder), *words[1:], *options]
    missing = subprocess.run(nothing, cwd=checkout.root(), capture_output=True, text=True)
    assert missing.returncode == 1
    assert missing.stderr.startswith("error: ") and missing.stderr.count("\n") < 3
