"""A study: every knob of one run of the pipeline, read from a parameter file and checked before anything starts."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lens import checkout, files
from lens.activations.layers import EMBEDDING, Layer
from lens.errors import ConfigError, seed_of, suggest
from lens.fields import build, folder_name
from lens.study.hosts import read_record
from lens.training import recipe_file

if TYPE_CHECKING:
    from lens.training.recipe import Recipe

TAKEN = {"benchmarks", "pool"}  # among results and artifacts: no names of studies
SEED = "{seed}"  # in names of texts
APART = 1000  # between the numbers that draw the windows of two seeds; each draws with three in a row
OTHERS = {
    "activations", "untrained", "language_model", "zero_dictionary", "random_dictionary", "mean", "position_mean",
    "pca_64", "pca_l0",
}  # fmt: skip
"""What stands in the column `variant` of tables besides the trained ones: the input itself (seed -1), means and
principal components of it, and controls."""


@dataclass(frozen=True)
class Corpus:
    """Names of the training, the held-out and a contrasting text (see `lens.activations.corpus.load`).

    With windows that are drawn per seed, `{seed}` in a name stands for the seed. An empty contrast: none.
    """

    train: str
    test: str
    contrast: str = "pandas-docs"


@dataclass(frozen=True)
class WindowRule:
    """How token windows are cut: BOS at t = 0, then `length - 1` tokens of one document."""

    length: int
    train: int
    test: int
    fidelity: int
    contrast: int = 256
    bos: bool = True
    seed: int = 0
    draw: Literal["once", "per_seed"] = "once"
    """whether all seeds see the same windows, or each has text, windows and order of its own (see `Study.of_seed`)"""


@dataclass(frozen=True)
class Dictionary:
    """Width of the dictionary, as a multiple of the model's width."""

    expansion: int = 1


@dataclass(frozen=True)
class Training:
    """Optimiser steps, logging interval, and fields of the recipe that this study changes."""

    steps: int
    log_every: int = 20
    overrides: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Ablations:
    """Layers, variants and seeds (empty: the study's) of the ablation runs, and recipes that they alone need."""

    layers: tuple[Layer, ...] = ()
    variants: tuple[str, ...] = ()
    recipes: dict = field(default_factory=dict)
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Calibration:
    """Sizes of the runs on planted truth: training steps and seeds, and windows and their length."""

    steps: tuple[int, ...] = (1000, 10000)
    seeds: tuple[int, ...] = (0,)
    windows: int = 400
    length: int = 128


@dataclass(frozen=True)
class Planted:
    """Features tuned to position that are added to a layer (`lens.study.planted`): their share of the variance (0: none
    are added), and the depth of their profiles, 1 - lowest / highest rate of firing."""

    share: float = 0.0
    depth: float = 1.0


@dataclass(frozen=True)
class EqualL0:
    """Variants that are trained with one L0, with all seeds, and the layers where they are (empty: the study's)."""

    l0: float
    variants: tuple[str, ...]
    layers: tuple[Layer, ...] = ()
    planted: Planted = Planted()


@dataclass(frozen=True)
class Roles:
    """Which of a study's variants is the method, which the baseline it is held against, and which its null.

    The null is the method trained with the positions of each window shuffled. A part that nothing plays is None.
    """

    method: str | None = None
    baseline: str | None = None
    null: str | None = None


