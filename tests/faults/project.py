"""One small study in a project folder of its own, made through the functions that notebooks and commands call, and the
public ways in which each of its files is read."""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import inspect
import io
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import torch

import lens
from lens import checkout, cli
from lens.activations import models
from lens.activations.gguf_packages import Recipe, prepare, sha256
from lens.activations.store import open_layer
from lens.figures.plot import save
from lens.study import explorer, extraction, hosts, tables, times, verify
from lens.study.analysis import measure
from lens.study.layer_data import load_dictionaries, open_layer_data
from lens.study.params import Study
from lens.study.training import train, training_tables
from lens.training import train as training
from paper import overview
from paper.gallery import FIGURES, drawn, looks_of, reader
from tests.activations.test_gguf_packages import write_llama

SOURCE = checkout.root()
PARAMS = """
study: mini
root: ../..
params_file: studies/mini/params.yaml
model: random:gemma-3-tiny
layers: [1, 2]
main_layers: [1, 2]
corpus: {train: tiny-shakespeare, test: shakespeare-held-out, contrast: README}
windows: {length: 16, train: 48, test: 48, contrast: 32, fidelity: 0, bos: true, seed: 0}
dictionary: {expansion: 1}
training: {steps: 40, log_every: 5, overrides: {}}
recipe_file: paper/recipes.yaml
recipes: {}
variants: [standard, temporallens, shuffled_positions]
roles: {method: temporallens, baseline: standard, "null": shuffled_positions}
seeds: [0, 1]
control_seeds: [0, 1]
ablations: {layers: [], seeds: [0, 1], variants: [], recipes: {}}
calibration: {steps: [30], seeds: [0], windows: 48, length: 128}
"""
PARAMS = PARAMS.replace("README", f"{SOURCE}/README.md")  # of the texts that there are, the soonest cut
LINKED = ("lens", "paper", "notebooks", "tests", "pyproject.toml", "README.md", "docs")
CHECKPOINT_EVERY = 20  # steps, of 40

# What is the same for every fault is loaded once: the model, and the windows of the texts, which take longest to cut.
_load = functools.cache(models.load)
_windows = functools.cache(lambda name: _windows_of(Study.load(name), _load("random:gemma-3-tiny")))
_windows_of = extraction.windows_of


@contextlib.contextmanager
def inside(root: Path) -> Iterator[None]:
    """The project in `root` is the checkout meanwhile; its code is that of this checkout."""
    own = inspect.getfile
    with contextlib.ExitStack() as stack:
        for target, name, value in (
            (checkout, "root", lambda: root),
            (models, "load", lambda model, **options: _load(model, **options)),
            (extraction, "windows_of", lambda study, model: _windows(study.name)),
            (inspect, "getfile", lambda code: own(code).replace(str(SOURCE), str(root))),
            (training, "CHECKPOINT_EVERY", CHECKPOINT_EVERY),
        ):
            stack.enter_context(mock.patch.object(target, name, value))
        yield


def study() -> Study:
    return Study.load("mini")


def unfinished_extraction() -> None:
    """Stopped in the second batch of the second split."""
    model, calls = _load("random:gemma-3-tiny"), []

    def forward(batch, layers):
        calls.append(batch)
        if len(calls) > 4:
            raise KeyboardInterrupt
        return model.residual_stream(batch, layers)

    with contextlib.suppress(KeyboardInterrupt):
        run = functools.partial(extraction.extract, forward=forward)
        with mock.patch.object(extraction, "extract", run):
            extract()


def unfinished_training() -> None:
    """Stopped after the first checkpoint of the first layer."""

    def stop(*_):
        raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt), mock.patch.object(training, "_finish", stop):
        train_all()


def make(root: Path) -> None:
    """A project with nothing made yet."""
    (root / "studies" / "mini").mkdir(parents=True)
    (root / "studies" / "mini" / "params.yaml").write_text(PARAMS)
    (root / "studies" / "mini" / "dvc.yaml").symlink_to("../../dvc.yaml")
    for name in LINKED:
        (root / name).symlink_to(SOURCE / name)
    shutil.copy(SOURCE / "dvc.yaml", root)
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").write_text("[core]\n analytics = false\n no_scm = true\n[cache]\n type = copy\n")
    (root / "results").mkdir()
    shutil.copytree(SOURCE / "results" / "benchmarks", root / "results" / "benchmarks")
    shutil.copy(SOURCE / "results" / "across_models.csv", root / "results")


# -- what the stages do -----------------------------------------------------------------------------------------------


def extract() -> None:
    extraction.extract_study(study())


def train_all() -> None:
    for layer in study().layers:
        trained = train(study(), open_layer_data(study(), layer))
        tables.save(study(), "training", layer, training_tables(trained))


def analyse() -> None:
    for layer in study().layers:
        tables.save(study(), "measures", layer, measure(study(), open_layer_data(study(), layer)))


def claims() -> None:
    command("claims", "--study", "mini")


