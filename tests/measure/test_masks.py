from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from lens.dictionaries.dictionary import Dictionary
from lens.dictionaries.positions.mask import KINDS, intervention
from lens.measure.masks import drift, fvu_rise, mask_profile_correlation
from lens.measure.reconstruction import CHUNK, reconstruct
from tests.making import info

T, D, K = 9, 6, 12


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def sae():
    sae = Dictionary.initialise(info(D, K, T, True, 0.1, 0.7, name="temporallens"), torch.zeros(D), 3)
    sae.position_term.pos_logits.data *= 2
    return sae


@pytest.fixture
def activations():
    x = torch.randn(CHUNK + 5, T, D, generator=generator(1))  # more than one chunk
    return x.to(torch.bfloat16)


def with_mask(sae, mask):
    """The dictionary with these masks [T, d_sae], as logits at its own temperature."""
    weights = {name: weight.detach().clone() for name, weight in sae.weights().items()}
    weights["pos_logits"] = sae.position_term.tau * mask.detach().logit().clamp(-1e4, 1e4)
    return Dictionary(sae.info, weights)


def test_rise_is_that_of_the_intervened_dictionaries(sae, activations):
    effects = fvu_rise(sae, activations, generator(2))
    block = torch.zeros(len(activations), dtype=torch.long)
    errors = {
        kind: reconstruct(s, activations, block, 1, 0.7).sq_error[0]
        for kind, s in {
            "learned": sae,
            **{k: with_mask(sae, intervention(sae.position_term.values(), k, generator(2))) for k in KINDS},
        }.items()
    }
    assert list(effects) == list(KINDS)
    shorter = fvu_rise(sae, activations[:, :5], generator(2))  # windows that use their own masks
    for kind in KINDS:
        for found, text in ((effects, slice(1, None)), (shorter, slice(1, 5))):
            rise = errors[kind][text].sum() / errors["learned"][text].sum() - 1
            assert found[kind] == pytest.approx(rise, rel=1e-3)


def test_masks_that_carry_nothing_are_not_missed(sae, activations):
    sae.position_term.pos_logits.data.copy_(sae.position_term.pos_logits[:1].abs().clone().expand(T, K))
    for kind, rise in fvu_rise(sae, activations, generator()).items():
        assert rise == pytest.approx(0, abs=1e-6), kind


def test_masks_that_are_needed_are_missed():
    """The encoder is blind and its features always fire: only the masks know that the second half has two of them."""
    x = torch.zeros(8, T, D)
    x[:, :, 0] = 1
    x[:, 5:, 1] = 1
    weights = {
        "W_enc": torch.zeros(D, 2),
        "b_enc": torch.ones(2),
        "W_dec": torch.eye(2, D),
        "b_dec": torch.zeros(D),
        "pos_logits": torch.tensor([[1.0, -1.0]] * 5 + [[1.0, 1.0]] * 4) * 1e3,
    }
    effects = fvu_rise(Dictionary(info(D, 2, T, True, 0.1, 1.0), weights), x + 1e-3, generator(1))
    assert effects["mean"] > 100 and effects["shuffled"] > 100
    assert effects["hard"] == effects["gauge_hard"] == 0


def test_what_cannot_be_done_says_so(sae, activations):
    weights = {name: weight for name, weight in sae.weights().items() if name != "pos_logits"}
    standard = Dictionary(replace(sae.info, position="none", settings={}, name="standard"), weights)
    with pytest.raises(ValueError, match="'standard' has no position term"):
        fvu_rise(standard, activations, generator())


def test_profile_correlation_is_the_median_of_pearson_r():
    rng = np.random.default_rng(0)
    mask, rate = rng.random((T, K)).astype(np.float32), rng.random((T, K))
    eligible = np.arange(K) < 7
    rate[1:, 2] = 0.25  # flat rate at text positions: no r, whatever BOS does
    mask[1:, 3] = 0.1
    r = [stats.pearsonr(mask[1:, j], rate[1:, j]).statistic for j in (0, 1, 4, 5, 6)]
    result = mask_profile_correlation(mask, rate, eligible)
    assert result == pytest.approx(np.median(r), rel=1e-6)
    scaled = mask_profile_correlation(mask * np.linspace(0.1, 2, K), rate, eligible)
    assert scaled == pytest.approx(result, rel=1e-6)  # free of the gauge
    assert mask_profile_correlation(2 * rate, rate, eligible) == pytest.approx(1)


def test_without_eligible_features_there_is_no_correlation():
    assert np.isnan(mask_profile_correlation(np.ones((T, K)), np.ones((T, K)), np.ones(K, bool)))
    with pytest.raises(ValueError, match="do not fit"):
        mask_profile_correlation(np.ones((T, K)), np.ones((T, K + 1)), np.ones(K, bool))


def test_drift_of_all_features_together_and_of_each_on_its_own():
    start = np.array([[9.0, 9], [3, 0], [0, 4]])  # norm 5 without BOS
    both = np.array([[0.0, 7], [3 + 1, 0 + 1], [0 - 2, 4 - 2]])  # the same for both features
    assert drift(start, both) == pytest.approx((10**0.5 / 5, 0))
    apart = start + [[0, 0], [1, -1], [2, -2]]
    assert drift(start, apart) == pytest.approx((0, 10**0.5 / 5))
