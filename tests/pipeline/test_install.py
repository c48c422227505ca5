"""The environment that `make` builds: one exact lock, and a clear word where Python is missing."""

import re
import shutil
import subprocess
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lens import checkout


def locked() -> dict[str, str]:
    """Version of each package in the lock."""
    lines = [
        line for line in (checkout.root() / "requirements.txt").read_text().splitlines() if not line.startswith("#")
    ]
    pins = [re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.]+)", line) for line in lines]
    assert all(pins), "every line is name==version: no local tag, no address, no path"
    return {canonicalize_name(pin[1]): pin[2] for pin in pins}


def test_the_lock_lies_within_the_ranges():
    project = tomllib.loads((checkout.root() / "pyproject.toml").read_text())
    versions = locked()
    for text in [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), text


def test_make_says_so_when_there_is_no_python(tmp_path):
    for name in ("Makefile", "requirements.txt", "requirements-no-deps.txt"):
        shutil.copy(checkout.root() / name, tmp_path)
    run = subprocess.run(["make", "test", "PYTHON=no-such-python"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode != 0
    assert "'no-such-python' is not Python 3.11 or later" in run.stdout
    assert not (tmp_path / ".venv").exists()


def test_make_names_the_studies_when_none_is_given():
    run = subprocess.run(["make", "--dry-run", "study"], cwd=checkout.root(), capture_output=True, text=True)
    assert all(path.parent.name in run.stdout for path in checkout.root().glob("studies/*/params.yaml"))


def test_continuous_integration_runs_what_the_readme_names():
    commands = [line for line in (checkout.root() / ".ci" / "run").read_text().splitlines() if line.startswith("make ")]
    assert commands and all(command in (checkout.root() / "README.md").read_text() for command in commands)
