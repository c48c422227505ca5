"""Opening a language model by name or path."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lens.activations import gguf_packages
from lens.activations.language_model import check_layers
from lens.activations.models import load, opened
from lens.errors import ConfigError
from tests.activations.hidden_states import TOKENS


def test_a_saved_model_is_opened_by_its_path(load_tiny, tmp_path):
    model = load_tiny("gemma-3-tiny")
    model.model.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    again = load(str(tmp_path), device="cpu", dtype=torch.float32)
    assert torch.equal(again.residual_stream(TOKENS, [3])[3], model.residual_stream(TOKENS, [3])[3])
    assert again.revision == hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()
    assert (again.n_layers, again.d_model, again.bos_id, again.vocab_size) == (4, 32, 256, 257)


def test_damaged_weights_are_named(load_tiny, tmp_path):
    """A cut model.safetensors was a SafetensorError that named nothing."""
    model = load_tiny("gemma-3-tiny")
    model.model.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    with pytest.raises(OSError, match=f"language model '{tmp_path}' could not be opened"):
        load(tmp_path)


def test_weights_that_are_missing_are_not_drawn_at_random(load_tiny, tmp_path):
    model = load_tiny("gemma-3-tiny")
    model.model.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    weights, lost = load_file(tmp_path / "model.safetensors"), "model.layers.2.mlp.down_proj.weight"
    save_file({k: v for k, v in weights.items() if k != lost}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(OSError, match=f"'{tmp_path}' could not be opened.*lack the weights {lost}: get them again"):
        load(tmp_path)


def test_a_folder_without_a_tokenizer_is_named(load_tiny, tmp_path):
    """`transformers` makes one without a vocabulary."""
    load_tiny("gemma-3-tiny").model.save_pretrained(tmp_path)
    with pytest.raises(OSError, match="the folder has no tokenizer .*tokenizer.save_pretrained"):
        load(tmp_path)


CONFIGS = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 24},
    "opt": {"hidden_size": 32, "word_embed_proj_dim": 32, "ffn_dim": 64, "num_hidden_layers": 2},
    "gpt_neo": {"hidden_size": 32, "num_layers": 2, "num_heads": 2, "attention_types": [[["global", "local"], 1]]},
    "llama": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2},
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_positions_that_a_model_has_not_learned_are_named(tmp_path, kind):
    """It was an IndexError. A rotary model computes them."""
    heads = {"num_attention_heads": 2, "max_position_embeddings": 24, "vocab_size": 257}
    config = {"model_type": kind, "bos_token_id": 256, "eos_token_id": None, "pad_token_id": None, **heads}
    (tmp_path / "c.json").write_text(json.dumps(config | CONFIGS[kind]))
    model = load(f"random:{tmp_path / 'c.json'}", dtype=torch.float32)
    ids = torch.arange(25)[None]
    assert model.residual_stream(ids[:, :24], [1])[1].shape == (1, 24, 32)
    if kind == "llama":
        assert model.residual_stream(ids, [1])[1].shape == (1, 25, 32)
        return
    with pytest.raises(ValueError, match=r"positions up to 24 .* has learned 24 \(0 to 23\): pass length=24 or less"):
        model.residual_stream(ids, [1])
    with pytest.raises(ValueError, match="positions up to 25 "):
        model.residual_stream(ids[:, :20], [1], first_position=6)


def test_weights_that_the_configuration_has_no_place_for_are_pointed_out(load_tiny, tmp_path):
    """A folder whose config.json says another kind of model was read without them."""
    model = load_tiny("gemma-3-tiny")
    model.model.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors") | {"model.layers.1.self_attn.q_proj.bias": torch.ones(32)}
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.warns(UserWarning, match="no place for .model.layers.1.self_attn.q_proj.bias.*is its config.json the"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head_dim": 8}, "other shapes than its config.json says. Get its files again"),
        ({"rms_norm_eps": "x"}, "rms_norm_eps.* Get its files again"),
        ({"model_type": "qwen3"}, "Get its files again"),
    ],
)
def test_a_damaged_configuration_is_named(load_tiny, tmp_path, changes, message):
    model = load_tiny("gemma-3-tiny")
    model.model.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    with pytest.raises(OSError, match=f"language model '{tmp_path}' could not be opened: .*{message}"):
        load(tmp_path)


def test_a_device_that_is_not_there_is_named():
    for device in ("meta", *(() if torch.cuda.is_available() else ("cuda",))):
        with pytest.raises(ValueError, match=f"device {device} .*: leave it out"):
            load("random:gemma-3-tiny", device=device)


def test_a_model_of_transformers_in_the_place_of_one_of_lens_is_named(load_tiny):
    with pytest.raises(ConfigError, match="a Gemma3ForCausalLM where a language model of lens is expected: lens.load_"):
        opened(load_tiny("gemma-3-tiny").model)
    model = load_tiny("gemma-3-tiny")
    assert opened(model) is model


@pytest.mark.parametrize("name", ["google/gemma-2-2b", "gemma-3-270M"])
def test_an_unreachable_hub_names_the_model_and_what_works_without(offline, name):
    with pytest.raises(OSError, match=f"'{name}' could not be opened.*no hub: gemma-3-270m, smollm2-135m, all-minilm"):
        load(name)


def test_a_misspelt_name_gets_a_suggestion(offline):
    with pytest.raises(OSError, match="did you mean 'gemma-3-270m'"):
        load("gemma-3-270M")


def test_cuda_is_used_where_there_is_one():
    assert load("random:gpt2-tiny").device.type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.skipif(
    not Path(gguf_packages.prepared() / "gemma-3-270m").exists(), reason="gemma-3-270m is not prepared on this machine"
)
def test_gemma_3_270m_reads_english_and_has_its_attention_sink():
    model = load("gemma-3-270m", device="cpu")
    text = (
        "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness, "
        "it was the epoch of belief, it was the epoch of incredulity, it was the season of Light"
    )
    ids = torch.tensor([[model.bos_id, *model.tokenizer(text, add_special_tokens=False)["input_ids"]]])
    logits = model.logits(model.spliced(ids, 8, None)).float()
    loss = torch.nn.functional.cross_entropy(logits[0, :-1], ids[0, 1:])
    assert loss < 1.5  # nats; uniform over the vocabulary would be 12.5
    stream = model.residual_stream(ids, [8])[8].float()
    assert stream[0, 0].abs().max() > 5e4
    assert stream[0, 1:].abs().max() < 1e4
    assert "dequantised" in model.quantisation
    assert check_layers(model, [3, 8, 13], d_model=640) == [3, 8, 13]
