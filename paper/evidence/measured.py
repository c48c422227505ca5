"""What claims are judged by: a study's tables as arrays, complete or not at all."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd

from lens import checkout, files
from lens.activations.layers import EMBEDDING
from lens.errors import suggest
from lens.study import tables
from lens.study.params import Study

TABLES = ("positions", "summary", "blocks", "history")
OPTIONAL = ("probing", "decoding", "tests")  # of stages that an older or a partial run may lack
READ = ("layer", "seed", "position", "step", "block", "bucket", "value", "n")  # columns of these tables
METHOD, BASELINE, NULL = "temporallens", "standard", "shuffled_positions"
ROLES = {METHOD: "method", BASELINE: "baseline", NULL: "null"}
"""The paper's words for the roles of a study's variants; tables are read in these, whatever a study calls them."""
INPUT = "activations"
INPUT_SEED = -1
POSITION_ADDED = {"all-minilm-l6-v2"}
"""Models that add a learned vector of each position to the token's before the first block."""


class Missing(LookupError):
    """The study does not hold what a claim needs; the message says what."""


class Read(NamedTuple):
    """Rows that a claim was judged by; a variant or metric of none stands for all."""

    table: str
    variant: str | None
    metric: str | None
    layers: tuple[str, ...]


@dataclass(frozen=True)
class Measured:
    """A study's tables, and the layers, seeds and window length they have to cover.

    Attributes:
        reads: what was read so far, from here and from every view of the same study (`at`, `ablated`, ...).
        arrays: what was read of these tables and is asked for again and again.
        places: of each table that was read, the columns that are read, and where the rows of a variant and metric are.
    """

    layers: tuple[str, ...]
    seeds: tuple[int, ...]
    length: int
    tables: dict[str, pd.DataFrame]
    study: Study
    reads: list[Read] = field(default_factory=list, compare=False)
    arrays: dict[tuple, np.ndarray] = field(default_factory=dict, compare=False, init=False)
    places: dict[str, tuple[pd.DataFrame, dict]] = field(default_factory=dict, compare=False, init=False)

    @classmethod
    def load(cls, study: Study) -> Measured:
        """The tables of a study, at the layers that claims are judged on.

        The embedding layer is a control: it enters no claim where there are blocks.

        Raises:
            ConfigError: see `lens.study.tables.read`; only tables of `OPTIONAL` may be missing.
        """
        there = [name for name in OPTIONAL if tables.holds(study, name)]
        words = {getattr(study.roles, role): word for word, role in ROLES.items()}
        others = {word: f"{word}, without a role" for word in ROLES if word not in words}
        found = {name: tables.read(study, name).replace({"variant": others | words}) for name in (*TABLES, *there)}
        return cls(tuple(map(str, study.main)), study.seeds, study.windows.length, found, study)

    @property
    def position_is_input(self) -> bool:
        """Whether the embedding layer holds absolute positions, and so is no control without them."""
        return self.study.model in POSITION_ADDED

    def over_depth(self) -> Measured:
        """The same study at every block that it holds, with the seeds that all of these have."""
        layers = [layer for layer in self.study.layers if layer != EMBEDDING]
        return self._elsewhere(layers, self.study.control_seeds or self.study.seeds)

    def embedding(self) -> Measured:
        """The same study at the embedding layer, the exact negative control: position is there only as content.

        Raises:
            Missing: the study has no embedding layer.
        """
        if EMBEDDING not in self.study.layers:
            raise Missing("the study has no embedding layer")
        return self._elsewhere([EMBEDDING], self.study.seeds_at(EMBEDDING))

    def ablated(self) -> Measured:
        """The same study at the layers and with the seeds of its ablations.

        Raises:
            Missing: the study has no ablations.
        """
        if not self.study.ablations.layers:
            raise Missing("the study has no ablations")
        return self._elsewhere(self.study.ablations.layers, self.study.ablation_seeds)

    def at(self, *layers: str) -> Measured:
        """The same study at some of its layers."""
        return self._elsewhere(layers, self.seeds)

    def _elsewhere(self, layers: Iterable, seeds: tuple[int, ...]) -> Measured:
        view = dataclasses.replace(self, layers=tuple(map(str, layers)), seeds=seeds)
        for name in ("arrays", "places"):  # the tables are the same, so what was read of them is too
            object.__setattr__(view, name, getattr(self, name))
        return view

    def table(self, name: str) -> pd.DataFrame:
        """A table of the study, at its layers.

        Raises:
            Missing: there is none of that name, or it holds nothing of these layers.
        """
        if name not in self.tables:
            raise Missing(f"the study has no table {name!r}")
        self.reads.append(Read(name, None, None, self.layers))
        table = self.tables[name]
        table = table[table["layer"].isin(self.layers)]
        if table.empty:
            raise Missing(f"table {name!r} holds nothing of layers {', '.join(self.layers)}")
        return table

    @property
    def early(self) -> range:
        """Text positions 1..T/4."""
        return range(1, self.length // 4 + 1)

    @property
    def late(self) -> range:
        """Text positions T/4+1..T-1."""
        return range(self.length // 4 + 1, self.length)

    @property
    def text(self) -> range:
        """Text positions 1..T-1: all but BOS."""
        return range(1, self.length)

    def curve(self, variant: str, metric: str, positions: range) -> np.ndarray:
        """Values of a metric at `positions`, `[L, S, len(positions)]`; one seed for the activations."""
        return self._array("positions", variant, metric, {"position": list(positions)})

    def value(self, variant: str, metric: str) -> np.ndarray:
        """Values of a summary metric over text positions, `[L, S]`."""
        return self._array("summary", variant, metric, {})

    def has(self, variant: str, metric: str) -> bool:
        """Whether `value` would find it."""
        try:
            self.value(variant, metric)
        except Missing:
            return False
        return True

    def invariant(self, metric: str) -> dict[str, np.ndarray]:
        """Values of a property recorded in training, by variant, over all its runs (ablations as well)."""
        summary = self.tables["summary"]
        rows = summary[summary["metric"] == metric]
        self.reads.append(Read("summary", None, metric, tuple(rows["layer"].unique())))
        if METHOD not in set(rows["variant"]):
            raise Missing(f"no {metric!r} of variant {METHOD!r}")
        return {str(variant): group.to_numpy(float) for variant, group in rows.groupby("variant")["value"]}

    def block_sums(self, variant: str, metric: str, positions: range) -> tuple[np.ndarray, np.ndarray]:
        """(sums of a metric, numbers of tokens) over `positions` in each document, each `[L, S, B]`.

        Raises:
            Missing: nothing there, or the position buckets do not add up to `positions`.
        """
        blocks = self.tables["blocks"]
        buckets = sorted((b for b in blocks["bucket"].unique() if _bounds(b)[0] in positions), key=_bounds)
        covered = [t for bucket in buckets for t in range(_bounds(bucket)[0], _bounds(bucket)[1] + 1)]
        if covered != list(positions):
            raise Missing(f"the position buckets do not add up to {_words(positions)}")
        axes = {"block": sorted(blocks["block"].unique(), key=str), "bucket": buckets}
        sums, counts = (self._array("blocks", variant, metric, axes, column).sum(axis=-1) for column in ("value", "n"))
        return sums, counts

    def late_history(self, variant: str, metric: str) -> np.ndarray:
        """Values of a metric at the logged steps of the second half of training, `[L, S, steps]`."""
        history = self.tables["history"]
        steps = np.sort(history.loc[history["variant"] == variant, "step"].unique())
        late = steps[steps >= steps[-1] / 2] if len(steps) else steps
        return self._array("history", variant, metric, {"step": list(late)})

    def _array(self, name: str, variant: str, metric: str, axes: dict[str, list], column: str = "value") -> np.ndarray:
        """`column` of a variant and metric of a table as an array `[L, S, *axes]`, complete or not at all."""
        self.reads.append(Read(name, variant, metric, self.layers))
        asked = (name, variant, metric, self.layers, self.seeds, repr(axes), column)
        if asked not in self.arrays:
            self.arrays[asked] = self._read(name, variant, metric, axes, column)
        return self.arrays[asked].copy()

    def _read(self, name: str, variant: str, metric: str, axes: dict[str, list], column: str) -> np.ndarray:
        rows = self._rows(name, variant, metric)
        if rows.empty:
            raise Missing(self._without(variant, metric))
        keys = {
            "layer": list(self.layers),
            "seed": [INPUT_SEED] if variant == INPUT else list(self.seeds),
            **axes,
        }
        return complete(rows, keys, f"{metric!r} of variant {variant!r}", column)

    def _rows(self, name: str, variant: str, metric: str) -> pd.DataFrame:
        """Rows of a variant and metric: a table is searched for all of them at once, for claims ask for hundreds."""
        if name not in self.places:
            table = self.tables[name]
            if name == "summary":
                table = table[table["positions"] == "text"]
            places = table.groupby(["variant", "metric"]).indices
            read = table[[column for column in READ if column in table]]
            words = [column for column in read if not pd.api.types.is_numeric_dtype(read[column])]
            self.places[name] = read.astype(dict.fromkeys(words, "category")), places
        read, places = self.places[name]
        return read.iloc[places.get((variant, metric), [])]

    def _without(self, variant: str, metric: str) -> str:
        """Why there is nothing of a variant."""
        if variant in ROLES and getattr(self.study.roles, ROLES[variant]) is None:
            return f"no variant is the study's {ROLES[variant]}: name one under `roles` among its parameters"
        known = (*self.study.variants, *self.study.ablations.variants)
        if variant in ROLES or variant in tables.OTHERS or variant in known:
            return f"no {metric!r} of variant {variant!r}"
        return (
            f"{variant!r} is not among the variants and ablations of study {self.study.name!r}{suggest(variant, known)}"
        )

    def benchmark(self, name: str, made: str) -> dict:
        """What a benchmark recorded in `results/benchmarks/<name>.json`.

        Raises:
            Missing: it was not run; the message says how it is `made`.
        """
        self.reads.append(Read(f"benchmarks/{name}.json", None, None, ()))
        path = checkout.root() / "results" / "benchmarks" / f"{name}.json"
        if not path.is_file():
            raise Missing(f"results/benchmarks/{name}.json is not there: run `{made}`")
        return files.read_json(path, f"`git checkout` brings it back, or run `{made}`")


def complete(rows: pd.DataFrame, keys: dict[str, list], what: str, column: str = "value") -> np.ndarray:
    """`column` as an array with one axis per key, complete or not at all.

    Args:
        keys: column -> its values, in order; rows with other values are left out.
        what: names the rows in messages.

    Raises:
        Missing: a combination of the keys is not there, or has no value.
        ValueError: one is there twice.
    """
    places = [_index(tuple(values)).get_indexer(rows[key]) for key, values in keys.items()]
    asked = np.logical_and.reduce([place >= 0 for place in places])
    shape = [len(values) for values in keys.values()]
    flat = np.asarray(np.ravel_multi_index([place[asked] for place in places], shape))
    found = np.full(shape, np.nan)
    found.flat[flat] = rows[column].to_numpy(float)[asked]
    if len(flat) > len(np.unique(flat)):
        twice = _at(keys, map(int, np.unravel_index(np.bincount(flat).argmax(), shape)))
        raise ValueError(f"{what} is there twice at {tuple(keys)} = {tuple(twice.values())}")
    if (gaps := np.argwhere(np.isnan(found))).size:
        raise Missing(f"no {what} at {', '.join(f'{k} {v}' for k, v in _at(keys, gaps[0]).items())}")
    return found


_index = functools.cache(pd.Index)


def _at(keys: dict[str, list], place: Iterable[int]) -> dict[str, object]:
    return {key: values[i] for (key, values), i in zip(keys.items(), place, strict=True)}


def _bounds(bucket: str) -> tuple[int, int]:
    first, _, last = str(bucket).partition("-")
    return int(first), int(last or first)


def _words(positions: range) -> str:
    return f"positions {positions[0]}-{positions[-1]}"
