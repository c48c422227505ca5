"""The strict runner: one notebook of one study, executed by papermill, kept only if it could be made again.

    python -m lens run 02_train --study params.yaml --layer 8

Parameters are checked before the kernel starts; the executed copy is canonical (`lens.study.canonical`) and written in
one rename; where and how long it ran goes to `results/<study>/runs/<stage>.json`.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import nbformat
import papermill
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbformat import NotebookNode

from lens import checkout, files, progress
from lens.activations.layers import Layer
from lens.errors import ConfigError
from lens.processes import rank
from lens.study import notebooks
from lens.study.canonical import canonical
from lens.study.hosts import write_record
from lens.study.notebooks import ParameterError
from lens.study.params import Study, check_layer

KERNEL_START_S = 300


class RunError(RuntimeError):
    """A notebook left no result; the message says where the partly executed copy is."""


@dataclass(frozen=True)
class Job:
    """One notebook with the parameters it will run with."""

    notebook: Path
    study: Study
    parameters: dict[str, object]

    @property
    def stage(self) -> str:
        """Name of the executed copy and of the run record, e.g. `02_train_layer_8`."""
        layer = self.parameters.get("layer")
        return self.notebook.stem if layer is None else f"{self.notebook.stem}_layer_{layer}"

    @property
    def executed(self) -> Path:
        return self.study.results / "notebooks" / f"{self.stage}.ipynb"

    @property
    def record(self) -> Path:
        return self.study.results / "runs" / f"{self.stage}.json"


def plan(name: str, texts: Mapping[str, str]) -> Job:
    """The job of notebook `name` with parameters given as texts, all checked; nothing is started or written.

    Every parameter but `out` must be given, because a default that slips into `results/` is a result nobody asked for.

    Raises:
        ParameterError: unknown, missing or mistyped parameter, or a layer that is not in the study.
        ConfigError: no such study or layer, or a recipe or a random model in it that there is not.
    """
    path = notebooks.notebook_path(name)
    contract = notebooks.parameters(path)
    if "study" not in contract:
        raise ParameterError(
            f"{path.stem} belongs to no study: run it as "
            f"papermill notebooks/{path.name} scratch/{path.name} -p name value"
        )
    values = notebooks.from_text(path.stem, contract, texts)
    if missing := [p for p in contract if p not in values and p != "out"]:
        flags = ", ".join(f"--{p} ({contract[p].annotation})" for p in missing)
        raise ParameterError(f"{path.stem} needs {flags}; its parameters: {notebooks.listing(contract)}")
    out = values.get("out")
    study = Study.load(str(values["study"]), None if out is None else str(out))
    if "layer" in values:
        check_layer(cast(Layer, values["layer"]), path.stem)
    layers = study.ablations.layers if path.stem == "03_ablations" else study.layers
    if study.out is None and "layer" in values and values["layer"] not in layers:
        raise ParameterError(
            f"layer {values['layer']!r} is not in study {study.name!r} (layers {list(layers)}): add it to "
            f"{study.params_file.name}, or try it out with --out scratch/{path.stem}"
        )
    _check_names(path.stem, study)
    values["study"] = _from_root(study.params_file)
    if "out" in contract:
        values["out"] = _from_root(study.results)
    return Job(path, study, values)


def _check_names(notebook: str, study: Study) -> None:
    """Raise ConfigError where a name that the notebook, or one after it, looks up in the library is none there."""
    if notebook in ("01_extract", "02_train", "03_ablations"):
        study.check_recipes()
    if notebook == "01_extract" and study.model.startswith("random:"):
        from lens.activations import random_models  # imports torch, which most notebooks are started without

        random_models.check(study.model.removeprefix("random:"))


def run(job: Job) -> Path:
    """Execute the job's notebook from the top of the project and return the path of the canonical copy.

    Of the processes of a `torchrun` call, each of which executes it, the first one keeps its copy.

    Raises:
        RunError: a cell failed or ended the kernel, an output is not reproducible, or parameters changed meanwhile.
    """
    for path in () if rank() else (job.executed, job.record):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
    scratch = checkout.root() / "scratch"
    partial = scratch / "running" / f"{job.study.name}-{job.stage}-{os.getpid()}.ipynb"
    failed = scratch / "failed" / f"{job.stage}.ipynb"
    _remove_left_behind(partial)
    for path in (partial, failed):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
    started = time.monotonic()
    try:
        before = _decisive(job.study)
        text = canonical(_execute(job, partial), _local_paths())
        if _decisive(job.study) != before:
            raise RunError(f"{job.study.params_file.name} or lens/versions.yaml changed during the run; run it again")
    except BaseException as error:
        if partial.is_file():
            partial.replace(failed)
            if isinstance(error, Exception):
                raise RunError(f"{job.stage}: {error}\nthe notebook as far as it came: {_from_root(failed)}") from error
        raise
    partial.unlink()
    if rank():
        return job.executed
    write_record(job.record, job.stage, job.parameters, time.monotonic() - started)
    files.write(job.executed, text.encode())
    return job.executed


def _remove_left_behind(partial: Path) -> None:
    """Remove the partial copies of this stage that killed runs left: those whose process lives no longer."""
    stem = partial.stem.rpartition("-")[0]
    for path in partial.parent.glob(f"{stem}-*.ipynb"):
        name, _, pid = path.stem.rpartition("-")
        if name == stem and pid.isdigit() and not _lives(int(pid)):
            path.unlink(missing_ok=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # sends nothing
    except OSError as error:
        return isinstance(error, PermissionError)
    return True


def _decisive(study: Study) -> tuple[Study | None, str]:
    """What DVC records with a result when its stage has ended: the parameters now in the file, and the versions.

    The lists of layers are left out: a layer added during a run concerns no stage that is under way.
    """
    versions = (checkout.root() / "lens" / "versions.yaml").read_text(encoding="utf-8")
    try:
        now = Study.load(study.params_file)
    except ConfigError:
        return None, versions
    ablations = dataclasses.replace(now.ablations, layers=())
    return dataclasses.replace(now, layers=(), main_layers=(), ablations=ablations), versions


def _kernel_manager(ipython_folder: str) -> type[AsyncKernelManager]:
    """Starts the kernel of this very interpreter, whatever kernels and start-up files the user has installed."""
    spec = KernelSpec(
        argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=CRITICAL"],
        display_name="Python 3",
        language="python",
        env={
            "PYTHONHASHSEED": "0",
            # Threads that wait without spinning: on a machine that does other work too, spinning costs most of it.
            "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "passive"),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(checkout.root()), os.environ.get("PYTHONPATH")])),
            **({progress.WATCHED: "1"} if progress.watched() else {}),
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            "IPYTHONDIR": ipython_folder,
        },
    )

    class OwnKernelManager(AsyncKernelManager):
        kernel_spec = spec  # pyright: ignore[reportAssignmentType]  # a property there

    return OwnKernelManager


def _execute(job: Job, partial: Path) -> NotebookNode:
    with tempfile.TemporaryDirectory(prefix="lens-") as folder:
        papermill.execute_notebook(
            job.notebook,
            partial,
            job.parameters,
            kernel_name="python3",
            kernel_manager_class=_kernel_manager(folder),
            progress_bar=False,
            stderr_file=sys.stderr,
            start_timeout=KERNEL_START_S,
            cwd=checkout.root(),
        )
    executed = nbformat.read(partial, as_version=4)
    for index, cell in enumerate(executed.cells):
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        errors = [output.ename for output in cell.outputs if output.output_type == "error"]
        if errors or cell.execution_count is None:  # papermill takes `sys.exit()` for success
            raise RunError(f"cell {index} ended the run early ({', '.join(errors) or 'not executed'})")
    return executed


def _local_paths() -> tuple[str, ...]:
    paths = {checkout.root(), Path.home(), Path(sys.prefix), Path(tempfile.gettempdir())}
    return tuple(sorted(str(path) for path in paths if len(path.parts) > 1))


def _from_root(path: Path) -> str:
    path = Path(path).resolve()
    return path.relative_to(checkout.root()).as_posix() if path.is_relative_to(checkout.root()) else str(path)
