import dataclasses

import pandas as pd
import pytest

from lens.errors import ConfigError
from lens.study import tables
from lens.study.params import Study


@pytest.fixture
def study(tmp_path):
    return dataclasses.replace(Study.load("quick"), out=tmp_path, layers=(3, "embedding"), seeds=(0, 1))


def frame(variant="standard", seed=0, value=1 / 3):
    rows = [(variant, seed, t, "mse", value * t, 10, "x") for t in (2, 1)]
    return pd.DataFrame(rows, columns=["variant", "seed", "position", "metric", "value", "n", "unit"])


def test_written_tables_are_labelled_sorted_and_read_back(study):
    tables.save(study, "measures", 3, {"positions": pd.concat([frame(seed=1), frame()])})
    tables.save(study, "training", "embedding", {"positions": frame("temporallens")})
    read = tables.read(study, "positions")
    assert read.columns.tolist()[:3] == ["study", "model", "layer"]
    assert set(read["layer"]) == {"3", "embedding"}
    assert read[read["layer"] == "3"][["seed", "position"]].values.tolist() == [[0, 1], [0, 2], [1, 1], [1, 2]]
    text = (study.results / "tables" / "measures" / "layer_3" / "positions.csv").read_text()
    assert "0.333333," in text


def test_stray_layers_variants_and_seeds_are_refused_by_name(study):
    tables.save(study, "measures", 3, {"positions": frame()})
    tables.save(study, "measures", 8, {"positions": frame()})
    with pytest.raises(ConfigError, match="measures/layer_8.*not among the study's layers"):
        tables.read(study, "positions")
    fewer = dataclasses.replace(study, layers=(3, 8), seeds=(1,))
    with pytest.raises(ConfigError, match=r"seed \[0\]"):
        tables.read(fewer, "positions")
    with pytest.raises(ConfigError, match=r"variant \['standard'\]"):
        tables.read(dataclasses.replace(study, layers=(3, 8), variants=("temporallens",)), "positions")


def test_missing_table_says_what_to_do(study):
    with pytest.raises(ConfigError, match="no table 'positions'.*run the pipeline of study 'quick'"):
        tables.read(study, "positions")
