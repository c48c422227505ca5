"""What a user can get wrong on the command line is answered in one line."""

import subprocess
import sys

import pytest
import torch

from lens import checkout
from lens.cli import main
from lens.dictionaries.dictionary import Dictionary, Info

PROFILE = ["profile", "{folder}", "random:gemma-3-tiny", "{text}", "--out", "{out}", "--layer", "1"]
GIVEN = ["profile", "d", "m", "t", "--out", "o"]
FIT = ["fit", "random:gemma-3-tiny", "t", "--layer", "1", "--out", "o"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "06_your_model"], "06_your_model belongs to no study: run it as papermill"),
        ([*PROFILE], "a dictionary has one of sae.safetensors"),
        ([*PROFILE[:3], "{out}/missing.txt", *PROFILE[4:]], "no text file"),
        ([*PROFILE[:1], "", *PROFILE[2:]], "an empty source"),
        ([*PROFILE[:5], "{text}", *PROFILE[6:]], "text.txt cannot hold results: it is no folder; name another folder"),
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


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["profle"], 1, "no command 'profle' (did you mean 'profile'?)"),
        ([*GIVEN, "--windwos", "3"], 2, "No such option '--windwos'. Did you mean '--windows'?"),
        ([*GIVEN, "--windows", "three"], 2, "'three' is not a valid integer"),
        (["profile", "d"], 2, "Missing argument 'MODEL'"),
        ([*FIT, "--set", "k"], 1, "--set k: give each field once, as FIELD=VALUE"),
        ([*FIT, "--set", "steps=3"], 1, "--set steps: it is no field of a recipe"),
        ([*FIT, "--set", "l1_ceof=3"], 1, "did you mean 'l1_coef'?"),
    ],
)  # fmt: skip
def test_words_that_cannot_be_read_are_answered_with_what_comes_close(capsys, words, code, message):
    assert main(words) == code
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_no_words_show_the_commands(capsys):
    assert main([]) == 0
    assert "explore" in capsys.readouterr().out


def test_a_dictionary_is_fitted(tmp_path, capsys):
    (tmp_path / "text.txt").write_text("some words and more of them\n" * 400)
    words = ["fit", "random:gemma-3-tiny", str(tmp_path / "text.txt"), "--layer", "1", "--out", str(tmp_path / "out")]
    words += ["--architecture", "topk", "--position", "none", "--set", "k=4", "--set", "precision=fp32"]
    assert main([*words, "--steps", "3", "--windows", "16", "--length", "16", "--name", "mine"]) == 0
    made = Dictionary.load(tmp_path / "out/dictionaries/mine/mine-seed0")
    assert made.info.architecture == "topk" and made.stated_l0 == 4
