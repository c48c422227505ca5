"""The campaign: every kind of file that a study writes, what happens to it, and what its readers make of that."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import subprocess
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from tests.faults import corruptions as c
from tests.faults import project as p
from tests.faults.corruptions import Corruption

BINARY = (
    c.flipped_bit, c.flipped_bit_at_the_start, c.flipped_bit_at_the_end, c.truncated, c.emptied, c.zeros, c.deleted,
    c.text_instead, c.sibling_instead, c.folder_instead, c.dangling_link, c.unreadable,
)  # fmt: skip
TEXT = (
    c.flipped_bit, c.truncated, c.emptied, c.deleted, c.changed_digit, c.text_instead, c.bytes_that_are_no_text,
    c.sibling_instead, c.folder_instead, c.unreadable,
)  # fmt: skip
JSON = (*TEXT, c.json_of_another_kind, c.nested_deeply)
TABLE = (*TEXT, c.cut_after_a_line)
ALONE = tuple(fault for fault in BINARY if fault is not c.sibling_instead)
FEW = (c.flipped_bit, c.truncated, c.zeros)
FOLDER = (c.folder_deleted, c.folder_emptied, c.folder_of_a_sibling)

HEALED, HARMLESS, NAMED = "healed", "harmless", "named"
NO_NAME, NO_REMEDY, NO_HELP, SILENT = "traceback", "no remedy", "advice fails", "silent"
GOOD, BAD = (HEALED, HARMLESS, NAMED), (NO_NAME, NO_REMEDY, NO_HELP, SILENT)
REMEDY = re.compile(
    r"\b(run|delete|remove|extract|train|fit|get|make|write|give|correct|is missing|brings back|the record|studies:)"
)
POOL, OWN, TABLES = "artifacts/pool", "artifacts/mini", "results/mini/tables"
TRAINING, MEASURES = f"{TABLES}/training", f"{TABLES}/measures"
STORE, DICTIONARIES = f"{OWN}/activations", f"{OWN}/dictionaries"
RAW, TOKENS = f"{POOL}/activations-*/layer_*", f"{POOL}/activations-*/tokens"
SHOWN = f"{DICTIONARIES}/layer_1/temporallens-seed0"
STEP, MODEL = f"{POOL}/train-*/step-*", "models/tiny"
HALF_READ, HALF_TRAINED = "unfinished extraction", "unfinished training"


@dataclass(frozen=True)
class Kind:
    """One kind of file, read in one way."""

    name: str
    pattern: str
    """of the files, below the project; one is drawn"""
    read: Callable[[], object]
    faults: tuple[Corruption, ...]
    state: str = "finished"
    """of the project: a key of `STATES`"""
    without: tuple[str, ...] = ()
    """what is deleted before, so that the file is read at all"""
    again: tuple[Callable[[], object], ...] = ()
    """what is run after the advice of a message was followed"""
    called: tuple[str, ...] = ()
    """other names under which a user knows the file"""


NO_STORE = {"without": (STORE,), "again": (p.extract,)}
NO_RUNS = {"without": (DICTIONARIES, f"{TABLES}/training")}
NO_POOL = {"without": (DICTIONARIES, f"{POOL}/trained-*"), "again": (p.extract,)}
READ_AGAIN, TRAINED_AGAIN, JUDGED_AGAIN = {"again": (p.extract,)}, {"again": (p.train_all,)}, {"again": (p.claims,)}
PARQUET = {"called": (TABLES,)}
PARQUET_AGAIN = PARQUET | TRAINED_AGAIN
PARTS = {"state": HALF_READ, "again": (p.extract,)}
PREPARED = {"state": "prepared", "again": (p.prepared,)}
LESS = (c.truncated, c.emptied, c.deleted, c.text_instead, c.bytes_that_are_no_text, c.json_of_another_kind)
SETTINGS = (*LESS, c.nested_deeply, c.folder_instead, c.unreadable)

KINDS = (
    Kind("activations in the pool", f"{RAW}/*.safetensors", p.extracted, BINARY + FOLDER, **NO_STORE),
    Kind("tokens in the pool", f"{TOKENS}/*.safetensors", p.extracted, (*BINARY, c.folder_emptied), **NO_STORE),
    Kind("manifest in the pool", f"{POOL}/activations-*/*/manifest.json", p.extracted, JSON, **NO_STORE),
    Kind("activations of a study", f"{STORE}/layer_*/*.safetensors", p.opened, BINARY + FOLDER, **READ_AGAIN),
    Kind("activations, training", f"{STORE}/layer_*/train.safetensors", p.trained, (*FEW, FOLDER[2]), **NO_POOL),
    Kind("tokens of a study", f"{STORE}/tokens/*.safetensors", p.opened, (*BINARY, c.folder_deleted), **READ_AGAIN),
    Kind("manifest of a study", f"{STORE}/*/manifest.json", p.opened, JSON, **READ_AGAIN),
    Kind("unfinished activations", f"{POOL}/activations-*/**/*.safetensors", p.extracted, BINARY + FOLDER[:2], **PARTS),
    Kind("progress of an extraction", f"{POOL}/activations-*/**/*.progress.json", p.extracted, JSON, **PARTS),
    Kind("checkpoint", f"{STEP}/*.safetensors", p.trained, BINARY, state=HALF_TRAINED),
    Kind("runs.json of a checkpoint", f"{STEP}/runs.json", p.trained, JSON + FOLDER[:2], state=HALF_TRAINED),
    Kind("weights in the pool", f"{POOL}/trained-*/*/sae.safetensors", p.trained, BINARY + FOLDER[:2], **NO_RUNS),
    Kind("cfg.json in the pool", f"{POOL}/trained-*/*/cfg.json", p.trained, JSON, **NO_RUNS),
    Kind("tables in the pool", f"{POOL}/trained-*/*.csv", p.trained, TABLE, **NO_RUNS),
    Kind("weights of a study", f"{DICTIONARIES}/*/*/sae.safetensors", p.loaded, BINARY + FOLDER, **TRAINED_AGAIN),
    Kind("cfg.json of a study", f"{DICTIONARIES}/*/*/cfg.json", p.loaded, JSON, **TRAINED_AGAIN),
    Kind("cfg.json, lens profile", f"{SHOWN}/cfg.json", p.profiled, (c.emptied, c.changed_digit, c.nested_deeply)),
    Kind("weights, lens profile", f"{SHOWN}/sae.safetensors", p.profiled, FEW),
    Kind("weights, explorer", f"{SHOWN}/sae.safetensors", p.explored, (c.flipped_bit, c.deleted)),
    Kind("tables of training, figures", f"{TRAINING}/*.parquet", p.drawn_again, BINARY, **PARQUET_AGAIN),
    Kind("tables of training, claims", f"{TRAINING}/*.parquet", p.judged, (*FEW, c.deleted), **PARQUET_AGAIN),
    Kind(
        "tables of measures, claims", f"{MEASURES}/*.parquet", p.judged, (*FEW, c.deleted, c.sibling_instead), **PARQUET
    ),
    Kind("tables of measures, figures", f"{MEASURES}/*.parquet", p.drawn_again, (*BINARY, FOLDER[0]), **PARQUET),
    Kind("claims.json, trace", "results/mini/claims.json", p.traced, (*LESS[:4], c.changed_digit), **JUDGED_AGAIN),
    Kind("claims.json, overview", "results/mini/claims.json", p.told, (*LESS, c.changed_digit), **JUDGED_AGAIN),
    Kind("run record, times", "results/mini/runs/01_extract.json", p.timed, (*LESS[:2], *LESS[3:], c.changed_digit)),
    Kind("run records, verify", "results/mini/runs/*.json", p.verified, (*FEW, c.changed_digit)),
    Kind("claims.json, verify", "results/mini/claims.json", p.verified, (c.changed_digit, c.truncated)),
    Kind("executed notebooks, verify", "results/mini/notebooks/*.ipynb", p.verified, (*FEW, c.sibling_instead)),
    Kind("figures, verify", "results/mini/figures/*", p.verified, (c.flipped_bit, c.emptied, c.deleted)),
    Kind("explorer, verify", "results/mini/explorer.html", p.verified, (c.flipped_bit, c.cut_after_a_line)),
    Kind("tables, verify", f"{TABLES}/*/*.parquet", p.verified, (c.flipped_bit, c.sibling_instead)),
    Kind("parameters", "studies/mini/params.yaml", p.read_params, SETTINGS[1:], called=("'mini'", "parameter")),
    Kind("record of a fit", "fitted/dictionaries/*/fit.json", p.fit, (*LESS, c.nested_deeply)),
    Kind("prepared model", f"{MODEL}/*.safetensors", p.prepared, (*ALONE, c.folder_emptied), **PREPARED),
    Kind("source.json of a prepared model", f"{MODEL}/source.json", p.prepared, SETTINGS, **PREPARED),
    Kind("tokenizer of a prepared model", f"{MODEL}/tokenizer.json", p.prepared, (*FEW, c.changed_digit), **PREPARED),
    Kind("benchmark", "results/benchmarks/cost.json", p.judged, LESS[:2]),
)
STATES: dict[str, tuple[Callable[[], object], ...]] = {
    "nothing": (),
    "extracted": (p.extract,),
    "prepared": (p.prepared,),
    "trained": (p.extract, p.train_all),
    "unfinished extraction": (p.unfinished_extraction,),
    "unfinished training": (p.extract, p.unfinished_training),
    "finished": (
        p.extract, p.train_all, p.analyse, p.claims, p.pages, p.fit, p.record,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    kind: Kind
    fault: Corruption
    seed: int = 0

    @property
    def id(self) -> str:
        return f"{self.kind.name}: {self.fault.__name__.replace('_', ' ')}" + (f" {self.seed}" if self.seed else "")


CASES = [Case(kind, fault) for kind in KINDS for fault in kind.faults]
CASES += [Case(kind, c.changed_digit, seed) for kind in KINDS if c.changed_digit in kind.faults for seed in (1, 2)]


def sample() -> list[Case]:
    """One fault, chosen by the name, of each kind of file that is read without training or measuring anything."""
    made_by = {"finished": "trained"}
    return [
        Case(replace(kind, state=made_by.get(kind.state, kind.state)), random.Random(kind.name).choice(kind.faults))
        for kind in KINDS
        if kind.read in (p.extracted, p.opened, p.loaded, p.prepared)
    ]


@dataclass(frozen=True)
class Outcome:
    word: str
    said: str = ""


@dataclass(eq=False)
class Projects:
    """The project in each of its states, made when first asked for, and copied for every fault."""

    folder: Path
    answers: dict = field(default_factory=dict)

    @cache  # noqa: B019
    def made(self, state: str) -> Path:
        root = self.folder / state.replace(" ", "-")
        p.make(root)
        with p.inside(root):
            for stage in STATES[state]:
                stage()
        return root

    @contextlib.contextmanager
    def copy(self, state: str) -> Iterator[Path]:
        """A copy in which files that were linked to one another still are."""
        root = self.folder / "copy"
        shutil.rmtree(root, ignore_errors=True)
        subprocess.run(["cp", "-a", self.made(state), root], check=True)
        with p.inside(root):
            yield root
        shutil.rmtree(root)

    @staticmethod
    def remove(root: Path, patterns: tuple[str, ...]) -> None:
        for path in [path for pattern in patterns for path in root.glob(pattern)]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def answer(self, kind: Kind) -> object:
        """What is read where nothing happened."""
        key = kind.read, kind.state
        if key not in self.answers:
            with self.copy(kind.state):
                self.answers[key] = kind.read()
        return self.answers[key]

    def outcome(self, case: Case) -> Outcome:
        kind, right = case.kind, self.answer(case.kind)
        with self.copy(kind.state) as root:
            self.remove(root, kind.without)
            rng = random.Random(zlib.crc32(case.id.encode()))
            path = rng.choice(sorted(path for path in root.glob(kind.pattern) if path.is_file()))
            case.fault(path, rng)
            damaged = path.read_bytes() if path.is_file() and case.fault is not c.unreadable else b""
            try:
                with as_somebody_else(root) if case.fault is c.unreadable else contextlib.nullcontext():
                    found = kind.read()
            except Exception as error:
                if case.fault is c.unreadable:
                    path.chmod(0o644)
                return self._judged(kind, error, path, root, right)
            if not p.same(found, right):
                return Outcome(SILENT, f"{path.relative_to(root)} was accepted, and gave something else")
            kept = path.is_file() and path.read_bytes() == damaged
            return Outcome(HARMLESS if kept else HEALED)

    def _judged(self, kind: Kind, error: Exception, path: Path, root: Path, right: object) -> Outcome:
        said = f"{type(error).__name__}: {error}"
        module = type(error).__module__
        ours = module.split(".")[0] in ("lens", "paper") or isinstance(error, p.Refused | PermissionError)
        relative = path.relative_to(root)
        names = {path.name, str(relative), str(relative.parent), f"{path.parent.name}/{path.name}", *kind.called}
        if not ours or not any(name in str(error) for name in names):
            return Outcome(NO_NAME, said)
        if isinstance(error, PermissionError):
            return Outcome(NAMED, said)
        if not REMEDY.search(str(error)):
            return Outcome(NO_REMEDY, said)
        if path.is_dir():
            path.rmdir()  # what was put in the place of a file
        if kind.again:
            try:
                follow(str(error), root)
                for stage in kind.again:
                    stage()
                helped = p.same(kind.read(), right)
            except Exception as later:
                return Outcome(NO_HELP, f"{said}\nand after that: {type(later).__name__}: {later}")
            if not helped:
                return Outcome(NO_HELP, said)
        return Outcome(NAMED, said)


def follow(message: str, root: Path) -> None:
    """Delete what a message says should be deleted."""
    for name in re.findall(r"(?:[Dd]elete|[Rr]emove|rm -r) (?:the folder )?`?([^\s;,`]+)", message):
        path = root / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def as_somebody_else(root: Path) -> Iterator[None]:
    """Without the right of the superuser to read everything."""
    if not c.privileged():
        yield
        return
    subprocess.run(["chown", "-R", "65534", root], check=True)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
