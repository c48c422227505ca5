import dataclasses
import json
import re

import numpy as np
import pandas as pd
import pytest
from pyarrow import parquet

from lens.errors import ConfigError
from lens.study import table_files, tables
from lens.study.params import Ablations, Roles, Study


@pytest.fixture
def study(tmp_path):
    """Two layers, one of them for claims, two variants, two seeds."""
    return dataclasses.replace(
        Study.load("quick"), out=tmp_path, layers=(3, "embedding"), main_layers=(3,), seeds=(0, 1), control_seeds=(),
        variants=("standard", "temporallens"), ablations=Ablations(), roles=Roles(),
    )  # fmt: skip


def frame(variant="standard", seed=0, value=1 / 3, metric="mse"):
    rows = [(variant, seed, t, metric, value * t, 10, "x") for t in (2, 1)]
    return pd.DataFrame(rows, columns=["variant", "seed", "position", "metric", "value", "n", "unit"])


def runs(study, layer, **how):
    """Rows of every dictionary of a layer."""
    return pd.concat([frame(variant, seed, **how) for variant, seed in reversed(study.runs_at(layer))])


def save_all(study, kind="measures", names=("positions",)):
    for layer in study.layers:
        tables.save(study, kind, layer, {name: runs(study, layer) for name in names})


def test_written_tables_are_labelled_sorted_rounded_and_read_back(study):
    study = dataclasses.replace(study, variants=("standard",))
    written = tables.save(study, "measures", 3, {"positions": runs(study, 3)})
    tables.save(study, "measures", "embedding", {"positions": runs(study, "embedding")})
    read = tables.read(study, "positions")
    assert read.columns.tolist()[:3] == ["study", "model", "layer"]
    assert set(read["layer"]) == {"3", "embedding"}
    three = read[read["layer"] == "3"]
    assert three[["seed", "position"]].values.tolist() == [[0, 1], [0, 2], [1, 1], [1, 2]]
    assert three["value"].tolist() == [0.333333, 0.666667] * 2
    pd.testing.assert_frame_equal(three, written["positions"])
    assert [path.parent.name for path in tables.holds(study, "positions")] == ["measures", "measures"]
    assert tables.holds(study, "summary") == []


def test_a_study_may_be_named():
    pd.testing.assert_frame_equal(tables.read("quick", "splice"), tables.read(Study.load("quick"), "splice"))


def test_weights_and_what_is_compared_with_them_keep_all_digits(study):
    study = dataclasses.replace(study, variants=("standard",), seeds=(0,), layers=(3,))
    tables.save(study, "training", 3, {"positions": frame(), "summary": frame(), "blocks": frame()})
    for name in ("positions", "summary"):
        assert tables.read(study, name)["value"].tolist() == [1 / 3, 2 / 3]
    assert tables.read(study, "blocks")["value"].tolist() == [0.333333, 0.666667]


def test_files_hold_of_large_tables_what_is_read_and_the_notebook_sees_all(study):
    study = dataclasses.replace(study, roles=Roles(method="temporallens"))
    made = {
        "history": pd.concat([runs(study, 3, metric="loss"), runs(study, 3, metric="l1")]),
        "position_weights": runs(study, 3),
        "summary": runs(study, 3),
    }
    study = dataclasses.replace(study, layers=(3, 8))
    for layer in (3, 8):
        written = tables.save(study, "training", layer, made)
        assert {name: len(table) for name, table in written.items()} == {name: len(made[name]) for name in made}
    assert set(tables.read(study, "history")["metric"]) == {"loss"}
    assert set(tables.read(study, "position_weights")["variant"]) == {"temporallens"}
    layers = {name: set(tables.read(study, name)["layer"]) for name in made}
    assert layers == {"history": {"3"}, "position_weights": {"3"}, "summary": {"3", "8"}}


