"""Verdicts now, and as they were in a commit."""

import copy
import dataclasses
import json
import subprocess

import pytest

from lens import checkout, cli
from lens.study.params import Study
from tests.paper.test_readme import DOCUMENT

GIT = ["git", "-c", "user.name=x", "-c", "user.email=x@x", "-c", "commit.gpgsign=false"]


@pytest.fixture
def study(tmp_path, monkeypatch) -> Study:
    """A study in a checkout of its own, its verdicts committed."""
    study = dataclasses.replace(Study.load("quick"), model=DOCUMENT["model"])
    monkeypatch.setattr(checkout, "root", lambda: tmp_path)
    monkeypatch.setattr(Study, "load", lambda name: study)
    monkeypatch.setattr(cli, "_of_checkout", lambda: ["paper.commands"])
    study.results.mkdir(parents=True)
    write(study, DOCUMENT)
    for command in (["git", "init", "-q"], ["git", "add", "."], [*GIT, "commit", "-qm", "verdicts"]):
        subprocess.run(command, cwd=tmp_path, check=True)
    return study


def write(study, document) -> None:
    (study.results / "claims.json").write_text(json.dumps(document))


def diff(revision, capsys) -> tuple[int, str]:
    code = cli.main(["claims", "--diff", revision])
    shown = capsys.readouterr()
    return code, shown.out + shown.err


def test_verdicts_and_intervals_that_changed_since_a_commit_are_listed(study, capsys):
    assert diff("HEAD", capsys) == (0, "study quick: 0 changes since HEAD\n")
    changed = copy.deepcopy(DOCUMENT)
    by_id = {claim["id"]: claim for claim in changed["claims"]}
    by_id["C01"] |= {"verdict": "inconclusive", "attributable": "not assessed", "reason": "other words"}
    by_id["C03"]["readings"][0] |= {"estimate": 0.71, "low": 0.6}
    by_id["C26"]["id"] = "C99"
    write(study, changed)
    code, shown = diff("HEAD", capsys)
    assert code == 0 and shown.splitlines() == [
        "C26  gone",
        "C99  new",
        "C01  verdict: partly -> inconclusive",
        "C01  attributable: no -> not assessed",
        "C03  readings, raw: 0.7 [None, None] -> 0.71 [0.6, None]",
        "study quick: 5 changes since HEAD",
    ]


@pytest.mark.parametrize("revision", ["nope", "HEAD~1", "--output=x"])
def test_a_commit_without_the_verdicts_is_named(study, capsys, revision):
    code = cli.main(["claims", f"--diff={revision}"])
    assert code == 1 and f"git has no results/quick/claims.json at '{revision}'" in capsys.readouterr().err
    assert [path.name for path in study.results.iterdir()] == ["claims.json"]
