"""States of unfinished training: from the newest complete one, runs go on to the same numbers.

The state of runs that are trained together is a folder with one of them per saved step, beside a list of the folders
that the runs will have when they are finished."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Iterable
from pathlib import Path

from safetensors.torch import load_file

from lens.errors import ConfigError
from lens.files import read_json, write, write_tensors
from lens.processes import from_all, wait_for_all
from lens.training.run import Run, TrainingError
from lens.training.sealed import damage, sealing

OF = "of.json"


def begin(folder: Path, finished: Iterable[Path]) -> None:
    """Note in the folder of a state, before anything else is in it, where its runs will be when they are finished."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / OF, json.dumps({"runs": sorted(path.name for path in finished)}).encode())


def remove_useless(states: Iterable[Path], pool: Path) -> None:
    """Remove what no call goes on from, which a killed one left behind: states of runs of which one is finished, for it
    isn't trained again and so never together with the others; and folders that were begun or removed in part. One whose
    list cannot be read is removed too, and a warning names it."""
    for folder in states:
        runs = []
        if (folder / OF).is_file():
            try:
                runs = read_json(folder / OF, "this training starts again from its first step", {"runs": list})["runs"]
            except ConfigError as error:
                warnings.warn(str(error), stacklevel=3)
        if not runs or any((pool / name).is_dir() for name in runs):
            shutil.rmtree(folder)


def snapshot(runs: list[Run], folder: Path, step: int) -> None:
    """Save the state of all runs after `step` steps; the previous state stays until the new one is complete, in every
    process where they share the runs.

    Raises:
        OSError: there is no room for it.
    """
    older, values = _states(folder), {}
    with sealing(folder / f"step-{step}") as new:
        for run in runs:
            tensors, values[run.name] = run.state()
            write_tensors(new / f"{run.name}.safetensors", tensors)
        write(new / "runs.json", json.dumps(values).encode())
    if runs[0].shards.by:
        wait_for_all()
    for path in older.values():
        shutil.rmtree(path)


def restore(runs: list[Run], folder: Path) -> int:
    """Load the newest complete state into `runs`; the number of steps already taken, 0 when there is none.

    A state with a file that was altered since is removed, and a warning names it: training starts again.

    Raises:
        TrainingError: the state is whole, but of other runs than these.
    """
    states, shared = _states(folder), bool(runs[0].shards.by)
    newest = _of_all(max(states, default=0), shared)
    if newest and (wrong := damage(states[newest])):
        warnings.warn(f"{wrong}: this training starts again from its first step", stacklevel=2)
        shutil.rmtree(folder)
        newest = 0
    if not _of_all(newest, shared):
        return 0
    state = states[newest]
    values = json.loads((state / "runs.json").read_text())
    try:
        for run in runs:
            run.load_state(load_file(state / f"{run.name}.safetensors"), values[run.name])
    except (KeyError, RuntimeError) as error:  # of another version of the program
        raise TrainingError(f"{state} does not fit: {error!r}; delete {folder} to train from the start") from None
    return max(run.steps_done for run in runs)


def _of_all(newest: int, shared: bool) -> int:
    """The newest step of which every process that shares the runs has a state."""
    return min(from_all(newest)) if shared else newest


def _states(folder: Path) -> dict[int, Path]:
    """Complete states by the number of steps taken; what else lies there is none of ours."""
    found = {path: re.fullmatch(r"step-(\d+)", path.name) for path in folder.glob("step-*")}
    return {int(name[1]): path for path, name in found.items() if name}
