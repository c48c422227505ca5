"""Carry the records of studies over to a changed dvc.yaml, for studies whose large files are on another machine.

    python scripts/carry_locks.py full quick smollm2 minilm random-gemma

Nothing is run. A study's `dvc.lock` is rewritten for the stages of today's dvc.yaml, if for every stage that takes long
the command is the recorded one, every recorded parameter that there still is has its recorded value, every one that has
gone had the value that the code now takes for granted, and every large file that is here has its recorded digest. Large
files that are not here keep their records. Small results are recorded as they are here; those that were recorded with
other bytes are listed, for they were made anew or brought into another form.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from dvc.dependency import ParamsDependency
from dvc.repo import Repo
from dvc.stage import PipelineStage
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]
LONG = ("extract", "train", "ablate", "analyse", "calibrate")
TAKEN_FOR_GRANTED = {"dictionary.preset": "paper", "windows.starts": "random"}


def carry(study: str) -> list[str]:
    """Rewrite the dvc.lock of a study; the small results whose bytes are not the recorded ones.

    Raises:
        SystemExit: something differs that must not; the lock is left as it was.
    """
    folder = ROOT if study == "quick" else ROOT / "studies" / study
    lock = folder / "dvc.lock"
    records = YAML(typ="safe").load(lock.read_text(encoding="utf-8"))["stages"]
    with Repo(str(ROOT)) as repo:
        stages = [s for s in repo.stage.load_all(str(folder / "dvc.yaml")) if s.name in records or is_long(s.name)]
        wrong = [
            line for stage in stages if is_long(stage.name) for line in differences(stage, records.get(stage.name))
        ]
        if wrong:
            raise SystemExit(f"study {study} is not carried over:\n" + "\n".join(wrong))
        changed = [name for stage in stages for name in changed_results(stage)]
        for stage in stages:
            stage.save(allow_missing=True, run_cache=False)
            stage.dump(update_pipeline=False)
    prune(lock, {stage.name for stage in stages})
    return changed


def is_long(stage: str) -> bool:
    return stage.partition("@")[0] in LONG


def differences(stage: PipelineStage, record: dict | None) -> Iterator[str]:
    """What of a stage is not as recorded, one line each."""
    if record is None:
        yield f"{stage.name}: was never run"
        return
    if record["cmd"] != stage.cmd:
        yield f"{stage.name}: the command was `{record['cmd']}`, and is `{stage.cmd}`"
    now = {dep.def_path: dep.read_params() for dep in stage.deps if isinstance(dep, ParamsDependency)}
    for file, values in record.get("params", {}).items():
        for key, value in values.items():
            yield from (
                f"{stage.name}: {line}" for line in parameter_differences(key, value, now.get(file, {}).get(key))
            )
    for out in stage.outs:
        if out.use_cache and "modified" in out.workspace_status().values():
            yield f"{stage.name}: {out} is here, and not what was recorded"


def parameter_differences(key: str, old: object, new: object) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for part, value in old.items():
            yield from parameter_differences(f"{key}.{part}", value, new.get(part))
    elif new is None and key in TAKEN_FOR_GRANTED:
        if old != TAKEN_FOR_GRANTED[key]:
            yield f"{key} was {old!r}, and is always {TAKEN_FOR_GRANTED[key]!r} now"
    elif old != new:
        yield f"{key} was {old!r}, and is {new!r}"


def changed_results(stage: PipelineStage) -> Iterator[str]:
    for out in stage.outs:
        if not out.use_cache and {"modified", "new"} & set(out.workspace_status().values()):
            yield out.def_path


def prune(lock: Path, stages: set[str]) -> None:
    """Leave out the records of stages that there are no longer."""
    yaml = YAML()
    document = yaml.load(lock.read_text(encoding="utf-8"))
    document["stages"] = {name: record for name, record in document["stages"].items() if name in stages}
    with open(lock, "w", encoding="utf-8") as file:
        yaml.dump(document, file)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        anew = carry(name)
        print(f"{name}: carried over; {len(anew)} small results have other bytes than were recorded", *anew, sep="\n  ")
