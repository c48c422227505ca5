"""Are the results here the ones that the pipeline recorded? Answered by DVC, without running anything."""

from __future__ import annotations

import contextlib
import pkgutil
from collections.abc import Iterator
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
    agreeing, differing, absent = [], [], []
    with _stages(study) as stages:
        for stage in stages:
            for out in stage.outs:
                name = _name(out)
                found = next(iter(out.workspace_status().values()), None)
                if found is None:
                    agreeing.append(name)
                elif _is_elsewhere(name, found):
                    absent.append(name)
                else:
                    differing.append(f"{name} is {found}, says the record of {stage.addressing}{_changed(name)}")
    return Verification(study.name, tuple(agreeing), tuple(differing), tuple(absent))


def stale(study: Study) -> list[str]:
    """The stages of the study's pipeline that read something else now than when they ran, a line each that says what.

    What git does not hold and is not on this machine counts as it was recorded by the stage that made it. Stages that
    depend on a stale one are named once that one has run.

    Raises:
        ConfigError: the study has no dvc.lock.
    """
    lines = []
    with _stages(study) as stages:
        made = {out.fs_path: out.hash_info for stage in stages for out in stage.outs}
        for stage in stages:
            why = ["its command changed"] if stage.changed_stage() else []
            for dep in stage.deps:
                for name, found in dep.status().items():
                    if isinstance(found, dict):
                        why += [f"{key} in {name} is {how}" for key, how in found.items()]
                    elif not _is_elsewhere(name, found):
                        why.append(f"{name} is {found}{_changed(name)}")
                    elif made.get(dep.fs_path, dep.hash_info) != dep.hash_info:
                        why.append(f"{name} was made again since")
            if why:
                lines.append(f"{stage.addressing}: {'; '.join(why)}")
    return lines


def unmade(study: Study) -> dict[str, list[str]]:
    """Why each stage of the study's pipeline would have to run, by its name, were all large files at hand.

    Large files are those that DVC keeps. A stage that needs them is as good as made where what it left for git is here,
    and was made with today's parameters: empty lists.

    Raises:
        ConfigError: the study has no pipeline.
    """
    found = {}
    with _stages(study, recorded=False) as stages:
        large = {out.fs_path: out.hash_info for stage in stages for out in stage.outs if out.use_cache}
        for stage in stages:
            why = ["its command changed"] if stage.changed_stage() else []
            for item in (*stage.deps, *(out for out in stage.outs if not out.use_cache)):
                if large.get(item.fs_path, item.hash_info) != item.hash_info:
                    why.append(f"{_name(item)} was made again since")
                elif not any(Path(item.fs_path).is_relative_to(path) for path in large):
                    why += list(_differences(item))
            found[stage.name] = why
    return found


def unrecorded(study: Study) -> list[str]:
    """Large files and folders that are here, and other than dvc.lock has them. Raises as `unmade` does."""
    with _stages(study, recorded=False) as stages:
        outs = [out for stage in stages for out in stage.outs if out.use_cache and out.exists]
        return [_name(out) for out in outs if out.workspace_status()]


def _name(item) -> str:
    return Path(item.fs_path).relative_to(checkout.root()).as_posix()


def _differences(item) -> Iterator[str]:
    """What of a dependency or output of a stage is not as recorded."""
    for name, found in item.status().items():
        if isinstance(found, dict):
            yield from (f"{key} in {name} is {how}" for key, how in found.items())
        else:
            yield f"{name} is {found}"


@contextlib.contextmanager
def _stages(study: Study, *, recorded: bool = True) -> Iterator[list]:
    """The stages of a study's pipeline, with what its dvc.lock recorded of them; without `recorded` there need be none.

    Raises:
        ConfigError: there is no such pipeline or record.
    """
    from dvc.repo import Repo

    pipeline = checkout.root() / study.params_file.parent / "dvc.yaml"
    if not pipeline.is_file():
        raise ConfigError(f"study {study.name!r} has no pipeline: {pipeline} is missing")
    if recorded and not pipeline.with_name("dvc.lock").is_file():
        raise ConfigError(
            f"{pipeline.with_name('dvc.lock')} does not exist: run the pipeline of study {study.name!r} first"
        )
    with Repo(str(checkout.root()), config={"core": {"no_scm": True}}) as repo:  # an archive has no .git
        yield repo.stage.load_all(str(pipeline))


def _is_elsewhere(name: str, found: str) -> bool:
    """Whether DVC misses what git does not hold either: it is on the machine that made it."""
    return found == "deleted" and bool(checkout.git("check-ignore", name))


def _changed(name: str) -> str:
    """The files under `name` that git reports as changed; the record of a folder covers all its files at once."""
    names = [line[3:] for line in checkout.git("status", "--porcelain", "--", name).splitlines()]
    return f": git reports changes in {', '.join(names)}" if names else ""
