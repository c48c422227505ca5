"""README's ways to a model of one's own, and that of its page in docs/, as they stand there, on a smaller scale."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lens
from lens import checkout
from lens.activations import corpus, models
from lens.profiling.position_profile import PositionProfile
from lens.study import notebooks


@pytest.fixture(scope="module")
def section() -> str:
    pages = ("README.md", "docs/guides/model.md")
    return "\n".join((checkout.root() / page).read_text(encoding="utf-8") for page in pages)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.txt").write_text(corpus.load("tiny-shakespeare")["text"][0][:60_000])
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


def by_papermill(section: str, folder, model: str, layer: int, *more) -> Path:
    """Run the line of the page on a model, and return the folder of its results."""
    line = block(section, "sh", "papermill").strip().replace("scratch/mine.ipynb", str(folder / "mine.ipynb"))
    line = line.replace("smollm2-135m", model).replace("layer 14", f"layer {layer}")
    line = line.replace(" mine.txt", f" {folder / 'mine.txt'}")
    run([sys.executable, "-m", *line.split(), *more, "-p", "out", str(folder / "out")])
    assert (folder / "mine.ipynb").is_file()
    return folder / "out"


@pytest.mark.full
def test_the_papermill_line(section, folder):
    out = by_papermill(
        section, folder, "smollm2-135m", 14, *"-p windows 16 -p steps 10 -p held_out 16 -p fidelity 1".split()
    )
    found = PositionProfile.read(out / "profile_masked")
    assert (found.about.model, found.about.layer) == ("smollm2-135m", "14")
    assert PositionProfile.read(out / "profile_standard").about.windows == 16


@pytest.fixture
def without_bos(tmp_path) -> str:
    """A small model with random weights whose tokenizer has no BOS, as Qwen's has none."""
    made = models.load("random:gemma-3-tiny")
    made.tokenizer.bos_token = None
    made.model.save_pretrained(tmp_path / "model")
    made.tokenizer.save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


@pytest.mark.slow
def test_the_python_snippet_does_what_the_papermill_line_does(section, folder, without_bos):
    """With the numbers that stand there: the model, its layer and the places of files are others, and steps fewer."""
    code = block(section, "python", "import lens")
    steps = f"steps={notebooks.parameters(checkout.root() / 'notebooks' / '06_your_model.ipynb')['steps'].default}"
    assert steps in code
    code = code.replace(steps, "steps=20")
    code = code.replace('"smollm2-135m", 14', f"{without_bos!r}, 1").replace('"smollm2-135m"', repr(without_bos))
    code = code.replace("mine.txt", str(folder / "mine.txt")).replace("scratch/mine", str(folder / "mine"))
    run([sys.executable, "-c", code])
    out = by_papermill(section, folder, without_bos, 1, "-p", "steps", "20")
    for one, other in (("dictionaries/relu-mask/relu-mask-seed0",) * 2, ("profile", "profile_masked")):
        files = {p.name: p.read_bytes() for p in (folder / "mine" / one).iterdir() if p.suffix not in (".png", ".svg")}
        assert len(files) > 1
        assert files == {name: (out / other / name).read_bytes() for name in files}
    assert PositionProfile.read(out / "profile_masked").about.windows == 12_000 // 128  # of 256: all there are


@pytest.mark.slow
def test_the_command_line(section, folder):
    """On what the snippet would have trained; the command itself is checked on a tiny model."""
    line = block(section, "sh", "python -m lens profile")
    assert "--out" in line
    (folder / "words.txt").write_text("abc def\n" * 800)
    lens.fit("random:gemma-3-tiny", 1, ["abc def\n" * 800], folder / "tiny", windows=20, length=16, steps=4)
    words = [
        str(folder / "tiny/dictionaries/relu-mask/relu-mask-seed0"),
        "random:gemma-3-tiny",
        str(folder / "words.txt"),
    ]
    options = ["--windows", "20", "--length", "16", "--fidelity", "2", "--out", str(folder / "profile")]
    shown = run([sys.executable, "-m", "lens", "profile", *words, *options])
    assert "PositionProfile of" in shown
    assert PositionProfile.read(folder / "profile").about.length == 16
