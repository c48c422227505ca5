"""What a user can get wrong on the command line is answered in one line."""

import subprocess
import sys

import pytest

from lens import checkout

PROFILE = ["profile", "{folder}", "random:gemma-3-tiny", "{text}", "--out", "{out}", "--layer", "1"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "06_your_model"], "06_your_model belongs to no study: run it as papermill"),
        ([*PROFILE], "a dictionary has one of sae.safetensors"),
        ([*PROFILE[:3], "{out}/missing.txt", *PROFILE[4:]], "no text file"),
        ([*PROFILE[:1], "", *PROFILE[2:]], "an empty source"),
        ([*PROFILE[:5], "{text}", *PROFILE[6:]], "text.txt is a file: name a folder"),
        (["explore", "--beside", "smoke"], "name its file with --out"),
    ],
)
def test_mistakes_are_answered_in_one_line(tmp_path, words, message):
    (tmp_path / "text.txt").write_text("some words\n" * 50)
    places = {"folder": tmp_path, "text": tmp_path / "text.txt", "out": tmp_path / "out"}
    command = [sys.executable, "-m", "lens", *(word.format(**places) for word in words)]
    done = subprocess.run(command, cwd=checkout.root(), capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert message in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()
