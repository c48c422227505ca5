"""Are the results here the ones that the pipeline recorded? Answered by DVC, without running anything."""

from __future__ import annotations

import pkgutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lens import checkout
from lens.errors import ConfigError
from lens.study.params import Study


@dataclass(frozen=True)
class Verification:
    """Outcome of comparing the results of a study with its dvc.lock."""

    study: str
    agreeing: tuple[str, ...]
    """outputs whose bytes are the recorded ones"""
    differing: tuple[str, ...]
    """one line per output that is altered, missing, or of a stage that never ran"""
    absent: tuple[str, ...]
    """outputs that git does not hold and that are not on this machine"""

    def text(self) -> str:
        lines = [f"DIFFERS  {line}" for line in self.differing]
        lines.append(
            f"study {self.study}: {len(self.agreeing)} outputs as recorded, {len(self.differing)} differ, "
            f"{len(self.absent)} outputs that git does not hold are not here"
        )
        return "\n".join(lines)


def recorded() -> list[Study]:
    """Every study of the checkout that has a dvc.lock."""
    folders = [checkout.root(), *sorted((checkout.root() / "studies").iterdir())]
    return [Study.load(str(folder / "params.yaml")) for folder in folders if (folder / "dvc.lock").is_file()]


def outdated() -> list[str]:
    """What is out of date by the checks of the checkout (see `checkout.settings`)."""
    return [line for check in checkout.settings().get("checks", []) for line in pkgutil.resolve_name(check)()]


def compare(study: Study) -> Verification:
    """Compare every output of the study's pipeline with its record in `dvc.lock`.

    Raises:
        ConfigError: the study has no dvc.lock.
    """
    from dvc.repo import Repo

    pipeline = checkout.root() / study.params_file.parent / "dvc.yaml"
    if not pipeline.with_name("dvc.lock").is_file():
        raise ConfigError(
            f"{pipeline.with_name('dvc.lock')} does not exist: run the pipeline of study {study.name!r} first"
        )
    agreeing, differing, absent = [], [], []
    with Repo(str(checkout.root())) as repo:
        for stage in repo.stage.load_all(str(pipeline)):
            for out in stage.outs:
                name = Path(out.fs_path).relative_to(checkout.root()).as_posix()
                found = next(iter(out.workspace_status().values()), None)
                if found is None:
                    agreeing.append(name)
                elif found == "deleted" and _git("check-ignore", name):
                    absent.append(name)
                else:
                    differing.append(f"{name} is {found}, says the record of {stage.addressing}{_changed(name)}")
    return Verification(study.name, tuple(agreeing), tuple(differing), tuple(absent))


def _changed(name: str) -> str:
    """The files under `name` that git reports as changed; the record of a folder covers all its files at once."""
    names = [line[3:] for line in _git("status", "--porcelain", "--", name)]
    return f": git reports changes in {', '.join(names)}" if names else ""


def _git(*arguments: str) -> list[str]:
    """Lines that git prints; none where the project is no git checkout."""
    done = subprocess.run(["git", *arguments], cwd=checkout.root(), capture_output=True, text=True, check=False)
    return done.stdout.splitlines()
