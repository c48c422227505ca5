"""Profiles of an encoder that writes elsewhere than it reads: all of position, nothing of reconstruction."""

import numpy as np
import pytest
import torch

import lens
from lens.activations import models
from lens.activations.hooks import Site
from lens.activations.sites import activations_at
from lens.dictionaries.encoder import Encoder
from lens.dictionaries.info import Info
from lens.errors import DictionaryError
from lens.explorer import profiles
from lens.figures.plot import FigureError
from lens.profiling.layer import measure_dictionaries
from lens.profiling.position_profile import PositionProfile, ProfileError

OPTIONS = {"windows": 64, "length": 32, "permutations": 60}
HOOK = "blocks.1.mlp.hook_in"


@pytest.fixture(scope="module")
def model():
    return models.load("random:gemma-3-tiny", dtype=torch.float32)


@pytest.fixture(scope="module")
def documents():
    rng = np.random.default_rng(0)
    return ["".join(rng.choice(list("abcdefghij \n"), 3000)) for _ in range(8)]


def encoder(d: int, K: int = 48, hook: str = HOOK, **changes) -> Encoder:
    generator = torch.Generator().manual_seed(0)
    weights = {"W_enc": torch.randn(d, K, generator=generator), "b_enc": torch.full((K,), -0.4 * d**0.5)}
    return Encoder(Info(d, K, hook=hook, name="a-transcoder", **changes), weights)


@pytest.fixture(scope="module")
def found(model, documents) -> PositionProfile:
    return lens.profile(encoder(model.d_model), model, documents, contexts=2, offsets=2, **OPTIONS)


def test_firing_is_that_of_what_the_mlp_is_given(found, model, documents):
    sae = encoder(model.d_model)
    assert found.about.place == "layer 1 mlp_in of random:gemma-3-tiny"
    drawn = lens.profiling.profile._windows(
        lens.activations.split.as_dataset(documents), model, 64, 32, model.bos_id, 0
    )
    x = activations_at(model, torch.as_tensor(drawn.tokens), Site(1, "mlp_in")).clone()
    fired = sae.encode(x).fired()
    assert np.allclose(found.rates.to_numpy(), fired[:, 1:].float().mean(0).numpy())
    value = found.summary[found.summary["positions"] == "text"].set_index("metric")["value"]
    assert value["l0"] == pytest.approx(fired[:, 1:].sum(-1).float().mean().item())
    assert value["alive_share"] == (fired[:, 1:].flatten(0, 1).any(0)).float().mean().item()
    l0 = found.positions[found.positions["metric"] == "l0"].set_index("position")["value"]
    assert np.allclose(l0, fired.sum(-1).float().mean(0))
    residual = sae.encode(model.residual_stream(drawn.tokens, [1])[1].clone()).fired()
    assert not torch.equal(residual, fired)


def test_all_of_position_is_there_and_nothing_of_reconstruction(found, tmp_path):
    assert found.features["p"].notna().sum() > 10
    assert {"positional", "information", "fwhm", "verdict", "offset_share", "dwell"} <= set(found.features)
    assert not {"others", "alone"} & set(found.features)  # features don't rebuild the input
    for table in (found.summary, found.positions):
        assert not {"fvu", "fvu_global", "mse", "delta_ce", "kl", "ce_recovered_zero"} & set(table["metric"])
    assert "FVU" not in repr(found) and "L0" in repr(found)
    with pytest.raises(FigureError, match="has no reconstruction of its input"):
        found.plot_positions()
    found.plot_positions("l0")
    again = PositionProfile.read(found.save(tmp_path / "saved"))
    assert again.about == found.about and not (tmp_path / "saved" / "fvu_global.svg").exists()
    assert profiles.build([tmp_path / "saved"], tmp_path / "page.html").stat().st_size > 10_000


def test_a_layer_that_it_does_not_name_and_a_splice_are_refused(model, documents):
    sae = encoder(model.d_model)
    with pytest.raises(ProfileError, match="a-transcoder writes something else than it reads.*leave fidelity out"):
        lens.profile(sae, model, documents, fidelity=4, **OPTIONS)
    with pytest.raises(DictionaryError, match="layer 2 asked"):
        lens.profile(sae, model, documents, layer=2, **OPTIONS)
    with pytest.raises(DictionaryError, match="reads width 8, .* has width 32"):
        lens.profile(encoder(8), model, documents, **OPTIONS)
    with pytest.raises(ValueError, match="has blocks 0 to 3"):
        lens.profile(encoder(model.d_model, hook="blocks.9.mlp.hook_in"), model, documents, **OPTIONS)


def test_one_that_reads_between_blocks_is_read_there(model, documents):
    sae = encoder(model.d_model, hook="blocks.2.hook_resid_pre", layer="1")
    assert lens.profile(sae, model, documents, **OPTIONS).about.place == "layer 1 of random:gemma-3-tiny"


def test_activations_have_to_say_that_they_are_those_it_reads():
    x, sae = torch.randn(64, 16, 8, generator=torch.Generator().manual_seed(1)), encoder(8)
    for given in (x, lens.Activations(x), lens.Activations(x, hook="blocks.1.hook_resid_post")):
        with pytest.raises(DictionaryError, match=f"reads {HOOK}, these activations were read"):
            lens.profile(sae, given, permutations=60)
    found = lens.profile(sae, lens.Activations(x, hook="model.layers.1.mlp.input"), permutations=60)
    assert np.allclose(found.rates.to_numpy(), sae.encode(x).fired()[:, 1:].float().mean(0).numpy())


def test_an_l0_far_from_the_one_stated_is_warned_of():
    x, sae = torch.randn(64, 16, 8, generator=torch.Generator().manual_seed(1)), encoder(8)
    sae.stated_l0 = 1
    with pytest.warns(UserWarning, match="L0 is .*, where the dictionary states 1"):
        lens.profile(sae, lens.Activations(x, hook=HOOK), permutations=60)


def test_encoders_are_not_measured_among_dictionaries():
    data = lens.Activations(torch.randn(64, 16, 8)).layer_data("1")
    sae = encoder(8)
    with pytest.raises(ValueError, match="measured by themselves"):
        measure_dictionaries({("a", 0): sae}, data, None, spliced=[0])