def test_stray_layers_variants_and_seeds_are_refused_by_name(study):
    save_all(study)
    with pytest.raises(ConfigError, match="measures/layer_embedding.*not among the study's layers"):
        tables.read(dataclasses.replace(study, layers=(3,)), "positions")
    with pytest.raises(ConfigError, match=r"seed \[0\]"):
        tables.read(dataclasses.replace(study, seeds=(1,)), "positions")
    with pytest.raises(ConfigError, match=r"variant \['standard'\]"):
        tables.read(dataclasses.replace(study, variants=("temporallens",)), "positions")


def test_missing_table_says_what_to_do(study):
    with pytest.raises(ConfigError, match="no table 'positions'.*`git checkout`.*`dvc repro`"):
        tables.read(study, "positions")


LACKING = {
    "a layer's file": (lambda path: path.unlink(), "lacks measures/layer_3.parquet"),
    "a table of a file": (
        lambda path: keep(path, drop="positions"),
        "layer_3.parquet has no table 'positions'",
    ),
    "a variant": (lambda path: keep(path, "variant != 'standard'"), "nothing of standard, seed 0, at layer 3"),
    "a seed": (
        lambda path: keep(path, "variant != 'standard' or seed != 1"),
        "nothing of standard, seed 1",
    ),
    "a row": (
        lambda path: keep(path, "variant != 'temporallens' or seed != 1 or position != 2"),
        "1 rows of temporallens mse, seed 1, at layer 3, where it holds 2 of another run",
    ),
}


def keep(path, where: str = "", drop: str = "") -> None:
    """Write a file again with the rows of `positions` that a query keeps, or without one table."""
    held = {name: table_files.read(path, name) for name in table_files.names(path) if name != drop}
    table_files.write(path, held | ({"positions": held["positions"].query(where)} if where else {}))


@pytest.mark.parametrize(("damage", "message"), LACKING.values(), ids=LACKING)
def test_a_table_that_lacks_something_of_the_study_is_refused_by_name(study, damage, message):
    save_all(study, names=("positions", "summary"))
    save_all(study, "training", names=("history",))
    assert len(tables.read(study, "positions")) == 16
    damage(study.results / "tables" / "measures" / "layer_3.parquet")
    with pytest.raises(ConfigError, match=f"{re.escape(message)}.*; .*git checkout.*`dvc repro`"):
        tables.read(study, "positions")


def test_tables_from_before_a_seed_was_added_are_refused(study):
    save_all(study)
    with pytest.raises(ConfigError, match="nothing of standard, seed 2, at layer 3; .*`dvc repro`"):
        tables.read(dataclasses.replace(study, seeds=(0, 1, 2)), "positions")


def test_ablations_are_asked_for_where_the_study_has_them(study):
    ablated = dataclasses.replace(study, ablations=Ablations(layers=(3,), variants=("frozen_masks",), seeds=(1,)))
    save_all(ablated)
    assert set(tables.read(ablated, "positions")["variant"]) == {"standard", "temporallens", "frozen_masks"}
    save_all(study)
    with pytest.raises(ConfigError, match="nothing of frozen_masks, seed 1, at layer 3"):
        tables.read(ablated, "positions")


@pytest.mark.parametrize("damage", ["cut off", "overwritten", "empty", "of another writer"])
def test_a_damaged_file_is_named_with_the_remedy(study, damage):
    save_all(study)
    path = study.results / "tables" / "measures" / "layer_3.parquet"
    whole = path.read_bytes()
    damaged = {"cut off": whole[:-20], "overwritten": whole[:4] + b"\xff" * 200 + whole[204:], "empty": b""}
    if damage in damaged:
        path.write_bytes(damaged[damage])
    else:
        frame().to_parquet(path)
    with pytest.raises(
        ConfigError, match=r"measures/layer_3.parquet cannot be read .*`git checkout` .*or run the stage"
    ):
        tables.read(study, "positions")


