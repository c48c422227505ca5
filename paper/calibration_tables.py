"""The tables of the calibration as files, without what makes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from lens.errors import ConfigError
from lens.study import table_files
from lens.study.params import Study
from lens.study.tables import NoTable

SHIFTED, FREE = "circular shifts", "free permutations"  # null of the position test; the study's is the first
LAYERS = (3, 6)  # of the designs whose power to find a trend is measured


def save_tables(study: Study, tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Write tables to `results/<study>/tables/calibration.parquet`, labelled with the study; what was written."""
    labelled = {name: table.assign(study=study.name)[["study", *table.columns]] for name, table in tables.items()}
    written = {name: table_files.rounded(table) for name, table in labelled.items()}
    table_files.write(_path(study), written)
    return written


def read_table(study: Study, name: str) -> pd.DataFrame:
    """A table of the calibration of a study.

    Raises:
        NoTable: it is missing.
        ConfigError: it is damaged, or another study's.
    """
    path = _path(study)
    table = table_files.read(path, name) if path.is_file() else None
    if table is None:
        raise NoTable(f"no table {name!r} in {path}; run 07_calibration of study {study.name!r} first")
    if strays := sorted(set(table["study"]) - {study.name}):
        raise ConfigError(f"{path} holds study {strays}, expected {study.name!r}; run 07_calibration again")
    return table


def _path(study: Study) -> Path:
    return study.results / "tables" / "calibration.parquet"


def wide(table: pd.DataFrame, rows: list[str], columns: list[str], value: str) -> pd.DataFrame:
    """A table to look at: means of `value` to three figures, cells without one empty."""
    means = table.pivot_table(index=rows, columns=columns, values=value, observed=True)
    return means.map(lambda x: "" if np.isnan(x) else f"{x:.3g}")
