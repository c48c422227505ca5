"""Are the results here the ones that the pipeline recorded? Answered by DVC, without running anything."""

from __future__ import annotations

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
    """large outputs under artifacts/ that are not on this machine"""

    def text(self) -> str:
        lines = [f"DIFFERS  {line}" for line in self.differing]
        lines.append(
            f"study {self.study}: {len(self.agreeing)} outputs as recorded, {len(self.differing)} differ, "
            f"{len(self.absent)} large outputs not on this machine"
        )
        return "\n".join(lines)


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
                elif name.startswith("artifacts/") and found == "deleted":
                    absent.append(name)
                else:
                    differing.append(f"{name} is {found}, says the record of {stage.addressing}{_changed(name)}")
    return Verification(study.name, tuple(agreeing), tuple(differing), tuple(absent))


def _changed(name: str) -> str:
    """The files under `name` that git reports as changed; the record of a folder covers all its files at once."""
    command = ["git", "status", "--porcelain", "--", name]
    status = subprocess.run(command, cwd=checkout.root(), capture_output=True, text=True, check=False)
    names = [line[3:] for line in status.stdout.splitlines()]
    return f": git reports changes in {', '.join(names)}" if names else ""
