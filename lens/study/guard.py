"""The proof that a result came from the code and parameters it is recorded with.

DVC hashes what a stage depends on when the stage has finished, so code edited during a run would be recorded as the
code that ran. `unmoved` refuses such a run.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager

from lens.errors import ConfigError
from lens.study import digests
from lens.study.params import Study


class MovedError(RuntimeError):
    """Code or parameters changed between the pipeline's digests and the end of a run."""


@contextmanager
def unmoved(entry: str, study: Study) -> Iterator[None]:
    """Run a block, and fail unless the code of `entry` and the study are the same before and after it.

    Raises:
        MovedError: they changed during the block, or since `results/<study>/digests` was written.
    """
    before = digests.entry(entry)
    recorded = study.results / "digests" / f"{entry}.json"
    if recorded.is_file() and (moved := _differences(json.loads(recorded.read_text(encoding="utf-8")), before)):
        raise MovedError(
            f"{entry}: {moved} changed after {recorded.name} was written; start again with `dvc repro` "
            f"(or `python -m lens digest --study {study.name}` outside the pipeline)"
        )
    yield
    if moved := _differences(before, digests.entry(entry)):
        raise MovedError(f"{entry}: {moved} changed during the run, so its result belongs to no version; run it again")
    if _read_again(study) != _without_layers(study):
        raise MovedError(f"{entry}: {study.params_file.name} changed during the run; run it again")


def _differences(old: dict, new: dict) -> str:
    """Names of the notebook, modules and files whose digests differ."""
    names = ["the notebook"] if old.get("notebook") != new.get("notebook") else []
    for part in ("modules", "files"):
        a, b = old.get(part, {}), new.get(part, {})
        names += sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))
    return ", ".join(names)


def _read_again(study: Study) -> Study | None:
    try:
        return _without_layers(Study.load(study.params_file))
    except (ConfigError, OSError):
        return None


def _without_layers(study: Study) -> Study:
    """The parameters but for the lists of layers: a layer added during a run concerns no stage that is under way."""
    ablations = dataclasses.replace(study.ablations, layers=())
    return dataclasses.replace(study, layers=(), main_layers=(), ablations=ablations, out=None)
