import numpy as np
import pytest
import torch

from lens.activations import models
from lens.dictionaries.dictionary import Dictionary
from lens.profiling.reconstruction import fidelity_tables, reconstruction_tables
from lens.profiling.tables import INPUT, join
from tests.making import info

T = 32


@pytest.fixture(scope="module")
def model():
    return models.load("random:gemma-3-tiny")


@pytest.fixture(scope="module")
def tables(model):
    d = model.d_model
    tokens = torch.randint(0, 200, (12, T), generator=torch.Generator().manual_seed(0))
    tokens[:, 0] = model.bos_id
    activations = model.residual_stream(tokens, [1])[1]
    dictionaries = {
        (variant, seed): Dictionary.initialise(
            info(d, d, T, variant != "standard", 0.1, 0.5, name=variant, seed=seed), torch.zeros(d), seed
        )
        for variant in ("standard", "temporallens")
        for seed in (0, 1)
    }
    block = torch.arange(12) // 4
    return activations, join(
        reconstruction_tables(dictionaries, activations, block, ["A", "B", "C"], 0.5, baseline="standard"),
        fidelity_tables(
            model, tokens[2:5], 1, dictionaries, activations.float().mean((0, 1)), block[2:5], ["A", "B", "C"]
        ),
    )


def pick(table, **where):
    for column, value in where.items():
        table = table[table[column] == value]
    return table


def test_every_dictionary_has_every_measure_once(tables):
    _, frames = tables
    for name, keys in (("positions", "position"), ("summary", "positions"), ("blocks", "bucket")):
        frame = frames[name]
        unique = ["variant", "seed", "metric", keys, *(["block"] if name == "blocks" else [])]
        assert not frame.duplicated(unique).any()
        assert np.isfinite(frame["value"]).all()
        of_dictionaries = frame[frame["variant"] != INPUT[0]]
        counts = of_dictionaries.groupby(["variant", "seed"])["metric"].nunique()
        assert counts.nunique() == 1
        assert len(counts) == 4


def test_levels_agree_with_each_other(tables):
    """The overall error is the mean of the per-position errors and the sum over blocks."""
    _, frames = tables
    key = {"variant": "temporallens", "seed": 1}
    overall = pick(frames["summary"], **key, positions="text", metric="mse")["value"].item()
    curve = pick(frames["positions"], **key, metric="mse").query("position >= 1")["value"]
    blocks = pick(frames["blocks"], **key, metric="sq_error").query("bucket != '0'")
    assert curve.mean() == pytest.approx(overall, rel=1e-6)
    assert blocks["value"].sum() / blocks["n"].sum() == pytest.approx(overall, rel=1e-6)
    everything = pick(frames["summary"], **key, positions="all", metric="mse")["value"].item()
    assert pick(frames["positions"], **key, metric="mse")["value"].mean() == pytest.approx(everything, rel=1e-6)


def test_all_positions_fvu_is_about_the_mean_of_all_positions(tables):
    activations, frames = tables
    x = activations.double() * 0.5
    total = ((x - x.mean((0, 1))) ** 2).sum().item()
    row = pick(frames["summary"], variant="standard", seed=0, positions="all")
    error = pick(row, metric="mse")["value"].item() * x.shape[0] * x.shape[1]
    assert pick(row, metric="fvu")["value"].item() == pytest.approx(error / total, rel=1e-3)


def test_bos_has_no_variance_to_explain(tables):
    """All BOS vectors are equal, so FVU at position 0 about its own mean is undefined and left out, not infinite."""
    _, frames = tables
    rows = pick(frames["positions"], variant="standard", seed=0, metric="fvu_position")
    assert rows["position"].min() == 1


def test_fidelity_says_how_many_windows_it_used(tables):
    _, frames = tables
    assert set(pick(frames["positions"], metric="delta_ce")["n"]) == {3}
    summary = pick(frames["summary"], metric="delta_ce")
    assert set(summary.query("positions == 'text'")["seed"]) == {0, 1}
    assert set(summary.query("positions == 'all'")["seed"]) == {0}  # BOS replaced too: first seed only


def test_added_loss_of_each_document_adds_up(tables):
    """Windows 2, 3 and 4 are spliced: two of document A, one of B; the last position of a window predicts nothing."""
    _, frames = tables
    key = {"variant": "temporallens", "seed": 1, "metric": "delta_ce"}
    rows = pick(frames["blocks"], **key)
    assert rows.groupby("block")["n"].sum().to_dict() == {"A": 2 * (T - 1), "B": T - 1}
    text = rows[rows["bucket"] != "0"]
    mean = pick(frames["summary"], **key, positions="text")["value"].item()
    assert text["value"].sum() / text["n"].sum() == pytest.approx(mean, rel=1e-3)  # a difference of means in fp32
    early = text[text["bucket"] == "1-3"]
    curve = pick(frames["positions"], **key).query("1 <= position <= 3")["value"]
    assert early["value"].sum() / early["n"].sum() == pytest.approx(curve.mean(), rel=1e-5)


def test_t_tests_over_windows_compare_what_they_say(tables):
    """Early against late of each dictionary, and each variant against the standard one of its seed."""
    activations, frames = tables
    found = frames["tests"]
    counts = found.groupby(["variant", "comparison"]).size()
    assert counts.to_dict() == {
        ("standard", "early against late"): 2, ("temporallens", "early against late"): 2,
        ("temporallens", "against standard"): 2,
    }  # fmt: skip
    assert set(found["n"]) == {12} and found["p"].between(0, 1).all()
    row = pick(found, variant="temporallens", seed=1, comparison="against standard").iloc[0]
    errors = pick(frames["summary"], seed=1, positions="text", metric="mse").set_index("variant")["value"]
    assert row["value"] == pytest.approx(errors["temporallens"] / errors["standard"] - 1, rel=1e-5)