@dataclass(frozen=True)
class Study:
    """One run of the pipeline; its results live in `results/<name>`, its big files in `artifacts/<name>`.

    Claims about layers are judged on `main_layers` (empty: every block of `layers`). The other layers are there for
    trends over depth and as controls; `control_seeds` (empty: all of `seeds`) are trained on them.

    A study loaded with `out` writes everything into that folder instead, and only reads what the pipeline has made.
    """

    name: str
    params_file: Path
    model: str
    layers: tuple[Layer, ...]
    corpus: Corpus
    windows: WindowRule
    dictionary: Dictionary
    training: Training
    variants: tuple[str, ...]
    seeds: tuple[int, ...]
    ablations: Ablations
    main_layers: tuple[Layer, ...] = ()
    control_seeds: tuple[int, ...] = ()
    calibration: Calibration = Calibration()
    equal_l0: tuple[EqualL0, ...] = ()
    """what 09_headroom trains, in this order"""
    roles: Roles = Roles()
    model_note: str = ""
    """what pages say of the model"""
    recipe_file: str = ""
    recipes: dict = field(default_factory=dict)
    """fields of every variant that can be trained, by its name: those of the recipe file, the study's own, and those of
    its ablations"""
    out: Path | None = None
    seed: int | None = None
    """of a study that draws its windows per seed: which one this is the part of"""

    def of_seed(self, seed: int) -> Study:
        """The study as one of its seeds sees it: itself, where all see the same windows; else with texts, windows and
        their order of that seed's own, and a store beside those of the others."""
        if self.windows.draw == "once" or self.seed == seed:
            return self
        named = {f.name: getattr(self.corpus, f.name).replace(SEED, str(seed)) for f in dataclasses.fields(Corpus)}
        windows = dataclasses.replace(self.windows, seed=self.windows.seed + APART * seed)
        return dataclasses.replace(self, corpus=Corpus(**named), windows=windows, seeds=(seed,), seed=seed)

    @property
    def parts(self) -> list[Study]:
        """The study as each of its seeds sees it; one, where all see the same windows."""
        return [self] if self.windows.draw == "once" else [self.of_seed(seed) for seed in self.seeds]

    @property
    def store(self) -> str:
        """Where its activations lie, in its own folder of artifacts or in that of a trial."""
        return "activations" if self.seed is None else f"activations/seed_{self.seed}"

    @property
    def results(self) -> Path:
        """Small results, tracked by git."""
        return self.out or checkout.root() / "results" / self.name

    @property
    def artifacts(self) -> Path:
        """Activations and checkpoints, cached by DVC."""
        return checkout.root() / "artifacts" / self.name

    def dictionaries(self, kind: Literal["dictionaries", "ablations"], layer: Layer) -> Path:
        """Folder of one layer's trained dictionaries."""
        return (self.out or self.artifacts) / kind / f"layer_{layer}"

    @property
    def main(self) -> tuple[Layer, ...]:
        """The layers that claims are judged on, from the shallowest."""
        return self.main_layers or tuple(x for x in self.layers if x != EMBEDDING) or self.layers

    def train_recipe(self, variant: str) -> Recipe:
        """How dictionaries of a variant are trained in this study.

        Raises:
            ConfigError: no such variant, or an override that names no field of a recipe.
        """
        from lens.training.recipe import recipe  # imports torch, which a study is read without

        overrides = {"expansion": self.dictionary.expansion, **self.training.overrides}
        return recipe(variant, self.recipes, self.training.steps, overrides)

    def check_recipes(self) -> None:
        """Make the recipe of every variant and ablation: what is wrong is better said before the work than after it.

        Raises:
            ConfigError: see `train_recipe`.
        """
        for variant in (*self.variants, *self.ablations.variants):
            self.train_recipe(variant)

    def seeds_at(self, layer: Layer) -> tuple[int, ...]:
        """Seeds of the dictionaries of a layer."""
        return self.seeds if layer in self.main or not self.control_seeds else self.control_seeds

    def runs_at(self, layer: Layer) -> list[tuple[str, int]]:
        """Variant and seed of every dictionary that is trained at a layer, those of the ablations too."""
        runs = [(variant, seed) for variant in self.variants for seed in self.seeds_at(layer)]
        if layer in self.ablations.layers:
            runs += [(variant, seed) for variant in self.ablations.variants for seed in self.ablation_seeds]
        return runs

    @property
    def repro(self) -> str:
        """The command that makes what is missing or out of date of the study."""
        folder, root = self.params_file.resolve().parent, checkout.root()
        return "dvc repro" if folder == root else f"dvc repro {os.path.relpath(folder / 'dvc.yaml', root)}"

    @property
    def ablation_seeds(self) -> tuple[int, ...]:
        """Seeds of the ablations; a subset of `seeds`, so that every ablation has its pair."""
        return self.ablations.seeds or self.seeds

    @property
    def pool(self) -> Path:
        """Finished and unfinished work keyed by a digest of all that decides it; shared by studies, safe to delete."""
        return checkout.root() / "artifacts" / "pool"

    @classmethod
    def load(cls, study: str | Path = "params.yaml", out: str | Path | None = None) -> Study:
        """Read a study by its name (`quick`, `full`, ...) or by its parameter file.

        Args:
            out: folder for everything that is written, e.g. `scratch/try`; None, or the study's own results folder,
                stands for `results/<name>` and `artifacts/<name>`.

        Raises:
            ConfigError: no such study; a key that is unknown, missing, mistyped or out of range; or an `out` that is a
                file, or holds files of the project.
        """
        path = _params_path(study)
        raw = files.read_yaml(path, "correct it (params.yaml of the checkout shows every key)")
        name, said = raw.pop("study", None), raw.pop("params_file", None)
        raw.pop("root", None)  # for DVC, which resolves its own working folder
        raw |= {"name": name, "params_file": path}
        loaded = build(cls, raw, path.name, {"name": "study"})
        _check_name(loaded.name, path, said)
        named = recipe_file.read(checkout.root() / loaded.recipe_file) if loaded.recipe_file else {}
        loaded = dataclasses.replace(loaded, recipes=named | loaded.recipes | loaded.ablations.recipes)
        _check(loaded, path.name)
        if out is None or (folder := (checkout.root() / out).resolve()) == loaded.results.resolve():
            return loaded
        _check_out(folder)
        return dataclasses.replace(loaded, out=folder)


