"""The residual stream after each layer, and what can be asked for."""

import json

import numpy as np
import pytest
import torch

from lens.activations import models
from lens.activations.language_model import check_layers
from tests.activations.hidden_states import TOKENS, hidden_states


def test_residual_stream_is_what_the_model_reports(tiny):
    caught = tiny.residual_stream(TOKENS, [0, "embedding", 1])
    reported = hidden_states(tiny)
    assert list(caught) == [0, "embedding", 1]
    assert torch.equal(caught["embedding"], reported[0])
    assert torch.equal(caught[0], reported[1])
    assert torch.equal(caught[1], reported[2])
    assert caught[0].shape == (2, 12, tiny.d_model)


@pytest.mark.parametrize(("name", "norm"), [("gemma-3-tiny", "norm"), ("gpt2-tiny", "ln_f")])
def test_last_block_is_before_the_final_norm(load_tiny, name, norm):
    model = load_tiny(name)
    last = model.residual_stream(TOKENS, [model.n_layers - 1])[model.n_layers - 1]
    reported = hidden_states(model)[-1]
    assert not torch.equal(last, reported)
    assert torch.equal(getattr(model.model.get_decoder(), norm)(last), reported)


def test_nothing_runs_after_the_last_block_asked_for(tiny):
    def never(*_):
        raise AssertionError("ran too far")

    tiny.residual_stream(TOKENS, [0])  # the first time, what is read is compared with what the whole model answers
    handles = [m.register_forward_hook(never) for m in (tiny.blocks[2], tiny.model.get_output_embeddings())]
    tiny.residual_stream(TOKENS, [1, 0])
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("name", ["gemma-3-tiny", "llama", "gpt_neox", "gemma2"])
def test_rotary_models_do_not_know_where_a_window_starts(load_tiny, name):
    model = load_tiny(name)
    here, there = (model.residual_stream(TOKENS, [2], first_position=first)[2] for first in (0, 1000))
    assert torch.allclose(here, there, rtol=0, atol=1e-3 * here.norm(dim=-1).mean().item())


def test_absolute_positions_are_in_the_embedding(load_tiny):
    model = load_tiny("gpt2-tiny")
    here, there = (model.residual_stream(TOKENS, ["embedding"], first_position=f)["embedding"] for f in (0, 1000))
    assert (here - there).norm() > 0.1 * here.norm()


def test_a_position_sees_no_later_token(tiny):
    changed = TOKENS.clone()
    changed[:, 7:] = 0
    a, b = (tiny.residual_stream(tokens, [2])[2] for tokens in (TOKENS, changed))
    assert torch.allclose(a[:, :7], b[:, :7], atol=1e-5)
    assert not torch.allclose(a[:, 7:], b[:, 7:], atol=1e-3)


@pytest.mark.parametrize("token", [257, -1])
def test_a_token_without_an_embedding_is_refused_with_both_numbers(load_tiny, token):
    """A BOS that was added to the tokenizer alone was an index out of range, on a GPU a device-side assertion."""
    model = load_tiny("gemma-3-tiny")
    tokens = torch.tensor([[1, token, 2]])
    for ask in (lambda: model.residual_stream(tokens, [0]), lambda: model.spliced(tokens, 0, None)):
        with pytest.raises(ValueError, match=f"token {token} is not among the 257 .* its tokenizer has 257: .*resize"):
            ask()


def test_a_model_in_training_mode_is_read_in_evaluation_mode(load_tiny):
    """As one is after fine-tuning: its dropout was in the activations."""
    model = load_tiny("gpt2-tiny")
    assert model.model.config.resid_pdrop > 0
    expected = model.residual_stream(TOKENS, [1])[1], model.spliced(TOKENS, 1, None)
    model.model.train()
    found = model.residual_stream(TOKENS, [1])[1], model.spliced(TOKENS, 1, None)
    assert all(map(torch.equal, expected, found)) and all(m.training for m in model.model.modules())


def test_activations_that_are_not_finite_are_named(load_tiny):
    model = load_tiny("gemma-3-tiny")
    with torch.no_grad():
        model.blocks[1].mlp.down_proj.weight[0, 0] = torch.inf
    model.residual_stream(TOKENS, [0])
    with pytest.raises(ValueError, match=r"\d+ of \d+ activations at layer 1 are NaN or infinite .*: load"):
        model.residual_stream(TOKENS, [0, 1])


