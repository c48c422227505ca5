"""The installed library, which needs no checkout, and the environment that `make` builds."""

import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from importlib.metadata import PackageNotFoundError, distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks import install
from lens import checkout


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """An environment with the wheel and what it requires, linked from this one: nothing of the extras is there."""
    folder = tmp_path_factory.mktemp("installed")
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    wheel = install.wheel(folder, "--no-build-isolation")  # with the setuptools that is here
    install.pip("install", "--no-deps", wheel, python=environment / "bin" / "python")
    [site] = environment.glob("lib/python*/site-packages")
    [built] = [d for d in distributions(path=[str(site)]) if d.name == "temporallens"]
    for name in closure(built.requires or []):
        for top in {file.parts[0] for file in distribution(name).files or [] if file.parts[0] != ".."}:
            source = Path(sysconfig.get_path("purelib")) / top
            if source.exists() and top != "__pycache__" and not (site / top).exists():
                (site / top).symlink_to(source)
    return environment


def closure(requirements: list[str]) -> set[str]:
    """Names of the packages here that the requirements ask for, and those that these ask for."""
    found: set[str] = set()
    rest = [(text, "") for text in requirements]
    while rest:
        text, extra = rest.pop()
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        try:
            needs = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        if name not in found or requirement.extras:
            found.add(name)
            rest += [(need, of) for need in needs for of in ("", *requirement.extras)]
    return found


@pytest.mark.slow
def test_an_installed_library_fits_loads_and_profiles_without_the_extras(installed, tmp_path):
    assert not list(installed.glob("lib/python*/site-packages/dvc")), "the environment holds what it shall do without"
    assert install.use(installed, tmp_path) == dict.fromkeys(["imports", "help", "fit", "load", "profile"], True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("word", "code", "messages"),
    [
        ("--help", 0, ["Profile any dictionary by position on a text"]),
        (
            "claims",
            1,
            [
                "`claims` is no command of the installed library (it has profile, fit",
                "`python -m lens",
            ],
        ),
        ("profle", 1, ["did you mean 'profile'?"]),
    ],
)
def test_outside_a_checkout_the_commands_of_one_are_not_offered(installed, tmp_path, word, code, messages):
    command = [installed / "bin" / "lens", word]
    done = subprocess.run(command, cwd=tmp_path, env=install.elsewhere(), capture_output=True, text=True)
    assert done.returncode == code
    assert all(message in done.stdout + done.stderr for message in messages)
    assert "study" not in done.stdout


def test_the_lock_lies_within_the_ranges():
    lock = (checkout.root() / "requirements.txt").read_text().splitlines()
    pins = [re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.]+)", line) for line in lock if not line.startswith("#")]
    assert all(pins), "every line is name==version: no local tag, no address, no path"
    versions = {canonicalize_name(pin[1]): pin[2] for pin in pins}
    settings = tomllib.loads((checkout.root() / "pyproject.toml").read_text())
    extras = settings["project"]["optional-dependencies"]
    for text in [
        *settings["project"]["dependencies"],
        *sum(extras.values(), []),
        *settings["dependency-groups"]["dev"],
    ]:
        requirement = Requirement(text)
        if requirement.name != settings["project"]["name"]:
            assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), text


def test_make_says_so_when_there_is_no_python(tmp_path):
    for name in ("Makefile", "requirements.txt", "requirements-no-deps.txt"):
        shutil.copy(checkout.root() / name, tmp_path)
    run = subprocess.run(["make", "test", "PYTHON=no-such-python"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode != 0
    assert "'no-such-python' is not Python 3.11 or later" in run.stdout
    assert not (tmp_path / ".venv").exists()
