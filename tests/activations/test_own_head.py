"""Logits are the model's own, whatever its head does: one tiny random model of each family."""

import json

import pytest
import torch
from transformers import PreTrainedModel

from lens.activations import models
from lens.activations.fingerprint import fingerprint
from lens.bf16 import products
from lens.measure.logit_lens import logit_lens

SMALL = {"vocab_size": 257, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "bos_token_id": 256}
GATED = {**SMALL, "intermediate_size": 64, "num_key_value_heads": 1, "head_dim": 16, "eos_token_id": None}
GATED["pad_token_id"] = None
GPT = {"vocab_size": 257, "n_embd": 32, "n_layer": 3, "n_head": 2, "bos_token_id": 256, "eos_token_id": None}
MAMBA = {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_chunk_size": 16}
FAMILIES = {
    # logits are divided or multiplied by a number
    "granite": {**GATED, "logits_scaling": 8.0},
    "granitemoe": {**GATED, "logits_scaling": 8.0, "num_local_experts": 4},
    "cohere": GATED,
    "cohere2": GATED,
    "falcon_h1": {**GATED, **MAMBA, "lm_head_multiplier": 0.03},
    "hyperclovax": {**GATED, "logits_scaling": 4.0},
    # ... capped
    "gemma2": {**GATED, "final_logit_softcapping": 5.0},
    "gemma3_text": {**GATED, "final_logit_softcapping": 5.0},
    "recurrent_gemma": {**GATED, "lru_width": 32, "logits_soft_cap": 5.0},
    # ... projected, biased, or made of transformed states
    "opt": {**GATED, "ffn_dim": 64, "word_embed_proj_dim": 16, "do_layer_norm_before": False},
    "phi": GATED,
    "gptj": {**GPT, "rotary_dim": 8},
    "bert": {**GATED, "is_decoder": True, "pad_token_id": 0},
    # ... nothing
    "gpt2": GPT,
    "gpt_neox": {**SMALL, "intermediate_size": 64, "eos_token_id": None},
    "bloom": {**SMALL, "n_layer": 3, "n_head": 2},
    "llama": GATED,
    "qwen2": GATED,
    "mixtral": {**GATED, "num_local_experts": 4},
    "mamba": {**SMALL, "state_size": 8},
    "openai-gpt": GPT,  # its blocks answer with lists
}
TOKENS = torch.randint(0, 256, (2, 12), generator=torch.Generator().manual_seed(0))


def build(tmp_path, family, config, dtype=torch.float32):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": family, **config}))
    model = models.load(f"random:{path}", device="cpu", dtype=dtype)
    with torch.no_grad():
        model.model.get_output_embeddings().weight.mul_(20)  # far from uniform, so that caps and scales show
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_the_logits_are_the_models_own(tmp_path, family):
    """Granite's came out 8 times too large, Cohere's 16: a scale that only their `forward` knows was left out."""
    model = build(tmp_path, family, FAMILIES[family])
    with torch.inference_mode(), products(model.device):
        own = model.model(input_ids=TOKENS).logits
    assert torch.equal(model.logits(model.spliced(TOKENS, 1, None)), own)
    same, changed = model.spliced_each(TOKENS, 1, [torch.clone, torch.zeros_like])
    assert torch.equal(model.logits(same[:, 3:7]), own[:, 3:7])
    assert not torch.allclose(model.logits(changed), own, rtol=0.1)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_that_was_read_is_the_same_model(tmp_path, family):
    """Hooks that transformers leaves where hidden states were asked for made it another one: it was extracted anew."""
    model = build(tmp_path, family, FAMILIES[family])
    ids, before = torch.arange(24)[None] % model.vocab_size, fingerprint(model.model)
    model.residual_stream(ids, [0])
    model.spliced(ids, 0, lambda x: x * 1.0)
    model.model(ids, output_hidden_states=True)
    assert fingerprint(model.model) == before


@pytest.mark.parametrize("family", ["cohere", "recurrent_gemma", "phi", "bert"])
def test_the_logit_lens_ranks_tokens_as_the_models_own_head_does(tmp_path, family):
    """BERT's was the order of other logits: its head transforms the states before it unembeds them."""
    model = build(tmp_path, family, FAMILIES[family])
    directions = torch.randn(3, 32, generator=torch.Generator().manual_seed(1))
    found = logit_lens(model, directions, 4).promoted_KN
    stream = (directions * 32**0.5)[None]
    with torch.inference_mode():
        last = model.n_layers - 1
        own = model.logits(model.spliced(torch.zeros(1, 3, dtype=torch.long), last, lambda _: stream))[0]
        bias = getattr(model.model.get_output_embeddings(), "bias", None)
    expected = (own if bias is None else own - bias).topk(4).indices
    assert found.tolist() == expected.tolist()


def refuse(model, message):
    for ask in (lambda: model.logits(torch.zeros(2, 32)), lambda: model.unembedded(torch.zeros(2, 32))):
        with pytest.raises(ValueError, match=message):
            ask()


def test_a_head_that_needs_more_than_the_last_states_is_refused_with_both_numbers(tmp_path, monkeypatch):
    """Wrong logits were used without a word."""
    model = build(tmp_path, "llama", FAMILIES["llama"])
    forward = type(model.model).forward

    def with_tokens(self: PreTrainedModel, input_ids: torch.Tensor, **options):
        output = forward(self, input_ids=input_ids, **options)
        output.logits = output.logits + input_ids[..., None]
        return output

    monkeypatch.setattr(type(model.model), "forward", with_tokens)
    refuse(model, r"LlamaForCausalLM doesn't make its logits .*: -?\d.* from them, 1\d\d.* from the whole model; .*fid")


def test_a_model_that_sees_later_tokens_is_refused(tmp_path):
    """BERT read both ways had a cross-entropy of tokens that it had seen."""
    refuse(build(tmp_path, "bert", {**FAMILIES["bert"], "is_decoder": False}), "BertLMHeadModel sees later tokens")


def test_a_forward_of_another_library_is_put_back(tmp_path):
    """accelerate's offloading was lost after the first splice: it is a `forward` of the instance."""
    model = build(tmp_path, "llama", FAMILIES["llama"])
    trunk, own = model.model.get_decoder(), []
    for module in (trunk, model.blocks[0]):
        own.append(module.forward)
        module.forward = own[-1]
    model.logits(model.spliced_each(TOKENS, 0, [None])[0])
    assert [module.__dict__["forward"] for module in (trunk, model.blocks[0])] == own