def test_layers_may_be_integers_of_numpy(load_tiny):
    """They were no layers of any model."""
    model = load_tiny("gemma-3-tiny")
    assert check_layers(model, np.arange(2)) == [0, 1]
    tokens = TOKENS.numpy().astype(np.int32)
    assert torch.equal(model.residual_stream(tokens, [np.int64(1)])[1], model.residual_stream(TOKENS, [1])[1])
    zeroed = [model.spliced(TOKENS, layer, torch.zeros_like) for layer in (np.int32(1), 1)]
    assert torch.equal(*zeroed)
    assert torch.equal(model.spliced_each(TOKENS, np.int8(1), [torch.zeros_like])[0], zeroed[0])


@pytest.mark.parametrize("layers", [[4], [0, 19], [-1], [True], ["embeddings"], []])
def test_a_layer_the_model_does_not_have_is_refused_with_its_depth(load_tiny, layers):
    model = load_tiny("gemma-3-tiny")
    with pytest.raises(ValueError, match="4 blocks .* width 32"):
        model.residual_stream(TOKENS, layers)


def test_gemma_2b_is_not_taken_for_gemma_2_2b(load_tiny):
    gemma_2b = load_tiny("llama", num_hidden_layers=18, hidden_size=64)
    with pytest.raises(ValueError, match=r"no layer 19: .* has 18 blocks \(0 to 17\) of width 64"):
        check_layers(gemma_2b, [5, 12, 19])
    with pytest.raises(ValueError, match="width 2304 expected: .* width 64"):
        check_layers(gemma_2b, [5, 12], d_model=2304)


def random_model(folder, **config):
    special = {"bos_token_id": 256, "eos_token_id": None, "pad_token_id": None, "vocab_size": 257}
    (folder / "c.json").write_text(json.dumps(special | config))
    return models.load(f"random:{folder / 'c.json'}", dtype=torch.float32, device="cpu")


def test_blocks_that_are_not_those_of_the_stream_are_refused(tmp_path):
    """XLM keeps its attentions in a list of the same length as its blocks would be."""
    model = random_model(tmp_path, model_type="xlm", emb_dim=32, n_layers=4, n_heads=2, pad_token_id=1, causal=True)
    with pytest.raises(ValueError, match="XLMWithLMHeadModel are not the hidden states that it answers itself"):
        model.residual_stream(TOKENS, [1])


def test_a_stream_of_another_shape_is_refused(tmp_path):
    """XLNet's is [T, B, d]."""
    model = random_model(tmp_path, model_type="xlnet", d_model=32, n_layer=4, n_head=2, d_inner=64)
    with pytest.raises(ValueError, match=r"where \[B, T, d\] = .* is expected"):
        model.residual_stream(TOKENS, [1])


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "llama4_text", "num_key_value_heads": 1, "num_local_experts": 2, "intermediate_size_mlp": 64,
         "head_dim": 16},
        {"model_type": "bart", "d_model": 32, "encoder_layers": 2, "decoder_layers": 4, "decoder_attention_heads": 2,
         "decoder_ffn_dim": 64, "encoder_attention_heads": 2, "encoder_ffn_dim": 64, "pad_token_id": 1},
        {"model_type": "modernbert-decoder", "pad_token_id": 1, "cls_token_id": 1, "sep_token_id": 2},
    ],
    ids=lambda config: config["model_type"],
)  # fmt: skip
def test_the_trunk_is_found_where_a_family_calls_something_else_its_decoder(tmp_path, config):
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 2}
    model = random_model(tmp_path, **(size if "d_model" not in config else {}), **config)
    assert model.n_layers == len(model.blocks) == 4
    with torch.inference_mode():
        own = model.model(input_ids=TOKENS, use_cache=False, output_hidden_states=True)
    assert torch.equal(model.residual_stream(TOKENS, [1])[1], own.hidden_states[2])
    torch.testing.assert_close(model.logits(model.spliced(TOKENS, 1, None)), own.logits)


def test_blocks_that_hand_on_more_than_their_output_are_run_each_time(tmp_path):
    """Gemma 4 keeps keys and values that later blocks share."""
    shared = {"num_kv_shared_layers": 2, "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 257}
    model = random_model(
        tmp_path, model_type="gemma4_text", hidden_size=32, intermediate_size=64, num_hidden_layers=4,
        num_attention_heads=2, num_key_value_heads=1, head_dim=16, global_head_dim=16,
        layer_types=["sliding_attention", "full_attention"] * 2, **shared,
    )  # fmt: skip
    found = model.spliced_each(TOKENS, 1, [None, torch.zeros_like])
    assert torch.equal(found[0], model.spliced(TOKENS, 1, None))
    assert torch.equal(found[1], model.spliced(TOKENS, 1, torch.zeros_like))
