"""The one path: dictionaries of any kind, on a layer that is opened once."""

import numpy as np
import pandas as pd
import pytest
import torch

from lens.activations import models
from lens.activations.store import LayerStore
from lens.dictionaries.dictionary import Dictionary, Info
from lens.measure.profiles import position_labelling
from lens.profiling.features import FIRST, per_feature
from lens.profiling.layer import measure_dictionaries
from lens.profiling.layer_data import LayerData
from lens.profiling.tables import INPUT
from tests.making import info

N, T = 12, 32


@pytest.fixture(scope="module")
def model():
    return models.load("random:gemma-3-tiny")


@pytest.fixture(scope="module")
def store(model):
    tokens = torch.randint(0, 200, (N, T), generator=torch.Generator().manual_seed(0))
    tokens[:, 0] = model.bos_id
    x = model.residual_stream(tokens, [1])[1]
    return LayerStore(x, tokens, torch.arange(N) // 4, torch.arange(N), ("A", "B", "C"), {})


def test_a_split_is_opened_once_and_only_if_it_is_used(store):
    opened = []
    data = LayerData(1, lambda split: opened.append(split) or store)
    assert data.test is data.test and data.statistics is data.statistics
    assert data.scale == data.statistics.mean_square_norm**-0.5
    assert opened == ["test", "train"]


def test_each_dictionary_is_measured_as_if_it_were_alone(model, store):
    d, data = model.d_model, LayerData(1, lambda split: store)
    kinds = {
        "relu": info(d, d, T, False, scale=0.5), "masked": info(d, d, T, scale=0.5),
        "sparse": Info(d, 2 * d, architecture="topk", settings={"k": 3}),
    }  # fmt: skip
    saes = {(name, 0): Dictionary.initialise(made, torch.zeros(d), 0) for name, made in kinds.items()}
    asked = {"spliced": [0, 5], "labellings": {FIRST: position_labelling(N, T)}, "permutations": 40}
    tables, features = measure_dictionaries(saes, data, model, baseline="relu", **asked)
    for key, sae in saes.items():
        alone, found = measure_dictionaries({key: sae}, data, model, by_document=False, **asked)
        for name in ("positions", "summary"):
            rows = tables[name][tables[name]["variant"].isin((key[0], INPUT[0]))].reset_index(drop=True)
            pd.testing.assert_frame_equal(rows, alone[name])
        pd.testing.assert_frame_equal(per_feature(features[key]), per_feature(found[key]), rtol=1e-5)
    l0 = tables["summary"].query("metric == 'l0' and positions == 'text'").set_index("variant")["value"]
    assert l0["sparse"] <= 3 < l0["relu"]
    tests = tables["tests"].groupby("comparison").size().to_dict()
    assert tests == {"early against late": 3, "against relu": 2}
    assert np.isfinite(tables["summary"]["value"]).all()


def test_what_is_not_asked_for_is_not_measured(model, store):
    sae = Dictionary.initialise(info(model.d_model, 8, T, False), torch.zeros(model.d_model), 0)
    tables, features = measure_dictionaries({("relu", 0): sae}, LayerData(1, lambda split: store), model, spliced=[])
    assert not features and "kl" not in set(tables["summary"]["metric"])
    assert set(tables["tests"]["comparison"]) == {"early against late"}
