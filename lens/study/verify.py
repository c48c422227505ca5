"""Are the committed results the ones that the pipeline recorded? Answered without running anything."""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

from lens import checkout
from lens.errors import ConfigError
from lens.study import digests
from lens.study.params import Study


@dataclass(frozen=True)
class Verification:
    """Outcome of comparing the results of a study with its dvc.lock."""

    study: str
    agreeing: tuple[str, ...]
    """outputs whose bytes are the recorded ones"""
    differing: tuple[str, ...]
    """one line per output that is altered or missing"""
    absent: tuple[str, ...]
    """large outputs under artifacts/ that are not on this machine"""
    outdated: tuple[str, ...] = ()
    """notebooks and modules whose code is not the one that made the recorded outputs"""

    def text(self) -> str:
        lines = [f"DIFFERS  {line}" for line in self.differing]
        if self.outdated:
            lines.append(f"made by other code than this, and run again by `dvc repro`: {', '.join(self.outdated)}")
        lines.append(
            f"study {self.study}: {len(self.agreeing)} outputs as recorded, {len(self.differing)} differ, "
            f"{len(self.absent)} large outputs not on this machine"
        )
        return "\n".join(lines)


def compare(study: Study) -> Verification:
    """Compare every output that the study's `dvc.lock` records with the file or folder there is.

    Raises:
        ConfigError: the study has no dvc.lock.
    """
    lock = checkout.root() / study.params_file.parent / "dvc.lock"
    if not lock.is_file():
        raise ConfigError(f"{lock} does not exist: run the pipeline of study {study.name!r} first")
    agreeing, differing, absent = [], [], []
    for stage, record in YAML(typ="safe").load(lock.read_text(encoding="utf-8"))["stages"].items():
        if not _in_study(stage, study):
            continue
        for out in record.get("outs", []):
            path = checkout.root() / out["path"]
            if not path.exists():
                if out["path"].startswith("artifacts/"):
                    absent.append(out["path"])
                else:
                    differing.append(f"{out['path']} is missing (stage {stage})")
            elif md5(path) == out["md5"]:
                agreeing.append(out["path"])
            else:
                differing.append(f"{out['path']} is not what stage {stage} wrote{_changed_files(path)}")
    return Verification(study.name, tuple(agreeing), tuple(differing), tuple(absent), tuple(_outdated(study)))


def _outdated(study: Study) -> list[str]:
    """Entries of `lens.study.digests` whose recorded digest is not that of the code here."""
    recorded = {path.stem: json.loads(path.read_text()) for path in (study.results / "digests").glob("*.json")}
    return [name for name in digests.ENTRIES if name in recorded and recorded[name] != digests.entry(name)]


def _in_study(stage: str, study: Study) -> bool:
    """Whether the study still has this stage: dvc.lock keeps the records of layers that were taken out."""
    name, _, layer = stage.partition("@")
    layers = study.ablations.layers if name == "ablate" else study.layers
    return not layer or layer in map(str, layers)


def md5(path: Path) -> str:
    """DVC's digest of a file, or of a folder (over the sorted list of its files and their digests)."""
    if path.is_file():
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest()
    files = sorted(p for p in path.rglob("*") if p.is_file())
    listing = [{"md5": md5(p), "relpath": p.relative_to(path).as_posix()} for p in files]
    listing.sort(key=lambda item: item["relpath"].split("/"))
    return hashlib.md5(json.dumps(listing, sort_keys=True).encode()).hexdigest() + ".dir"


def _changed_files(path: Path) -> str:
    """For a folder, the files in it that git reports as changed; its recorded digest covers them all at once."""
    if path.is_file():
        return ""
    status = subprocess.run(
        ["git", "status", "--porcelain", "--", str(path)],
        cwd=checkout.root(),
        capture_output=True,
        text=True,
        check=False,
    )
    names = [line[3:] for line in status.stdout.splitlines()]
    return f": git reports changes in {', '.join(names)}" if names else ": one of its files differs"
