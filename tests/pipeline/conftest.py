"""One run of the whole pipeline on the `smoke` study, in a copy of the project, shared by every test here."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from benchmarks.install import elsewhere
from lens import checkout

NOT_COPIED = {".git", "artifacts", "scratch", "dvc.lock", "config.local", "cache", "tmp", "_build"}
SOURCES = {"benchmarks", "across_models.csv", "full"}  # of results, what a claim and the paper of any study read
SMOKE = "studies/smoke/dvc.yaml"


@dataclass(frozen=True)
class Project:
    """A copy of the project in a folder of its own."""

    root: Path

    def run(self, *command: str, rc: int = 0) -> str:
        """Output of a command in this copy, standard error included, with this interpreter first in the path."""
        process = self._start(command)
        output, _ = process.communicate()
        assert process.returncode == rc, output
        return output

    def _start(self, command: Sequence[str]) -> subprocess.Popen[str]:
        environment = {
            **elsewhere(),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "DVC_SITE_CACHE_DIR": str(self.root.parent / "dvc"),
            "OMP_NUM_THREADS": "1",  # the models are tiny
        }
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(command, cwd=self.root, env=environment, text=True, process_group=0, **output)

    def kill(self, command: Sequence[str], once: str) -> None:
        """Start a command, and kill it and its whole group of processes once a file of that pattern is there."""
        process = self._start(command)
        while not next(self.root.glob(once), None):
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    def repro(self, *arguments: str) -> list[str]:
        """Names of the stages that `dvc repro` ran, or would run with --dry; of the smoke study if none is named."""
        targets = [] if any(SMOKE in a for a in arguments) else [SMOKE]
        output = self.run(sys.executable, "-m", "dvc", "repro", *arguments, *targets)
        return sorted(re.findall(r"Running stage '(?:.*:)?([\w@-]+)'", output))

    def lens(self, *arguments: str, rc: int = 0) -> str:
        return self.run(sys.executable, "-m", "lens", *arguments, "--study", "smoke", rc=rc)

    def commit(self) -> None:
        self.run("git", "add", "--all")
        self.run("git", "-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "--quiet", "--message", "x")

    def edit(self, path: str, old: str, new: str) -> None:
        text = (self.root / path).read_text()
        assert old in text, f"{path} has no {old!r}"
        (self.root / path).write_text(text.replace(old, new, 1))

    def restore(self) -> None:
        """Take back every edit since the last commit."""
        self.run("git", "reset", "--quiet", "--hard")

    def files(self, *folders: str) -> dict[str, bytes]:
        """Content of every file of the smoke results under `folders`, by path."""
        results = self.root / "results" / "smoke"
        paths = [p for folder in folders for p in (results / folder).rglob("*") if p.is_file()]
        paths += [results / folder for folder in folders if (results / folder).is_file()]
        return {str(p.relative_to(results)): p.read_bytes() for p in paths}


def copy_sources(root: Path) -> Project:
    """The project as a fresh download has it: no results, no artifacts, no git; and one pipeline, for DVC reads all."""
    shutil.copytree(
        checkout.root(), root, symlinks=True,
        ignore=lambda folder, names: {
            name for name in names
            if name in NOT_COPIED or name.startswith(".venv") or name.endswith("cache") or name == "__pycache__"
            or (Path(folder) == checkout.root() / "results" and name not in SOURCES)
            or (Path(folder) == checkout.root() / "results" / "full" and name not in {"tables", "claims.json"})
            or (Path(folder).parent.name == "studies" and name == "dvc.yaml" and Path(folder).name != "smoke")
        },
    )  # fmt: skip
    rules = (root / ".gitignore").read_text().replace("/results/smoke/\n", "")
    (root / ".gitignore").write_text(rules.replace("results/quick/", "results/smoke/"))  # here, git keeps smoke's
    return Project(root)


@pytest.fixture(scope="session")
def made(tmp_path_factory, worker_id) -> Project:
    """The finished pipeline, committed to git, made once for all processes. Not to be changed: see `copy`."""
    own = tmp_path_factory.getbasetemp()
    folder = (own if worker_id == "master" else own.parent) / "made"
    finished = folder / "finished"
    with FileLock(f"{folder}.lock"):
        if not finished.exists():
            shutil.rmtree(folder, ignore_errors=True)
            project = copy_sources(folder / "project")
            project.run("git", "init", "--quiet")
            project.commit()
            project.repro()
            project.commit()
            finished.touch()
    return Project(folder / "project")


@pytest.fixture
def copy(made: Project, tmp_path: Path) -> Project:
    """A copy of the finished project, caches included, to change at will."""
    passing = shutil.ignore_patterns("tmp", "index.lock")  # what git and DVC write while another test reads `made`
    shutil.copytree(made.root, tmp_path / "project", symlinks=True, ignore=passing)
    return Project(tmp_path / "project")


@pytest.fixture(scope="session")
def clone(made: Project, tmp_path_factory) -> Project:
    """A fresh clone of the finished project: what git holds and nothing else. To be left as it was (`restore`)."""
    root = tmp_path_factory.mktemp("clone") / "clone"
    made.run("git", "clone", "--quiet", str(made.root), str(root))
    return Project(root)