def _params_path(study: str | Path) -> Path:
    of_study = {p.parent.name: p for p in sorted((checkout.root() / "studies").glob("*/params.yaml"))}
    of_study = {"quick": checkout.root() / "params.yaml"} | of_study
    given = Path(study)
    for path in (given, checkout.root() / given, of_study.get(str(study), given)):  # a name is no path: not `..`
        if path.is_file():
            return path
    close = suggest(str(study), [*of_study])
    raise ConfigError(f"no study or parameter file {str(study)!r}{close}; studies: {', '.join(of_study)}")


def _check_name(name: str, path: Path, said: object) -> None:
    """Raise where the results of the file would be kept as those of another file, or outside `results/`."""
    folder_name(name, f"{path.name}: study")
    if name.lower() in TAKEN:
        raise ConfigError(f"{path}: study: {name} is the name of a folder of the project: give this one another")
    root, itself = checkout.root(), path.resolve()
    here = itself.relative_to(root).as_posix() if itself.is_relative_to(root) else str(itself)
    if said is not None and (root / str(said)).resolve() != itself:
        raise ConfigError(
            f"{path}: it says params_file: {said}, so its stages would run with that file: write params_file: {here}, "
            f"root: {os.path.relpath(root, itself.parent)}, and a `study:` of its own"
        )
    owner = _owner(name)
    if owner is not None and owner.is_file() and owner.resolve() != itself:
        raise ConfigError(f"{path}: study: {name} is the study of {owner}: give this one a name of its own")


def _check_out(folder: Path) -> None:
    root = checkout.root()
    inside = folder.is_relative_to(root) and not folder.is_relative_to(root / "scratch")
    if inside or root.is_relative_to(folder):
        raise ConfigError(
            f"out: {folder} holds files of the project, which a trial would replace: name a folder under scratch/, or "
            "one outside the project"
        )
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"out: {folder} is a file: name a folder")


def check_layer(layer: Layer, where: str) -> None:
    """Raise ConfigError if this names no layer of any model."""
    if layer != EMBEDDING and (isinstance(layer, str) or layer < 0):
        raise ConfigError(f"{where}: layer {layer!r} is neither a block index from 0 nor {EMBEDDING!r}")


def _owner(name: str) -> Path | None:
    """The parameter file of a study: of one that comes with the checkout, or the one its results were made with."""
    root = checkout.root()
    known = root / ("params.yaml" if name == "quick" else f"studies/{name}/params.yaml")
    if known.is_file():
        return known
    records = sorted((root / "results" / name / "runs").glob("*.json"))
    return root / read_record(records[0])["parameters"]["study"] if records else None


