"""`make remote`: a second place for what is too large for git."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lens import checkout


@pytest.fixture
def project(tmp_path) -> Path:
    """A git and DVC project with the Makefile and one large file."""
    root = tmp_path / "project"
    root.mkdir()
    shutil.copy(checkout.root() / "Makefile", root)
    for command in (["git", "init", "--quiet"], ["dvc", "init", "--quiet"]):
        run(root, *command)
    (root / "dictionary.bin").write_bytes(b"weights")
    run(root, "dvc", "add", "--quiet", "dictionary.bin")
    return root


def run(root: Path, *command: str, rc: int = 0) -> str:
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "DVC_SITE_CACHE_DIR": str(root.parent / "site"),
    }
    done = subprocess.run(
        command, cwd=root, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.returncode == rc, done.stdout
    return done.stdout


def make(root: Path, *arguments: str, rc: int = 0) -> str:
    return run(root, "make", "INSTALLED=", "ACTIVE=", *arguments, rc=rc)  # with this environment's own dvc


def test_what_is_pushed_to_a_folder_is_pulled_again(project, tmp_path):
    make(project, "remote", f"DIR={tmp_path / 'store'}")
    run(project, "dvc", "push")
    (project / "dictionary.bin").unlink()
    shutil.rmtree(project / ".dvc" / "cache")
    run(project, "dvc", "pull")
    assert (project / "dictionary.bin").read_bytes() == b"weights"


def test_remote_and_pages_say_what_they_need(project):
    assert "usage: make remote DIR=" in make(project, "remote", rc=2)
    assert "usage: make pages STUDY=" in make(project, "pages", rc=2)
    assert "usage: make pages STUDY=" in make(project, "pages", "STUDY=nonesuch", rc=2)
