"""The feature tables of one layer on activations where position is planted, or is not there."""

import numpy as np
import pytest
import torch

from lens.activations.store import LayerStore
from lens.dictionaries.dictionary import Dictionary
from lens.profiling.features import UNTRAINED, feature_tables, labellings, measure_features, measure_untrained
from lens.profiling.layer_data import LayerData
from tests.making import info

T, D, N = 24, 24, 160


def dictionaries(seeds=(0, 1, 2), masked=True):
    """Identity dictionaries: feature j reads coordinate j; masks are noise of their own in every seed."""
    found = {}
    for seed in seeds:
        config = info(D, D, T, masked, 0.1, 1.0, name="temporallens" if masked else "standard", seed=seed)
        sae = Dictionary.initialise(config, torch.zeros(D), seed)
        sae.W_enc.data, sae.W_dec.data = torch.eye(D), torch.eye(D)
        found[config.name, seed] = sae
    return found


def activations(planted: bool) -> torch.Tensor:
    """Coordinates fire on a third of the tokens; if planted, the first two only in the second half of a window."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(N, T, D, generator=generator) - 2 / 3
    if planted:
        x[:, : T // 2, :2] = -1
    return x.bfloat16()


def tables(planted=True, **kinds):
    clock = np.tile(np.arange(T) % 6, (N, 1))
    tokens = torch.randint(0, 9, (N, T), generator=torch.Generator().manual_seed(1))
    saes, x, block = dictionaries(**kinds), activations(planted), torch.arange(N) % 5
    data = LayerData(1, lambda split: LayerStore(x, tokens, block, block, tuple("ABCDE"), {}))
    labels = labellings(N, T, {"since_newline": clock})
    measured = measure_features(saes, x, block, 5, labels, tokens, permutations=99)
    start = measure_untrained(saes, "temporallens", data, permutations=99)
    return feature_tables(measured, x, start=start, method="temporallens"), measured


@pytest.fixture(scope="module")
def planted():
    return tables()


def value(found, metric, variant="temporallens", seed=0):
    rows = found["summary"].set_index(["variant", "seed", "metric"])["value"]
    return rows[variant, seed, metric]


def test_planted_features_are_the_positional_ones(planted):
    found, _ = planted
    features = found["features"]
    assert features.loc[features["positional"] == 1, "feature"].tolist()[:2] == [0, 1]
    assert value(found, "positional_share_1") >= 2 / D
    assert value(found, "positional_share_1_null") < 0.2
    flat, _ = tables(planted=False)
    assert value(flat, "positional_share_1") <= 1 / D


def test_every_seed_and_the_untrained_dictionaries_are_measured_once(planted):
    summary = planted[0]["summary"]
    assert not summary.duplicated(["variant", "seed", "metric"]).any()
    assert np.isfinite(summary["value"]).all()
    assert set(summary["variant"]) == {"temporallens", UNTRAINED}
    assert set(summary.loc[summary["variant"] == UNTRAINED, "seed"]) == {0, 1, 2}


def test_masks_drawn_apart_do_not_agree_although_their_features_do(planted):
    found, _ = planted
    assert value(found, "seed_shared_share") == pytest.approx(1)
    assert abs(value(found, "seed_mask_correlation")) < 0.3


def test_two_seeds_have_no_pair_measures_and_no_masks_no_mask_measures():
    found, _ = tables(seeds=(0, 1), masked=False)
    assert not found["summary"]["metric"].str.contains("mask|seed_").any()
    assert set(found["summary"]["variant"]) == {"standard"}


def test_window_means_are_those_of_the_features(planted):
    _, measured = planted
    x = activations(True).float()
    sae = dictionaries()["temporallens", 1]
    expected = sae.encode(x).dense()[:, 1:].mean(1).detach()
    np.testing.assert_allclose(measured["temporallens", 1].profile.window_means_NK, expected, rtol=1e-5, atol=1e-6)


def test_labellings_condition_position_on_the_line_break():
    found = labellings(2, 24, {"since_newline": np.zeros((2, 24), int)})
    assert list(found) == ["1", "8", "since_newline", "8_given_newline"]
    assert found["8_given_newline"].strata is not None
    assert list(labellings(2, 12, {})) == ["1"]  # too short to start at 8
