"""Agreement of seeds: planted agreement of masks is found, and that of the features is not taken for it."""

import pytest
import torch

from lens.dictionaries.dictionary import Dictionary
from lens.profiling.seeds import MASKS, MIN_PAIRS, mask_agreement
from tests.making import info

N, T, D = 64, 24, 40
SEEDS = (0, 1, 2)
X = torch.randn(N, T, D, generator=torch.Generator().manual_seed(9)).bfloat16()


def dictionaries(logits, masked=True) -> dict[int, Dictionary]:
    """One dictionary three times, its features in another order each time, with the mask logits [T, D] of each seed."""
    first = Dictionary.initialise(info(D, D, T, False), torch.zeros(D), 0).weights()
    found = {}
    for seed, own in zip(SEEDS, logits, strict=True):
        order = torch.randperm(D, generator=torch.Generator().manual_seed(seed))
        weights = {"W_enc": first["W_enc"][:, order], "b_enc": first["b_enc"][order], "W_dec": first["W_dec"][order],
                   "b_dec": first["b_dec"]} | ({"pos_logits": own[:, order]} if masked else {})  # fmt: skip
        found[seed] = Dictionary(info(D, D, T, masked), {name: w.detach().clone() for name, w in weights.items()})
    return found


def means(saes: dict[int, Dictionary], x=X) -> dict[str, float]:
    table = mask_agreement("own", "any", saes, x)
    assert table["seed"].tolist() == list(SEEDS) * table["metric"].nunique()
    return table.groupby("metric")["value"].mean().to_dict()


NOISE = torch.randn(3, T, D, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("logits", "expected"), [(NOISE[:1].expand(3, T, D), 1.0), (NOISE, 0.0)])
def test_masks_agree_if_they_are_the_same_and_not_because_the_features_are(logits, expected):
    found = means(dictionaries(logits))
    assert set(found) == {f"own_{name}" for name in MASKS}
    assert found["own_pairs"] == D
    assert found["own_profile_correlation"] == pytest.approx(1)
    assert found["own_mask_correlation"] == pytest.approx(expected, abs=0.1)
    for other in ("null", "next"):  # masks of noise: neither another feature nor the next position knows of it
        assert found[f"own_mask_correlation_{other}"] == pytest.approx(0, abs=0.1)


def test_masks_that_are_smooth_agree_with_the_next_position_too():
    smooth = torch.linspace(-3, 3, T)[:, None] * torch.where(torch.arange(D) % 2 == 0, 1.0, -1.0)
    found = means(dictionaries([smooth] * 3))
    assert found["own_mask_correlation"] == pytest.approx(1)
    assert found["own_mask_correlation_next"] > 0.8


def test_without_masks_profiles_are_compared_alone():
    assert set(means(dictionaries(NOISE, masked=False))) == {"own_pairs", "own_profile_correlation"}


def test_too_few_shared_features_are_counted_and_not_compared():
    few = X.clone()
    few[..., MIN_PAIRS - 1 :] = 0
    weights = {"W_enc": torch.eye(D), "b_enc": torch.zeros(D), "W_dec": torch.eye(D), "b_dec": torch.zeros(D)}
    sae = Dictionary(info(D, D, T, False), weights)
    assert means(dict.fromkeys(SEEDS, sae), few) == {"own_pairs": MIN_PAIRS - 1}
