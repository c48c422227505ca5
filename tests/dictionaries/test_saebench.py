import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks import environment
from lens import checkout
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
    adapter.cfg.metadata = object()  # which SAEBench adds, and does not store
    cfg = adapter.cfg.to_dict()  # as it stores it
    assert json.loads(json.dumps(cfg)) == cfg | {"seqpos_slice": [None]}
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


def test_flattened_and_too_long_input_is_refused_not_guessed():
    adapter = SAEBenchAdapter(sae())
    with pytest.raises(PositionError, match=r"shape \(10, 4\) has no positions"):
        adapter(X.flatten(0, 1))
    with pytest.raises(PositionError, match=r"positions 0\.\.5 asked"):
        adapter.encode(torch.zeros(1, 6, 4))
    with pytest.raises(PositionError, match="windows of one vector"):
        adapter.encode(X.flatten(0, 1).unsqueeze(1))  # as MDL does


def test_padding_is_taken_on_the_right_alone():
    adapter = SAEBenchAdapter(sae())
    x = X.clone()
    x[:, 0] = 0  # BOS, as sparse probing leaves it
    right, left = x.clone(), x.clone()
    right[1, 3:], left[1, :2] = 0, 0
    short = x.clone()
    short[1] = 0  # nothing but BOS and padding
    assert torch.equal(adapter.encode(right)[:, :3], adapter.encode(x)[:, :3])
    adapter.encode(short)
    with pytest.raises(PositionError, match="padded on the left"):
        adapter.encode(left)


def test_without_a_position_term_vectors_need_no_positions():
    model = sae(masked=False)
    adapter = SAEBenchAdapter(model)
    assert torch.equal(adapter.encode(X.flatten(0, 1)), adapter.encode(X).flatten(0, 1))
    left = X.clone()
    left[:, :2] = 0
    assert torch.equal(adapter.encode(left)[:, 2:], adapter.encode(X)[:, 2:])
    assert adapter.encode(torch.zeros(1, 6, 4)).shape == (1, 6, 6)
    assert adapter.cfg.context_size == 5


def test_batch_topk_keeps_what_its_threshold_keeps():
    """Of the batch, training alone decides; the threshold is a buffer and no weight."""
    model = sae(masked=False, architecture="batch_topk", settings={"k": 2})
    model.architecture.threshold.fill_(1.0)
    adapter = SAEBenchAdapter(model)
    f = model.encode(X).dense()
    assert 0 < (f != 0).sum() < (torch.relu(X * 0.25 @ model.W_enc + model.architecture.b_enc) != 0).sum()
    torch.testing.assert_close(adapter.encode(X) * 0.25, f)
    torch.testing.assert_close(adapter(X), model(X))
    assert adapter.cfg.architecture == "jumprelu"


def test_a_gated_dictionary_has_the_bias_that_saebench_reads_of_one():
    config = info(4, 6, 5, masked=False, scale=0.25, model="m", layer="3", architecture="gated")
    adapter = SAEBenchAdapter(Dictionary.initialise(config, torch.arange(4.0), seed=1))
    assert not hasattr(adapter, "b_enc") and adapter.b_mag.shape == (6,)
    assert adapter.cfg.architecture == "gated"
    assert not hasattr(SAEBenchAdapter(sae()), "b_mag")


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


@pytest.mark.parametrize("changes", [{}, {"masked": False, "architecture": "gated"}], ids=["mask", "gated"])
def test_saebench_itself_pools_the_features_of_the_positions_that_texts_have(changes, tmp_path):
    if not Path(environment.python(environment.SAEBENCH)).exists():
        pytest.skip(
            f"SAEBench's environment {environment.SAEBENCH.name} is missing; make it (some minutes, once) with: "
            "python -c 'from benchmarks.environment import prepare_saebench; prepare_saebench()'"
        )
    config = info(**{"d_in": 4, "d_sae": 6, "T": 5, "tau": 0.5, "scale": 0.25, "model": "m", "layer": "3", **changes})
    model = Dictionary.initialise(config, torch.arange(4.0), seed=1)
    model.save(tmp_path / "sae")
    x = X.clone()
    x[:, 0], x[1, 3:] = 0, 0  # BOS and, on the right, padding
    save_file({"x": x}, tmp_path / "x.safetensors")
    script = Path(__file__).with_name("saebench_reads.py")
    variables = {**os.environ, "PYTHONPATH": str(checkout.root()), "HF_HUB_OFFLINE": "1"}
    command = [environment.python(environment.SAEBENCH), script, tmp_path]
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    f = model.encode(X).dense() / 0.25
    expected = torch.stack([f[0, 1:].mean(0), f[1, 1:3].mean(0)])
    torch.testing.assert_close(load_file(tmp_path / "read.safetensors")["pooled"], expected)
