"""Means and principal components beside the dictionaries of a layer, and all of them with intervals over documents."""

import numpy as np
import pandas as pd
import pytest
import torch

from lens.activations.store import LayerStore
from lens.profiling.by_document import by_document
from lens.profiling.layer_data import LayerData
from lens.profiling.reconstruction import reconstruction_tables
from lens.profiling.references import reference_tables
from lens.profiling.tables import join
from lens.study.show import intervals

D, T = 70, 12


def store(seed: int, d: int = D) -> LayerStore:
    """40 windows of 4 documents: a mean per position, few large directions, and noise."""
    g = torch.Generator().manual_seed(seed)
    large = torch.eye(d)[:3] * torch.tensor([[6.0], [4], [2]])
    x = torch.randn(40, T, 3, generator=g) @ large + 0.1 * torch.randn(40, T, d, generator=g)
    x[:, :, 5] += torch.arange(T) * 0.5
    tokens = torch.zeros(40, T, dtype=torch.int32)
    return LayerStore(x, tokens, torch.arange(40) // 10, torch.arange(40), ("a", "b", "c", "d"), {})


@pytest.fixture(scope="module")
def layer():
    splits = {"train": store(0), "test": store(1)}
    return LayerData(1, splits.__getitem__)


@pytest.fixture(scope="module")
def tables(layer):
    test = layer.test
    measured = reconstruction_tables({}, test.activations, test.document, test.documents, layer.scale)
    l0 = [("base", s, "text", "l0", v, 1, "") for s, v in ((0, 2.2), (1, 3.6))]  # mean 2.9
    measured["summary"] = pd.concat([measured["summary"], pd.DataFrame(l0, columns=measured["summary"].columns)])
    return join(measured, reference_tables(layer, measured, "base"))


def test_references_are_fitted_on_training_windows_and_read_on_others(layer, tables):
    value = tables["summary"].set_index(["variant", "metric"])["value"]
    assert value["pca_l0", "rank"] == 3 and value["pca_64", "rank"] == 64
    assert value["mean", "rank"] == value["position_mean", "rank"] == 0
    text, train = layer.test.activations[:, 1:], layer.train.activations[:, 1:]
    total = (text - text.mean((0, 1))).square().sum()
    for name, centre in (("mean", train.mean((0, 1))), ("position_mean", train.mean(0))):
        assert value[name, "fvu"] == pytest.approx(((text - centre).square().sum() / total).item(), rel=1e-4)
    assert (
        value["mean", "fvu"] > 1 > value["position_mean", "fvu"] > value["pca_l0", "fvu"] > value["pca_64", "fvu"] > 0
    )
    rows = tables["blocks"].query("variant == 'pca_l0' and metric == 'sq_error' and bucket != '0'")
    assert rows["value"].sum() / rows["n"].sum() == pytest.approx(value["pca_l0", "mse"])


def test_no_component_without_a_baseline_and_none_of_all_dimensions(layer, tables):
    found = reference_tables(layer, tables, None)["summary"]
    assert set(found["variant"]) == {"mean", "position_mean", "pca_64"}
    narrow = LayerData(1, {"train": store(0, 8), "test": store(1, 8)}.__getitem__)
    assert set(reference_tables(narrow, tables, None)["summary"]["variant"]) == {"mean", "position_mean"}


def rows(variant: str, seeds, metric: str, by_bucket: dict, factor=lambda seed, document: 1.0) -> list[tuple]:
    return [
        ("3", variant, seed, document, bucket, metric, value * factor(seed, document), 10)
        for seed in seeds
        for document in "abc"
        for bucket, value in by_bucket.items()
    ]


def test_ratios_by_hand():
    columns = ["layer", "variant", "seed", "block", "bucket", "metric", "value", "n"]
    buckets = dict.fromkeys(("0", "1-3", "4-7", "8-31"), 0.0)
    table = pd.DataFrame(
        rows("activations", [-1], "sq_deviation", {"0": 99, "1-3": 10, "4-7": 20, "8-31": 50})
        + rows("one", [0, 1], "sq_error", {"0": 99, "1-3": 5, "4-7": 5, "8-31": 30}, lambda s, _: 1 + s)
        + rows("pca_64", [-1], "sq_error", {"0": 99, "1-3": 1, "4-7": 3, "8-31": 4})
        + rows("one", [0, 1], "delta_ce", buckets | {"4-7": 6}, lambda _, d: 1 + (d == "a")),
        columns=columns,
    )
    found = by_document(table).set_index(["variant", "quantity"])
    estimate = found["estimate"]
    assert estimate["one", "fvu"] == pytest.approx((40 / 80 + 80 / 80) / 2)
    assert estimate["one", "fvu_1_3"] == pytest.approx((5 / 10 + 10 / 10) / 2)
    assert estimate["one", "delta_ce"] == pytest.approx((12 + 6 + 6) / 90)
    assert estimate["one", "early_advantage"] == pytest.approx(1 - (10 / 20) / (30 / 10))
    assert estimate["activations", "early_advantage"] == pytest.approx(1 - (30 / 20) / (50 / 10))
    assert estimate["pca_64", "early_advantage"] == pytest.approx(1 - (4 / 20) / (4 / 10))
    # documents alike: the interval is that of the seeds; where nothing is drawn it has no width
    half = 12.706204736 * np.sqrt(0.125 / 2)
    assert found.loc[("one", "fvu"), ["low", "high"]].tolist() == pytest.approx([0.75 - half, 0.75 + half], abs=0.01)
    assert found.loc[("pca_64", "fvu"), ["low", "high"]].tolist() == pytest.approx([0.1, 0.1])
    assert found.loc[("one", "delta_ce"), "low"] < estimate["one", "delta_ce"] < found.loc[("one", "delta_ce"), "high"]
    shown = intervals(by_document(table))
    assert shown.loc[("3", "pca_64"), "fvu"] == "0.1 [0.1, 0.1]" and shown.loc[("3", "activations"), "fvu"] == ""


def test_windows_without_late_positions_have_no_early_advantage():
    table = pd.DataFrame(
        rows("activations", [-1], "sq_deviation", {"0": 9, "1": 4}) + rows("one", [0], "sq_error", {"0": 9, "1": 2}),
        columns=["layer", "variant", "seed", "block", "bucket", "metric", "value", "n"],
    )
    found = by_document(table)
    assert set(found["quantity"]) == {"fvu", "fvu_1_3"}
    assert found["estimate"].tolist() == [0.5, 0.5] and found["low"].isna().all()  # one seed
