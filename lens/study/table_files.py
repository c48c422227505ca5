"""Named tables in one Parquet file, numbers at six significant digits; the same tables give the same bytes.

Each table is a row group of its own, so one is read without the others. The columns are those of all tables together,
after a column `table` with the name, and empty where a table has no such column; `about` in the file's metadata says
which columns a table has, and has a digest of what is in it: Parquet itself notices few altered bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from lens import files

DIGITS = 6
ABOUT = b"about"  # table -> its row group (None if it has no rows), its columns, those under another name, its digest
ABOUT_DIGEST = b"about_sha256"
BY_POSITION = "by_position"  # one column of lists holds the columns p000, p001, ... of a wide table


def write(path: Path, tables: Mapping[str, pd.DataFrame], exact: Collection[str] = ()) -> None:
    """Write tables by name, in their order, with numbers as `rounded` gives them.

    Args:
        exact: tables whose numbers are kept as they are.
    """
    tables = {name: rounded(table, exact=name in exact) for name, table in tables.items()}
    fields: dict[str, pa.DataType] = {"table": pa.string()}
    about, groups = {}, []
    for name, table in tables.items():
        arrays = _arrays(table)
        places = {column: _place(column, array.type, fields) for column, array in arrays.items()}
        moved = {column: place for column, place in places.items() if place != column}
        group = len(groups) if len(table) else None
        about[name] = {"group": group, "columns": list(table.columns), "moved": moved, "sha256": _digest(table)}
        if len(table):
            groups.append({places[c]: array for c, array in arrays.items()} | {"table": pa.array([name] * len(table))})
    schema = pa.schema(list(fields.items()))
    content = io.BytesIO()
    repeated = [c for c, kind in fields.items() if not pa.types.is_floating(kind)]  # fractions seldom occur twice
    with parquet.ParquetWriter(
        content, schema, compression="zstd", compression_level=19, store_schema=False, write_statistics=["table"],
        use_dictionary=[f"{c}.list.element" if c == BY_POSITION else c for c in repeated],
    ) as file:  # fmt: skip
        for group in groups:
            n = len(group["table"])
            arrays = [group.get(name, pa.nulls(n, kind)) for name, kind in fields.items()]
            file.write_table(pa.table(arrays, schema=schema), row_group_size=n)
        said = json.dumps(about).encode()
        file.add_key_value_metadata({ABOUT: said, ABOUT_DIGEST: hashlib.sha256(said).hexdigest().encode()})
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(path, content.getvalue())


def read(path: Path, name: str) -> pd.DataFrame | None:
    """The table of that name, as it was written; None if the file holds none.

    Raises:
        ConfigError: the file is missing or damaged.
    """
    with files.intact(path, files.AGAIN), parquet.ParquetFile(path) as file:
        if (about := _about(file.metadata).get(name)) is None:
            return None
        wide = [c for c in about["columns"] if _is_position(c)]
        stored = [c for c in about["columns"] if c not in wide] + [BY_POSITION] * bool(wide)
        places = {c: about["moved"].get(c, c) for c in stored}
        if about["group"] is None:
            found = file.schema_arrow.empty_table()
        else:
            found = file.read_row_group(about["group"], columns=list(places.values()))
        columns = {c: _series(found[place]) for c, place in places.items() if c != BY_POSITION}
        if wide:
            values = _recovered(found[places[BY_POSITION]].combine_chunks().flatten().to_numpy())
            columns |= dict(zip(wide, values.reshape(-1, len(wide)).T, strict=True))
        table = pd.DataFrame(columns, columns=about["columns"])
        if "sha256" in about and about["sha256"] != _digest(table):  # files of before there were digests have none
            raise ValueError(f"table {name!r} is not what was written there")
    return table


def names(path: Path) -> list[str]:
    """Names of the tables in a file.

    Raises:
        ConfigError: the file is missing or damaged.
    """
    with files.intact(path, files.AGAIN):
        return list(_about(parquet.read_metadata(path)))


def rounded(table: pd.DataFrame, *, exact: bool = False) -> pd.DataFrame:
    """The table with rows counted from 0 and every fraction, unless `exact`, at six significant digits."""
    table = table.reset_index(drop=True)
    if len(table):
        table = table.infer_objects()
        mixed = [c for c in table if table[c].dtype == object and _all_numbers(table[c])]
        table = table.assign(**{c: pd.to_numeric(table[c]) for c in mixed})
    floats = table.select_dtypes("float")
    return table.assign(**{c: v.astype(float) if exact else _six_digits(v) for c, v in floats.items()})


def _all_numbers(values: pd.Series) -> bool:
    return bool(values.map(lambda v: isinstance(v, (int, float, np.number))).all())


def _six_digits(values: pd.Series) -> np.ndarray:
    return np.array([float(f"{x:.{DIGITS}g}") for x in values], dtype=float)


def _recovered(values: np.ndarray) -> np.ndarray:
    """What was written: single precision stands for the six-digit number that is nearest to it."""
    if values.dtype != np.float32:
        return values
    x = values.astype(float)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        places = np.where(np.isfinite(x) & (x != 0), DIGITS - 1 - np.floor(np.log10(np.abs(x))), 0)
        up, down = 10.0 ** np.maximum(places, 0), 10.0 ** np.maximum(-places, 0)
        return np.where(np.isfinite(x), np.rint(x * up / down) / up * down, x)


def _is_position(column: str) -> bool:
    return column[0] == "p" and column[1:].isdigit()


def _arrays(table: pd.DataFrame) -> dict[str, pa.Array]:
    """The columns as they are stored, those of positions in one."""
    wide = [c for c in table if _is_position(c)]
    arrays = {c: _array(table[c]) for c in table if c not in wide}
    if wide:
        values = _shortest(table[wide].to_numpy(float).ravel())
        offsets = np.arange(len(table) + 1, dtype=np.int32) * len(wide)
        arrays[BY_POSITION] = pa.ListArray.from_arrays(offsets, pa.array(values))
    return arrays


def _array(values: pd.Series) -> pa.Array:
    if values.dtype.kind == "f":
        return pa.array(_shortest(values.to_numpy()))
    return pa.array(values, None if values.dtype.kind in "ib" else pa.string(), from_pandas=True)


def _shortest(values: np.ndarray) -> np.ndarray:
    """In single precision where that tells all digits, as it does for numbers of six, but very small and large ones."""
    with np.errstate(over="ignore", under="ignore"):
        single = values.astype(np.float32)
    return single if np.array_equal(_recovered(single), values, equal_nan=True) else values


def _place(column: str, kind: pa.DataType, fields: dict[str, pa.DataType]) -> str:
    """Where a column lies in the file: under its name, or with its type where another table's is of another type."""
    place = column if fields.setdefault(column, kind) == kind else f"{column} ({kind})"
    fields.setdefault(place, kind)
    return place


