import dataclasses

import numpy as np
import pandas as pd
import pytest

from lens.errors import ConfigError
from lens.explorer.data import collect
from lens.explorer.page import build
from lens.study import tables
from lens.study.analysis import measure
from lens.study.extraction import extract_for_trial
from lens.study.layer_data import open_layer_data
from lens.study.params import Ablations, Study
from lens.study.training import train


def smallest(out, **changes) -> Study:
    """The study `smoke` with one layer and a handful of steps, everything it writes in a folder of its own."""
    study = Study.load("smoke", out=out)
    training = dataclasses.replace(study.training, steps=10)
    small = {"layers": (1,), "main_layers": (1,), "control_seeds": (), "training": training}
    return dataclasses.replace(study, **small | changes)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    study = smallest(tmp_path_factory.mktemp("smallest"))
    extract_for_trial(study, 1)
    data = open_layer_data(study, 1)
    train(study, data)
    tables.save(study, "measures", 1, measure(study, data))
    return study


def test_build_of_the_smallest_study_is_repeatable(measured):
    path = build(measured)
    assert path == measured.results / "explorer.html"
    first = path.read_bytes()
    assert first == build([measured], measured.results / "again.html").read_bytes()
    assert len(first) < 300_000
    assert [p.name for p in measured.results.glob(".*")] == []


def test_what_is_collected_is_what_the_tables_say(measured):
    found = collect(measured)
    table = pd.read_csv(measured.results / "tables/measures/layer_1/features.csv")
    rows = table[(table["variant"] == "temporallens") & (table["seed"] == 0)]
    shown = found.layers["1"].header["columns"]["density"]
    assert np.allclose(shown, rows["density"], rtol=1e-5)
    facts = found.study.header
    assert facts["T"] == 32 and facts["steps"] == 10 and "not the paper's" in facts["role"]
    assert found.layers["1"].header["lens"] is not None and len(found.layers["1"].header["twins"]) == 1
    text = "".join(facts["words"][i] for i in found.study.arrays["tokens"][0])
    assert text.startswith("<bos>") and len(text) == 31 + len("<bos>")


def test_one_variant_and_one_seed_are_enough(tmp_path, measured):
    study = smallest(tmp_path, variants=("standard",), seeds=(0,), ablations=Ablations())
    (tmp_path / "dictionaries").symlink_to(measured.results / "dictionaries")
    (tmp_path / "activations").symlink_to(measured.results / "activations")
    for name in ("features", "summary"):
        table = tables.read(measured, name)
        tables.save(study, "measures", 1, {name: table[(table["variant"] == "standard") & (table["seed"] == 0)]})
    found = collect(study)
    assert found.study.header["variant"] == "standard" and "mask" not in found.layers["1"].arrays
    assert found.layers["1"].header["twins"] == []


def test_no_tables(tmp_path):
    with pytest.raises(ConfigError, match=r"no tables to show.*dvc repro studies/smoke/dvc\.yaml"):
        collect(smallest(tmp_path))


def test_tables_but_no_dictionaries(tmp_path, measured):
    study = smallest(tmp_path)
    (tmp_path / "tables").symlink_to(measured.results / "tables")
    command = "lens run 02_train --study smoke --layer 1"
    with pytest.raises(ConfigError, match=f"needs the dictionaries of layer 1.*{command}"):
        collect(study)
    with pytest.raises(ConfigError):
        build(study)
    assert not (tmp_path / "explorer.html").exists()


def test_a_layer_without_dictionaries(measured):
    with pytest.raises(ConfigError, match="needs the dictionaries of layer 2"):
        collect(dataclasses.replace(measured, layers=(1, 2)))
