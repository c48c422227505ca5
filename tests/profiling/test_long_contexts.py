"""Windows far longer than 128 tokens, and than the model's sliding window; memory is bounded by tokens at a time."""

import numpy as np
import pytest
import torch

import lens
from lens.activations import language_model, models, random_models
from lens.dictionaries.dictionary import Dictionary
from lens.measure import fidelity
from lens.measure.at_once import at_once
from lens.profiling import profile as profiling
from lens.profiling.position_profile import ProfileError
from tests.profiling.test_position_profile import Halves, identity

T, REACH = 512, 32


@pytest.fixture(scope="module")
def model():
    """Gemma-3 in small; two of its four blocks see 32 tokens back."""
    with pytest.MonkeyPatch.context() as patch:
        short = random_models.CONFIGS["gemma-3-tiny"] | {"sliding_window": REACH}
        patch.setitem(random_models.CONFIGS, "gemma-3-tiny", short)
        return models.load("random:gemma-3-tiny", dtype=torch.float32)


@pytest.fixture(scope="module")
def documents():
    rng = np.random.default_rng(0)
    return ["".join(rng.choice(list("abcdefghij \n"), 5000)) for _ in range(4)]


def test_a_block_with_a_short_reach_does_not_see_the_start_and_one_behind_it_does(model):
    tokens = torch.randint(1, 256, (1, 200), generator=torch.Generator().manual_seed(0))
    other = tokens.clone()
    other[0, 3] += 1
    same = {}
    for layer in (0, 1):
        a, b = (model.residual_stream(x, [layer])[layer][0] for x in (tokens, other))
        same[layer] = (a == b).all(-1)
    assert same[0][3 + REACH :].all() and not same[0][3 : 3 + REACH].any()
    assert not same[1][3:].any()  # a full block


def test_a_profile_of_long_windows_is_that_of_short_ones_and_goes_on(model, documents, monkeypatch):
    """No more tokens at once than windows of 128 have, wherever a dictionary or the model is run."""
    encoded, read = [], []

    def noted(self, x, *rest, **options):
        encoded.append(x.shape[0] * x.shape[1])
        return plain(self, x, *rest, **options)

    def noted_tokens(self, tokens, *rest):
        read.append(len(tokens) * len(tokens[0]))
        return trunk(self, tokens, *rest)

    plain, trunk = Dictionary.encode, language_model.LanguageModel._trunk
    monkeypatch.setattr(Dictionary, "encode", noted)
    monkeypatch.setattr(language_model.LanguageModel, "_trunk", noted_tokens)
    sae = identity(model, n_positions=None)
    found = lens.profile(sae, model, documents, windows=24, length=T, fidelity=8, permutations=40, offsets=2)
    assert max(encoded) <= 32 * 128 and max(read) <= 16 * 128
    assert found.rates.shape == (T - 1, sae.info.d_sae) and found.rates.index[-1] == T - 1
    positions = found.positions.set_index(["metric", "position"])["value"]
    assert np.isfinite(positions["fvu_global"].to_numpy()[1:]).all() and positions["kl"].index.max() == T - 2
    drawn = profiling._windows(lens.activations.split.as_dataset(documents), model, 24, T, model.bos_id, 0)
    fired = plain(sae, model.residual_stream(drawn.tokens, [1])[1].clone()).fired()
    assert np.allclose(found.rates.to_numpy(), fired[:, 1:].float().mean(0).numpy())
    assert {"verdict", "depth", "fwhm"} <= set(found.features)


def test_splicing_in_parts_is_splicing(model, monkeypatch):
    tokens = torch.randint(1, 256, (8, 256), generator=torch.Generator().manual_seed(0))
    halved = {"half": lambda x: x / 2}
    one = fidelity.splice(model, tokens, 1, halved)
    monkeypatch.setattr(fidelity, "at_once", lambda most, T: most)
    other = fidelity.splice(model, tokens, 1, halved)
    assert np.allclose(one.ce["half"], other.ce["half"], atol=1e-4) and np.allclose(
        one.kl["half"], other.kl["half"], atol=1e-4
    )
    assert np.allclose(one.ce_clean, other.ce_clean, atol=1e-4)


def test_windows_of_one_length_are_held_by_their_tokens():
    assert [at_once(32, T) for T in (8, 128, 129, 256, 1024, 4096, 10**6)] == [32, 32, 31, 16, 4, 1, 1]
    assert at_once(3, 1024) == 1


def test_a_dictionary_with_positions_says_where_they_end(model, documents):
    with pytest.raises(ProfileError, match="windows of 512 tokens asked for, this dictionary has positions 0..31"):
        lens.profile(identity(model), model, documents, windows=16, length=T)
    assert (
        lens.profile(Halves(model.d_model), model, documents, layer=1, windows=16, length=300, fidelity=0).about.length
        == 300
    )
