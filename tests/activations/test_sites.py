"""What MLPs are given, against the model's own modules."""

import pytest
import torch
import transformers

from lens.activations import models
from lens.activations.hooks import Site
from lens.activations.sites import activations_at

TOKENS = 1 + torch.arange(40).reshape(2, 20)  # token 0 is embedded as zeros
LLAMA = {"vocab_size": 257, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
LLAMA |= {"num_attention_heads": 2, "num_key_value_heads": 2, "bos_token_id": 256, "eos_token_id": None}


def open_model(name: str, tmp_path):
    if name == "llama":
        config = tmp_path / "config.json"
        transformers.LlamaConfig(**LLAMA).to_json_file(config)
        name = f"random:{config}"
    model = models.load(name, dtype=torch.float32)
    torch.manual_seed(0)
    for block in model.blocks:  # as drawn, norms have no gain
        for child in block.children():
            if "norm" in type(child).__name__.lower():
                for parameter in child.parameters():
                    parameter.add_(0.3 * torch.randn(parameter.shape))
    return model


@pytest.mark.parametrize(
    ("name", "norm"),
    [
        ("random:gemma-3-tiny", "pre_feedforward_layernorm"),
        ("llama", "post_attention_layernorm"),
        ("random:gpt2-tiny", "ln_2"),
    ],
)
def test_places_are_those_around_the_norm_before_the_mlp(name, norm, tmp_path):
    model = open_model(name, tmp_path)
    block = model.blocks[1]
    given = activations_at(model, TOKENS, Site(1, "mlp_in"))
    middle = activations_at(model, TOKENS, Site(1, "resid_mid"))
    plain = activations_at(model, TOKENS, Site(1, "normalised"))
    assert torch.equal(getattr(block, norm)(middle), given)
    after = model.residual_stream(TOKENS, [1])[1]
    written = block.mlp(given)
    if hasattr(block, "post_feedforward_layernorm"):
        written = block.post_feedforward_layernorm(written)
    assert torch.allclose(middle + written, after, atol=1e-5)
    if name == "random:gpt2-tiny":
        assert plain.mean(-1).abs().max() < 1e-4
        assert torch.allclose(plain * block.ln_2.weight + block.ln_2.bias, given, atol=1e-5)
    else:
        gain = block.pre_feedforward_layernorm.weight + 1 if "gemma" in name else block.post_attention_layernorm.weight
        assert torch.allclose(plain * gain, given, atol=1e-5)
    assert (plain.square().mean(-1) - 1).abs().max() < 0.05
    assert not torch.allclose(plain, given, atol=0.01)


def test_in_bf16_the_gain_is_found_too():
    model = models.load("random:gemma-3-tiny", dtype=torch.bfloat16)
    model.blocks[1].pre_feedforward_layernorm.weight.add_(torch.linspace(-0.5, 2, 32))
    plain = activations_at(model, TOKENS, Site(1, "normalised"))
    assert plain.dtype == torch.bfloat16
    assert (plain.float().square().mean(-1) - 1).abs().max() < 0.05


def test_what_is_not_there_is_refused(tmp_path):
    model = open_model("random:gemma-3-tiny", tmp_path)
    with pytest.raises(ValueError, match="has blocks 0 to 3, no mlp_in is known of block 4"):
        activations_at(model, TOKENS, Site(4, "mlp_in"))
    block = model.blocks[1]
    block.pre_feedforward_layernorm = torch.nn.Sequential(block.pre_feedforward_layernorm)
    assert activations_at(model, TOKENS, Site(1, "resid_mid")).shape == (2, 20, 32)
    with pytest.raises(ValueError, match="Sequential is no LayerNorm or RMSNorm"):
        activations_at(model, TOKENS, Site(1, "normalised"))
    block.pre_feedforward_layernorm = torch.nn.Identity()  # its output is its input, and nothing tells them apart
    block.mlp, block.other = torch.nn.Identity(), block.mlp
    del block.mlp
    with pytest.raises(ValueError, match="an MLP is called mlp"):
        activations_at(model, TOKENS, Site(1, "mlp_in"))
