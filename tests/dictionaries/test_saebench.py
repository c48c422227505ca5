from dataclasses import asdict

import pytest
import torch

from lens.dictionaries.dictionary import Dictionary, PositionError
from lens.dictionaries.saebench import SAEBenchAdapter
from lens.errors import DictionaryError
from tests.making import info

X = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0)) * 8


def sae(centre: torch.Tensor | None = None, **changes) -> Dictionary:
    config = {"d_in": 4, "d_sae": 6, "T": 5, "tau": 0.5, "scale": 0.25}
    made = info(**{**config, "model": "m", "layer": "3", **changes})
    made = Dictionary.initialise(made, torch.arange(4.0), seed=1, centre=centre)
    torch.nn.init.normal_(made.architecture.b_enc, generator=torch.Generator().manual_seed(3))
    return made


@pytest.mark.parametrize("centre", [None, torch.tensor([40.0, -3, 0, 8])])
@pytest.mark.parametrize("masked", [True, False])
def test_features_and_reconstructions_are_those_of_the_sae_in_raw_units(masked, centre):
    model = sae(masked=masked, centre=centre)
    adapter = SAEBenchAdapter(model)
    f = adapter.encode(X)
    torch.testing.assert_close(f * 0.25, model.encode(X).dense())
    torch.testing.assert_close(adapter.decode(f), model(X))
    torch.testing.assert_close(adapter(X), model(X))
    torch.testing.assert_close(f @ adapter.W_dec + adapter.b_dec, model(X))


def test_it_has_what_saebench_reads():
    adapter = SAEBenchAdapter(sae())
    assert (adapter.W_enc.shape, adapter.b_enc.shape) == ((4, 6), (6,))
    assert (adapter.W_dec.shape, adapter.b_dec.shape) == ((6, 4), (4,))
    torch.testing.assert_close(adapter.W_dec.norm(dim=-1), torch.ones(6))
    assert (adapter.device, adapter.dtype) == (torch.device("cpu"), torch.float32)
    cfg = asdict(adapter.cfg)  # as SAEBench stores it
    assert cfg["hook_name"] == "blocks.3.hook_resid_post"
    assert {k: cfg[k] for k in ("model_name", "d_in", "d_sae", "hook_layer", "context_size", "dtype")} == {
        "model_name": "m",
        "d_in": 4,
        "d_sae": 6,
        "hook_layer": 3,
        "context_size": 5,
        "dtype": "float32",
    }
    adapter.cfg.dtype = "bfloat16"
    half = adapter.to(dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16
    assert half.encode(X.bfloat16()).dtype == torch.bfloat16


def test_the_embedding_is_what_enters_block_0():
    cfg = SAEBenchAdapter(sae(layer="embedding")).cfg
    assert (cfg.hook_layer, cfg.hook_name) == (0, "blocks.0.hook_resid_pre")


@pytest.mark.parametrize("masked", [True, False])
def test_flattened_and_too_long_input_is_refused_not_guessed(masked):
    adapter = SAEBenchAdapter(sae(masked=masked))
    with pytest.raises(PositionError, match=r"shape \(10, 4\) has no positions"):
        adapter(X.flatten(0, 1))
    with pytest.raises(PositionError, match=r"positions 0\.\.5 asked"):
        adapter.encode(torch.zeros(1, 6, 4))


@pytest.mark.parametrize("missing", ["model", "layer"])
def test_a_dictionary_of_unknown_origin_is_refused(missing):
    with pytest.raises(DictionaryError, match="SAEBench needs both"):
        SAEBenchAdapter(sae(**{missing: ""}))


def test_the_sae_is_left_alone():
    model = sae()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    SAEBenchAdapter(model).to(dtype=torch.float64)
    for name, value in model.state_dict().items():
        assert value.dtype == torch.float32 and torch.equal(value, before[name]), name