def test_no_altered_bit_of_a_file_passes(tmp_path):
    """What is read is what was written, or nothing is: of every eleventh byte of a file one bit is changed."""
    path = tmp_path / "x.parquet"
    wide = pd.DataFrame({"feature": [0, 1], "p000": [0.5, 0.125], "p001": [0.001, np.nan]})
    table_files.write(path, {"positions": pd.concat([frame(seed=seed) for seed in range(9)]), "profiles": wide})
    content, right = path.read_bytes(), {name: table_files.read(path, name) for name in table_files.names(path)}
    refused, silent = 0, []
    for place in range(0, len(content), 11):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        try:
            found = {name: table_files.read(path, name) for name in table_files.names(path)}
        except ConfigError:
            refused += 1
        else:
            if list(found) != list(right) or not all(found[name].equals(right[name]) for name in right):
                silent.append(place)
    assert not silent and refused > len(content) / 11 / 2


def test_a_file_of_before_there_were_digests_is_read(tmp_path):
    path = tmp_path / "x.parquet"
    table_files.write(path, {"a": frame()})
    with parquet.ParquetFile(path) as file:
        rows, about = file.read(), json.loads(file.metadata.metadata[table_files.ABOUT])
    del about["a"]["sha256"]
    with parquet.ParquetWriter(path, rows.schema, store_schema=False) as file:
        file.write_table(rows)
        file.add_key_value_metadata({table_files.ABOUT: json.dumps(about)})
    assert table_files.read(path, "a")["value"].tolist() == [0.666667, 0.333333]


HARD = [0.0, -0.0, 1.0, 1e-5, 0.1, 123456.0, 1.23457e8, -9.99999e-4, 3.2e-41, 1e-300, 1e300, np.nan, np.inf, -np.inf]


@pytest.mark.parametrize("values", [HARD[:8], HARD, HARD[11:], []])
def test_six_digits_come_back_as_the_same_double(tmp_path, values):
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=2000) * 10.0 ** rng.integers(-12, 12, size=2000)
    table = pd.DataFrame({"value": np.concatenate([values, drawn])})
    expected = [float(f"{x:.6g}") for x in table["value"]]
    table_files.write(tmp_path / "x.parquet", {"a": table})
    found = table_files.read(tmp_path / "x.parquet", "a")["value"]
    assert np.array_equal(found, expected, equal_nan=True)


def test_tables_of_many_kinds_share_a_file_and_come_back_as_they_were(tmp_path):
    many = {
        "wide": pd.DataFrame({"feature": [0, 1], "p000": [0.5, 0.125], "p001": [0.001, np.nan]}),
        "texts": pd.DataFrame({"bucket": ["1-3", None], "value": [1.5, 2.5], "feature": ["a", "b"]}),
        "counts": pd.DataFrame({"bucket": [1, 2], "n": pd.array([3, None], dtype="Int64"), "found": [True, False]}),
        "tiny": pd.DataFrame({"value": [1e-300, 1.0], "p": [0.05, 1e-45]}),
        "mixed": pd.DataFrame({"value": np.array([np.float32(0.5), 0.25, 1], dtype=object)}),
        "empty": pd.DataFrame({"variant": pd.Series(dtype="str"), "value": pd.Series(dtype=float)}),
    }
    path, again = tmp_path / "x.parquet", tmp_path / "y.parquet"
    table_files.write(path, many)
    assert table_files.names(path) == list(many)
    for name, table in many.items():
        pd.testing.assert_frame_equal(table_files.read(path, name), table.infer_objects(), check_dtype=name != "mixed")
    assert table_files.read(path, "other") is None
    table_files.write(again, {name: table_files.read(path, name) for name in many})
    assert path.read_bytes() == again.read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_any_reader_of_parquet_sees_the_tables_by_name(tmp_path):
    path = tmp_path / "x.parquet"
    table_files.write(path, {"a": pd.DataFrame({"value": [0.5]}), "b": pd.DataFrame({"value": [1.5], "n": [2]})})
    found = pd.read_parquet(path, filters=[("table", "==", "b")])
    assert found.to_dict("records") == [{"table": "b", "value": 1.5, "n": 2}]
