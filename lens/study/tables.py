"""Tables of results: tidy, sorted, in one Parquet file per stage and layer, read for exactly what the study asks."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lens.activations.layers import EMBEDDING, Layer
from lens.errors import ConfigError
from lens.study import table_files
from lens.study.params import Study

LABELS = ["study", "model", "layer"]
KEYS = [
    "variant", "seed", "task", "k", "source", "first", "comparison", "replaced", "block", "bucket", "step", "position",
    "positions", "feature", "metric",
]  # fmt: skip
OTHERS = {"activations", "untrained", "language_model", "zero_dictionary", "random_dictionary"}
"""What stands in the column `variant` besides the trained ones: the input itself (seed -1) and controls."""
DETAILED = {"history", "masks", "position_weights", "profiles"}
"""Large tables, of which the file holds what a figure or a claim reads: at the layers that claims are judged on and at
the embedding, of `history` the metrics of `COURSES`, of `position_weights` the method."""
COURSES = ("loss", "tau", "l0", "mask_drift", "zero_fraction")
EXACT = {"training": {"positions", "position_weights"}, "ablations": {"positions"}}
"""Tables by kind whose numbers keep all their digits, all others six: claims about the weights take small differences
of these, of which six digits leave too few."""


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
    if name not in DETAILED:
        return table
    if str(layer) not in map(str, (*study.main, EMBEDDING)):
        return None
    if name == "history":
        return table[table["metric"].isin(COURSES)]
    if name == "position_weights" and study.roles.method:
        return table[table["variant"] == study.roles.method]
    return table


def holds(study: Study, name: str) -> list[Path]:
    """The files that hold table `name` of a study, one for each layer and kind that has it."""
    return [file for file in _files(study) if name in table_files.names(file)]


def read(study: Study | str, name: str) -> pd.DataFrame:
    """All rows of table `name` of a study (or of the study of that name), over its layers and kinds.

    Raises:
        ConfigError: the table is missing, or results hold a layer, variant or seed that the study does not have;
            nothing is silently left out or mixed in.
    """
    study = Study.load(study) if isinstance(study, str) else study
    root = study.results / "tables"
    parts = [table for file in _files(study) if (table := table_files.read(file, name)) is not None]
    if not parts:
        raise ConfigError(f"no table {name!r} under {root}; run the pipeline of study {study.name!r} first")
    table = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    variants = {*study.variants, *study.ablations.variants, *OTHERS}
    seeds = {*study.seeds, -1}
    for column, known in (("variant", variants), ("seed", seeds), ("study", {study.name}), ("model", {study.model})):
        if strays := sorted(set(table[column].unique().tolist()) - known, key=str):
            raise ConfigError(
                f"table {name!r} of study {study.name!r} holds {column} {strays}, which its parameters do not; "
                f"run the pipeline again, or delete the strays under {root}"
            )
    return table


def _files(study: Study) -> list[Path]:
    root = study.results / "tables"
    found = sorted(root.glob("*/layer_*.parquet"))
    wanted = {f"layer_{layer}" for layer in study.layers}
    if strays := [str(f.relative_to(root)) for f in found if f.stem not in wanted]:
        raise ConfigError(
            f"{root} holds {', '.join(strays)}, not among the study's layers {list(study.layers)}; "
            "delete these files, or add the layers to the study"
        )
    return found
