"""What a user can get wrong on the command line is answered in one line."""

import subprocess
import sys

import pytest
import torch

from lens import checkout
from lens.cli import main
from lens.dictionaries.dictionary import Dictionary, Info

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
def test_mistakes_are_answered_in_one_line(tmp_path, capsys, words, message):
    (tmp_path / "text.txt").write_text("some words\n" * 50)
    places = {"folder": tmp_path, "text": tmp_path / "text.txt", "out": tmp_path / "out"}
    assert main([word.format(**places) for word in words]) == 1
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_the_process_ends_with_the_answer_and_its_code():
    command = [sys.executable, "-m", "lens", "run", "02_trian"]
    done = subprocess.run(command, cwd=checkout.root(), capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: no notebook '02_trian' (did you mean '02_train'?)")


def test_a_dictionary_with_code_of_its_own_is_profiled_where_it_is_trusted(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(
        "from lens.dictionaries.architectures.relu import ReLU\n\n\nclass Mine(ReLU):\n    pass\n"
    )
    made = Info(32, 32, architecture=f"{tmp_path}/mine.py:Mine", layer="1")
    Dictionary.initialise(made, torch.zeros(32), 0).save(tmp_path / "d")
    (tmp_path / "text.txt").write_text("some words and more of them\n" * 200)
    places = {"folder": tmp_path / "d", "text": tmp_path / "text.txt", "out": tmp_path / "out"}
    words = [*(word.format(**places) for word in PROFILE), "--windows", "16", "--length", "16", "--fidelity", "0"]
    assert main(words) == 1
    assert "mine.py:Mine; if you trust that code, pass trust=True (--trust" in capsys.readouterr().err
    assert main([*words, "--trust"]) == 0
    assert (tmp_path / "out/summary.csv").is_file()
