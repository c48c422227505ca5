"""Tables of results: tidy CSV files, sorted, in one float format, read back for exactly what the study asks."""

from __future__ import annotations

import pandas as pd

from lens.activations.layers import Layer
from lens.errors import ConfigError
from lens.study.params import Study

LABELS = ["study", "model", "layer"]
KEYS = [
    "variant", "seed", "task", "k", "source", "first", "comparison", "replaced", "block", "bucket", "step", "position",
    "positions", "feature", "metric",
]  # fmt: skip
OTHERS = {"activations", "untrained", "language_model", "zero_dictionary", "random_dictionary"}
"""What stands in the column `variant` besides the trained ones: the input itself (seed -1) and controls."""


def save(study: Study, kind: str, layer: Layer, tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Write tables of one layer as `results/<study>/tables/<kind>/layer_<l>/<name>.csv`; what was written, by name.

    Args:
        kind: `training`, `ablations` or `measures`: which notebook the tables come from.
        tables: by name; rows carry variant, seed and the rest, the labels of study, model and layer are added here.
    """
    folder = study.results / "tables" / kind / f"layer_{layer}"
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for name, table in tables.items():
        table = table.assign(study=study.name, model=study.model, layer=str(layer))
        table = table[LABELS + [c for c in table.columns if c not in LABELS]]
        written[name] = table.sort_values([c for c in KEYS if c in table.columns], kind="stable")
        written[name].to_csv(folder / f"{name}.csv", index=False, float_format="%.6g", lineterminator="\n")
    return written


def read(study: Study, name: str) -> pd.DataFrame:
    """All rows of table `name` of a study, over its layers and kinds.

    Raises:
        ConfigError: the table is missing, or results hold a layer, variant or seed that the study does not have;
            nothing is silently left out or mixed in.
    """
    root = study.results / "tables"
    files = sorted(root.glob(f"*/layer_*/{name}.csv"))
    wanted = {f"layer_{layer}" for layer in study.layers}
    if strays := sorted({str(f.parent.relative_to(root)) for f in files if f.parent.name not in wanted}):
        raise ConfigError(
            f"{root} holds {', '.join(strays)}, not among the study's layers {list(study.layers)}; "
            "delete these folders, or add the layers to the study"
        )
    if not files:
        raise ConfigError(f"no table {name!r} under {root}; run the pipeline of study {study.name!r} first")
    table = pd.concat([pd.read_csv(f, dtype={"layer": str}) for f in files], ignore_index=True)
    variants = {*study.variants, *study.ablations.variants, *OTHERS}
    seeds = {*study.seeds, -1}
    for column, known in (("variant", variants), ("seed", seeds), ("study", {study.name}), ("model", {study.model})):
        if strays := sorted(set(table[column]) - known, key=str):
            raise ConfigError(
                f"table {name!r} of study {study.name!r} holds {column} {strays}, which its parameters do not; "
                f"run the pipeline again, or delete the strays under {root}"
            )
    return table
