"""A study made part by part: the layers whose tables are not here or not up to date, and no others.

The parts of a study are its layers. What git keeps of a finished one is enough for all that comes after it: its tables,
and its share of the explorer's page, which is committed with them. So a clone without activations and dictionaries
makes what is missing, and a study that takes many hours can be made by several machines one after the other.

DVC alone can't: on such a clone `dvc repro` makes all large files again, and with --allow-missing it does not make
those that a missing table needs.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lens import checkout
from lens.activations.layers import Layer
from lens.errors import ConfigError
from lens.study import verify
from lens.study.params import Study

EXTRACT, EXPLORER = "extract", "explorer"


def missing(study: Study) -> dict[Layer, list[str]]:
    """Why layers of a study have to be made, by layer; without those that need not.

    Raises:
        ConfigError: the study has no pipeline.
    """
    return _missing(study, verify.unmade(study))


def make(study: Study) -> None:
    """Make the missing layers one after the other, then what is made from all tables.

    After each layer it says that its results can be committed. A call that was stopped goes on with the next stage.
    Activations are extracted of the missing layers alone. Where their folder is then not as dvc.lock has it, it is
    removed at the end: `artifacts/pool` keeps them.

    Raises:
        ConfigError: the study has no pipeline, a stage failed, or the page can't be made, since it lacks a finished
            layer whose dictionaries are not here.
    """
    unmade = verify.unmade(study)
    wanted = _missing(study, unmade)
    if wanted and unmade[EXTRACT]:
        _run(study, [EXTRACT])
    elif wanted:
        _extract(study, list(wanted))
    finished = [layer for layer in study.layers if layer not in wanted]
    for layer in wanted:
        _run(study, _of_layer(layer, unmade))
        finished.append(layer)
        if _keeps_page(study, unmade):
            _explore(dataclasses.replace(study, layers=tuple(x for x in study.layers if x in finished)))
        print(
            f"layer {layer} is made: commit {_shown(study.results)} and {_shown(_pipeline(study).parent)}", flush=True
        )
    after = [stage for stage in unmade if "@" not in stage and stage not in (EXTRACT, EXPLORER)]
    _run(study, after + [EXPLORER] * (bool(wanted) and _keeps_page(study, unmade)))
    activations = study.artifacts / study.store
    if wanted and _shown(activations) in verify.unrecorded(study):
        shutil.rmtree(activations)


def _missing(study: Study, unmade: dict[str, list[str]]) -> dict[Layer, list[str]]:
    held = _held(study) if _keeps_page(study, unmade) else None
    found = {}
    for layer in study.layers:
        why = [f"{stage}: {line}" for stage in _of_layer(layer, unmade) for line in unmade[stage]]
        if held is not None and str(layer) not in held:
            why.append(f"{_shown(study.results / 'explorer.html')} lacks it")
        if why:
            found[layer] = why
    return found


def _of_layer(layer: Layer, stages: Sequence[str] | dict[str, list[str]]) -> list[str]:
    return [stage for stage in stages if stage.partition("@")[2] == str(layer)]


def _keeps_page(study: Study, stages: dict[str, list[str]]) -> bool:
    """Whether the explorer of the study is here, or will be in git."""
    path = study.results / "explorer.html"
    with_git = bool(checkout.git("rev-parse", "--git-dir"))  # an archive has none
    return EXPLORER in stages and (path.is_file() or with_git and not checkout.git("check-ignore", str(path)))


def _held(study: Study) -> set[str] | None:
    """Layers of the page that is there; None where another version wrote it, whose layers can't be told."""
    from lens.explorer import page

    path = study.results / "explorer.html"
    found = page.read(path)
    return None if path.is_file() and not found else set(found[study.name].layers) if study.name in found else set()


def _extract(study: Study, layers: Sequence[Layer]) -> None:
    """Activations of these layers, beside those that are here."""
    from lens.study.extraction import extract_study, is_extracted

    here = [layer for layer in study.layers if is_extracted(study, layer)]
    if not set(layers) <= set(here):
        extract_study(study, [layer for layer in study.layers if layer in layers or layer in here])


def _explore(study: Study) -> None:
    from lens.study import explorer

    explorer.build(study)


def _run(study: Study, stages: Sequence[str]) -> None:
    """Run stages with DVC, in this order, each if anything of it is out of date or not here."""
    for stage in stages:
        target = f"{_shown(_pipeline(study))}:{stage}"
        command = [sys.executable, "-m", "dvc", "repro", "--single-item", target]
        if subprocess.run(command, cwd=checkout.root(), check=False).returncode:
            raise ConfigError(f"the stage {target} failed, as said above; what was made before it is kept")


def _pipeline(study: Study) -> Path:
    return checkout.root() / study.params_file.parent / "dvc.yaml"


def _shown(path: Path) -> str:
    return os.path.relpath(path, checkout.root())
