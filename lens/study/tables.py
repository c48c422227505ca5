"""Tables of results: tidy, sorted, in one Parquet file per stage and layer, read for exactly what the study asks."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lens.activations.layers import EMBEDDING, Layer
from lens.errors import ConfigError
from lens.study import table_files
from lens.study.params import OTHERS, Study

LABELS = ["study", "model", "layer"]
KEYS = [
    "variant", "seed", "task", "k", "source", "first", "comparison", "replaced", "block", "bucket", "step", "position",
    "positions", "feature", "metric",
]  # fmt: skip
DETAILED = {"history", "masks", "position_weights", "profiles"}
"""Large tables, of which the file holds what a figure or a claim reads: at the layers that claims are judged on and at
the embedding, of `history` the metrics of `COURSES`, of `position_weights` the method."""
COURSES = ("loss", "tau", "l0", "mask_drift", "zero_fraction")
WHOLE = {"positions", "summary", "blocks", "history"}
"""Tables that hold something of every dictionary."""
EXACT = {"training": {"positions", "position_weights", "summary"}, "ablations": {"positions"}}
"""Tables by kind whose numbers keep all their digits, all others six: claims about the weights, and who compares errors
in training, take small differences of these, of which six digits leave too few."""


class NoTable(ConfigError):
    """A study has no table of that name; those that are damaged or incomplete are plain ConfigErrors."""


def save(study: Study, kind: str, layer: Layer, tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Write the tables of one layer to `results/<study>/tables/<kind>/layer_<l>.parquet`; all of their rows, by name.

    Args:
        kind: `training`, `ablations` or `measures`: which notebook the tables come from.
        tables: by name; rows carry variant, seed and the rest, the labels of study, model and layer are added here.
    """
    written = {}
    for name, table in sorted(tables.items()):
        table = table.assign(study=study.name, model=study.model, layer=str(layer))
        table = table[LABELS + [c for c in table.columns if c not in LABELS]]
        table = table.sort_values([c for c in KEYS if c in table.columns], kind="stable")
        written[name] = table_files.rounded(table, exact=name in EXACT.get(kind, ()))
    kept = {name: table for name in written if (table := _kept(study, layer, name, written[name])) is not None}
    table_files.write(study.results / "tables" / kind / f"layer_{layer}.parquet", kept, EXACT.get(kind, ()))
    return written


def _kept(study: Study, layer: Layer, name: str, table: pd.DataFrame) -> pd.DataFrame | None:
    """The rows of a table that its file holds; None where it holds none (see `DETAILED`)."""
    if not _is_kept(study, layer, name):
        return None
    if name == "history":
        return table[table["metric"].isin(COURSES)]
    if name == "position_weights" and study.roles.method:
        return table[table["variant"] == study.roles.method]
    return table


def _is_kept(study: Study, layer: Layer | str, name: str) -> bool:
    return name not in DETAILED or str(layer) in map(str, (*study.main, EMBEDDING))


def holds(study: Study, name: str) -> list[Path]:
    """The files that hold table `name` of a study: of each kind that has it, those of all layers.

    Raises:
        ConfigError: a file is missing or damaged, or lacks the table though that of another layer has it.
    """
    found = _files(study)
    held = [file for file in found if name in table_files.names(file)]
    kinds = {file.parent for file in held}
    for file in found:
        layer = file.stem.removeprefix("layer_")
        if file.parent in kinds and file not in held and _is_kept(study, layer, name):
            raise ConfigError(f"{file} has no table {name!r}, which {held[0]} has; {_heal(study)}")
    return held


def read(study: Study | str, name: str) -> pd.DataFrame:
    """All rows of table `name` of a study (or of the study of that name), over its layers and kinds.

    Raises:
        ConfigError: the table, or a layer, variant or seed of the study in it, is missing; or results hold one that the
            study does not have. Nothing is silently left out or mixed in.
    """
    study = Study.load(study) if isinstance(study, str) else study
    root = study.results / "tables"
    held = holds(study, name)
    if not held:
        raise NoTable(f"no table {name!r} under {root}; {_heal(study)}")
    parts = [table for file in held if (table := table_files.read(file, name)) is not None]
    table = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    variants = {*study.variants, *study.ablations.variants, *OTHERS}
    seeds = {*study.seeds, -1}
    for column, known in (("variant", variants), ("seed", seeds), ("study", {study.name}), ("model", {study.model})):
        if strays := sorted(set(table[column].unique().tolist()) - known, key=str):
            raise ConfigError(
                f"table {name!r} of study {study.name!r} holds {column} {strays}, which its parameters do not; "
                f"run the pipeline again, or delete the strays under {root}"
            )
    if gap := _gap(study, name, table):
        raise ConfigError(f"table {name!r} under {root} holds {gap}; {_heal(study)}")
    return table


def _gap(study: Study, name: str, table: pd.DataFrame) -> str:
    """What a table lacks of the runs that the study's parameters ask for, or of the rows that its other runs have."""
    there = set(table[["layer", "variant", "seed"]].itertuples(index=False, name=None))
    for layer in study.layers if name in WHOLE else ():
        for variant, seed in study.runs_at(layer) if _is_kept(study, layer, name) else ():
            if (str(layer), variant, seed) not in there:
                return f"nothing of {variant}, seed {seed}, at layer {layer}"
    if "metric" in table:
        group = [c for c in ("variant", "metric", "positions", "comparison", "source") if c in table]
        for what, rows in table.groupby([*group, "layer", "seed"]).size().groupby(group):
            if rows.min() < rows.max():
                *_, layer, seed = rows.idxmin()
                said = f"{rows.min()} rows of {' '.join(what[:2])}, seed {seed}, at layer {layer}"
                return f"{said}, where it holds {rows.max()} of another run"
    return ""


def _heal(study: Study) -> str:
    return f"`git checkout` brings back files that are in git, `{study.repro}` makes what is missing"


def _files(study: Study) -> list[Path]:
    """The files of the study's layers, of each kind of table that has been made those of all layers."""
    root = study.results / "tables"
    found = sorted(root.glob("*/layer_*.parquet"))
    wanted = {f"layer_{layer}" for layer in study.layers}
    if strays := [str(f.relative_to(root)) for f in found if f.stem not in wanted]:
        raise ConfigError(
            f"{root} holds {', '.join(strays)}, not among the study's layers {list(study.layers)}; "
            "delete these files, or add the layers to the study"
        )
    kinds = {"training": study.layers, "measures": study.layers, "ablations": study.ablations.layers}
    made = {file.parent.name for file in found}
    files = [root / kind / f"layer_{layer}.parquet" for kind in kinds if kind in made for layer in kinds[kind]]
    if missing := [str(file.relative_to(root)) for file in files if file not in found]:
        raise ConfigError(f"{root} lacks {', '.join(missing)}; {_heal(study)}")
    return found