def _series(column: pa.ChunkedArray) -> pd.Series:
    if pa.types.is_floating(column.type):
        return pd.Series(_recovered(column.to_numpy()))
    return column.to_pandas(integer_object_nulls=True).astype("Int64") if _gaps(column) else column.to_pandas()


def _gaps(column: pa.ChunkedArray) -> bool:
    return pa.types.is_integer(column.type) and column.null_count > 0


def _about(metadata: parquet.FileMetaData) -> dict[str, dict]:
    said = metadata.metadata or {}
    if ABOUT not in said:
        raise pa.ArrowInvalid("a Parquet file without a list of its tables")
    if ABOUT_DIGEST in said and said[ABOUT_DIGEST].decode() != hashlib.sha256(said[ABOUT]).hexdigest():
        raise pa.ArrowInvalid("its list of tables is not what was written there")
    return json.loads(said[ABOUT])


def _digest(table: pd.DataFrame) -> str:
    """sha256 of the values of a table, column by column; every gap counts as the same."""
    sha = hashlib.sha256()
    for column in table if len(table) else ():
        values = table[column]
        if values.dtype.kind == "f" or _is_position(column):
            sha.update(np.where(values.isna(), np.nan, values.to_numpy(float)).tobytes())
        else:
            sha.update(json.dumps(_array(values).to_pylist()).encode())
    return sha.hexdigest()
