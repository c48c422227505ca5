"""`lens verify` on the studies of this checkout; on a pipeline that ran, see tests/pipeline."""

import dataclasses
import shutil
import subprocess

import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML

from lens import checkout, cli
from lens.errors import ConfigError
from lens.study import verify
from lens.study.params import Study
from lens.study.verify import Verification


@pytest.fixture
def differing(monkeypatch) -> dict[str, tuple[str, ...]]:
    """Study -> what differs there; the pages are `pages`."""
    found: dict[str, tuple[str, ...]] = {}
    monkeypatch.setattr(verify, "compare", lambda study: Verification(study.name, (), found.get(study.name, ()), ()))
    monkeypatch.setattr(verify, "outdated", lambda: list(found.get("pages", ())))
    return found


def test_without_a_study_each_one_that_was_recorded_is_verified_in_a_line(differing, capsys):
    assert cli.main(["verify"]) == 0
    *studies, pages = capsys.readouterr().out.splitlines()
    locks = [checkout.root() / "dvc.lock", *sorted(checkout.root().glob("studies/*/dvc.lock"))]
    assert [line.split(":")[0] for line in studies] == [
        f"study {lock.parent.name if lock.parent != checkout.root() else 'quick'}" for lock in locks
    ]
    assert pages == "pages: 0 out of date"


@pytest.mark.parametrize("what", ["full", "pages"])
def test_one_study_or_page_that_differs_fails_all(differing, capsys, what):
    differing[what] = ("x is modified",)
    assert cli.main(["verify"]) == 1
    assert capsys.readouterr().out.count("DIFFERS  x is modified\n") == 1
    assert cli.main(["verify", "--study", "quick"]) == 0
    assert "pages" not in capsys.readouterr().out


def test_a_page_that_is_not_what_the_results_say_is_named(monkeypatch):
    from paper import readme

    monkeypatch.setattr(readme, "stale", lambda: ["README.md, claims"])
    assert verify.outdated() == ["README.md, claims is not what `lens readme` would write"]


PIPELINE = """
stages:
  first: {cmd: cp a.txt made, deps: [a.txt], params: [size], outs: [made]}
  second: {cmd: cp made end.txt, deps: [made], outs: [{end.txt: {cache: false}}]}
"""


@pytest.fixture
def recorded(tmp_path, monkeypatch) -> Study:
    """A study whose pipeline of two stages has run, in a checkout of its own that git knows."""
    study = dataclasses.replace(Study.load("quick"), params_file=tmp_path / "params.yaml")
    monkeypatch.setattr(checkout, "root", lambda: tmp_path)
    monkeypatch.chdir(tmp_path)
    for name, text in {"dvc.yaml": PIPELINE, "params.yaml": "size: 1\nother: 1\n", "a.txt": "a"}.items():
        (tmp_path / name).write_text(text)
    subprocess.run(["git", "init", "-q"], check=True)
    with Repo.init(str(tmp_path)) as repo:
        repo.reproduce()
    return study


def test_a_stage_is_stale_by_what_it_reads_and_nothing_else(recorded, tmp_path):
    assert verify.stale(recorded) == []
    (tmp_path / "params.yaml").write_text("size: 1\nother: 2\n")
    assert verify.stale(recorded) == []
    (tmp_path / "params.yaml").write_text("size: 2\nother: 2\n")
    (tmp_path / "a.txt").write_text("b")
    [line] = verify.stale(recorded)
    assert line.startswith("first: ") and "a.txt is modified" in line and "size in params.yaml is modified" in line
    (tmp_path / "dvc.yaml").write_text(PIPELINE.replace("cp made", "cat made >"))
    assert "second: its command changed" in verify.stale(recorded)


def test_what_is_on_another_machine_is_as_it_was_recorded(recorded, tmp_path):
    (tmp_path / "made").unlink()
    assert verify.stale(recorded) == []
    lock, yaml = tmp_path / "dvc.lock", YAML()
    recorded_of = yaml.load(lock)
    recorded_of["stages"]["second"]["deps"][0]["md5"] = "0" * 32
    yaml.dump(recorded_of, lock)
    assert verify.stale(recorded) == ["second: made was made again since"]


def test_stale_stages_end_in_an_error(monkeypatch, capsys):
    monkeypatch.setattr(verify, "stale", lambda study: ["train@8: x is modified"] * (study.name == "full"))
    assert cli.main(["verify", "--stale"]) == 1
    assert "STALE  train@8: x is modified\nstudy full: 1 stages stale" in capsys.readouterr().out
    assert cli.main(["verify", "--stale", "--study", "quick"]) == 0


def test_without_a_lock_the_pipeline_has_to_run_first(recorded, tmp_path):
    (tmp_path / "dvc.lock").unlink()
    for ask in (verify.stale, verify.compare):
        with pytest.raises(ConfigError, match=r"dvc\.lock does not exist: run the pipeline of study 'quick'"):
            ask(recorded)


def test_without_git_verification_works(recorded, tmp_path, monkeypatch):
    shutil.rmtree(tmp_path / ".git")
    monkeypatch.setenv("PATH", "")
    assert verify.stale(recorded) == [] and verify.compare(recorded).differing == ()