def _check(study: Study, where: str) -> None:
    w = study.windows
    for name, value, least in (
        ("windows.length", w.length, 2),
        ("windows.train", w.train, 1),
        ("windows.test", w.test, 1),
        ("windows.fidelity", w.fidelity, 0),
        ("windows.contrast", w.contrast, 1),
        ("dictionary.expansion", study.dictionary.expansion, 1),
        ("training.steps", study.training.steps, 1),
        ("training.log_every", study.training.log_every, 1),
        ("seeds (count)", len(study.seeds), 1),
        ("layers (count)", len(study.layers), 1),
        ("variants (count)", len(study.variants), 1),
    ):
        if value < least:
            raise ConfigError(f"{where}: {name} must be at least {least}, found {value}")
    seed_of(w.seed, f"{where}: windows.seed")
    for name, seeds in (
        ("seeds", study.seeds),
        ("ablations.seeds", study.ablations.seeds),
        ("calibration.seeds", study.calibration.seeds),
    ):
        if len({seed_of(seed, f"{where}: {name}") for seed in seeds}) < len(seeds):
            raise ConfigError(f"{where}: {name} lists a value twice: {list(seeds)}")
    if w.draw == "once" and (named := [n for n in dataclasses.astuple(study.corpus) if SEED in n]):
        raise ConfigError(f"{where}: {SEED} in corpus {named[0]} stands for the seed: write windows.draw: per_seed")
    if w.fidelity > w.test:
        raise ConfigError(f"{where}: windows.fidelity ({w.fidelity}) is more than windows.test ({w.test})")
    if low := [part.l0 for part in study.equal_l0 if part.l0 < 1]:
        raise ConfigError(f"{where}: equal_l0: l0 must be at least 1, found {low[0]:g}")
    for planted in (part.planted for part in study.equal_l0):
        if not (0 <= planted.share < 1 and 0 <= planted.depth <= 1):
            raise ConfigError(f"{where}: equal_l0: planted: share and depth lie between 0 and 1, found {planted}")
    for layer in (*study.layers, *study.ablations.layers):
        check_layer(layer, where)
    for variant in study.recipes:
        folder_name(variant, f"{where}: recipe")
    for name, part, whole in (
        ("ablations.layers", study.ablations.layers, study.layers),
        ("main_layers", study.main_layers, study.layers),
        ("ablations.seeds", study.ablations.seeds, study.seeds),
        ("control_seeds", study.control_seeds, study.seeds),
        *(("equal_l0: layers", part.layers, study.layers) for part in study.equal_l0),
        *(("equal_l0: variants", part.variants, study.variants) for part in study.equal_l0),
    ):
        if missing := [x for x in part if x not in whole]:
            raise ConfigError(f"{where}: {name} {missing} are not among {list(whole)}")
    for variant in (*study.variants, *study.ablations.variants):
        if variant in OTHERS:
            raise ConfigError(
                f"{where}: {variant!r} is what tables call something else than a trained variant; give this one a name "
                f"that is none of {', '.join(sorted(OTHERS))}"
            )
        if variant not in study.recipes:
            raise ConfigError(
                f"{where}: no recipe for the variant {variant!r}{suggest(variant, study.recipes)}: write it under "
                f"`recipes:` or in a recipe_file; there are {', '.join(study.recipes) or 'none'}"
            )
    for role, variant in dataclasses.asdict(study.roles).items():
        if variant is not None and variant not in study.variants:
            raise ConfigError(
                f"{where}: roles.{role} names {variant!r}{suggest(variant, study.variants)}; the study's variants are "
                f"{', '.join(study.variants)}"
            )
    for name in ("layers", "variants"):
        values = getattr(study, name)
        if len({str(value).lower() for value in values}) < len(values):  # names of folders, which some disks compare so
            raise ConfigError(f"{where}: {name} lists a value twice, whatever its case: {list(values)}")