def pages() -> None:
    """Figures, explorer, and what stands for executed notebooks, for run records and for the paper."""
    name = "per_position_error"
    save(FIGURES[name](reader(study()), looks_of(study())), study().results / "figures", name)
    explorer.build(study())
    for stage in times.stages(study()):
        for folder in ("runs", "notebooks"):
            (study().results / folder).mkdir(exist_ok=True)
        parameters = {"study": "studies/mini/params.yaml", "out": "results/mini"}
        hosts.write_record(study().results / "runs" / f"{stage}.json", stage, parameters, 12.5)
        notebook = SOURCE / "notebooks" / f"{stage.partition('_layer')[0]}.ipynb"
        shutil.copy(notebook, study().results / "notebooks" / f"{stage}.ipynb")
    (study().results / "paper.pdf").write_bytes(b"%PDF-1.7\n" + bytes(range(256)))
    tables_of = study().results / "tables"
    shutil.copy(tables_of / "training" / "layer_1.parquet", tables_of / "calibration.parquet")


def record() -> None:
    """What `dvc repro` writes into dvc.lock."""
    from dvc.repo import Repo

    with contextlib.chdir(checkout.root()), Repo() as repo:
        repo.commit(str(checkout.root() / "studies" / "mini" / "dvc.yaml"), force=True)


def command(*words: str) -> str:
    """Output of a command of `lens`.

    Raises:
        Refused: it said what is wrong and ended with 1.
    """
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(words)
    if code:
        raise Refused(err.getvalue() or out.getvalue())
    return out.getvalue()


class Refused(Exception):
    """A command ended with 1 and this message, without a traceback."""


# -- how files are read: each answers what is compared with the answer of the undisturbed project ---------------------


def files(*folders: Path) -> dict[str, str]:
    """Digest of every file, by path."""
    root = checkout.root()
    paths = [p for f in folders for p in ([f] if f.is_file() else sorted(f.rglob("*"))) if p.is_file()]
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


def extracted() -> object:
    extract()
    return files(study().artifacts / "activations")


def opened() -> object:
    found = []
    for layer in study().layers:
        for split in ("train", "test", "contrast"):
            store = open_layer(study().artifacts / "activations", layer, split)
            found.append((store.activations.clone(), store.tokens, store.document, store.start, store.documents))
            found.append(store.manifest)
    return found


def trained() -> object:
    train_all()
    return files(study().artifacts / "dictionaries", study().results / "tables" / "training")


def loaded() -> object:
    """Through `load_dictionaries`, as every later stage, and `lens.load`."""
    x = torch.randn(2, 16, 32, generator=torch.Generator().manual_seed(0))
    found = []
    for layer in study().layers:
        for (variant, seed), sae in load_dictionaries(study(), layer).items():
            again = lens.load(study().dictionaries("dictionaries", layer) / f"{variant}-seed{seed}")
            found += [sae.info, sae(x), again.info, again(x)]
    return found


def profiled() -> object:
    folder = study().dictionaries("dictionaries", 1) / "temporallens-seed0"
    text = checkout.root() / "README.md"
    options = ("--layer", "1", "--windows", "16", "--fidelity", "0", "--out", str(checkout.root() / "profile"))
    return command("profile", str(folder), "random:gemma-3-tiny", str(text), *options).splitlines()[:-1]


def explored() -> object:
    explorer.build(study())
    return files(study().results / "explorer.html")


def judged() -> object:
    claims()
    return files(study().results / "claims.json")


def drawn_again() -> object:
    read, looks = reader(study()), looks_of(study())
    plots, left_out = drawn(read, reader(study(), over_depth=True), looks)
    return {name: (plot.caption, plot.alt) for name, plot in plots.items()}, left_out


def traced() -> object:
    return command("trace", "C01", "--study", "mini")


def told() -> object:
    return overview.answer(study()), overview.claims_table(study())


def timed() -> object:
    return command("times", "--study", "mini")


def verified() -> object:
    report = verify.compare(study())
    if report.differing:
        raise Refused(report.text())
    return report.agreeing


def read_params() -> object:
    return study()


def fit() -> object:
    root = checkout.root()
    text = (SOURCE / "README.md").read_text(encoding="utf-8")[:8000]
    sae = lens.fit("random:gemma-3-tiny", 1, [text], root / "fitted", windows=32, length=16, steps=40)
    return files(root / "fitted" / "dictionaries"), sae.info


@functools.cache
def _package() -> Recipe:
    """A tiny Llama in a GGUF file of an installed package."""
    folder = Path(tempfile.mkdtemp(prefix="package-"))
    atexit.register(shutil.rmtree, folder)
    (folder / "tiny_llama_gguf").mkdir()
    (folder / "tiny_llama_gguf" / "__init__.py").touch()
    write_llama(folder / "tiny_llama_gguf" / "tiny.gguf")
    sys.path.insert(0, str(folder))
    digest = sha256(folder / "tiny_llama_gguf" / "tiny.gguf")
    return Recipe((("tiny_llama_gguf", "tiny.gguf", digest),), digest, "Q8_0", "pip install tiny")


def prepared() -> object:
    prepare("tiny", _package(), checkout.root() / "models")
    return files(checkout.root() / "models" / "tiny")


def same(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b
