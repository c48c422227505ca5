"""What decides the numbers of a model, and what does not."""

import json

import pytest
import torch

from lens.activations import models
from lens.activations.fingerprint import fingerprint

KINDS = ("sliding_attention", "full_attention")


@pytest.fixture
def saved(load_tiny, tmp_path):
    """A model in a folder."""
    model = load_tiny("gemma-3-tiny", torch.bfloat16)
    model.model.save_pretrained(tmp_path / "model")
    model.tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def of(folder, dtype=torch.bfloat16):
    return fingerprint(models.load(folder, device="cpu", dtype=dtype).model)


def edit(folder, file="config.json", **changes):
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"rms_norm_eps": 1.0},
        {"query_pre_attn_scalar": 64},
        {"rope_parameters": dict.fromkeys(KINDS, {"rope_type": "default", "rope_theta": 5.0})},
        {"layer_types": ["full_attention"] * 4},
        {"final_logit_softcapping": 1.0},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_an_edited_configuration_is_another_model(saved, changes):
    before = of(saved)
    edit(saved, **changes)
    assert of(saved) != before


@pytest.mark.parametrize(
    "name", ["model.embed_tokens.weight", "model.layers.2.mlp.up_proj.weight", "model.norm.weight"]
)
def test_a_single_weight_is_seen(load_tiny, name):
    model = load_tiny("gemma-3-tiny", torch.bfloat16).model
    before = fingerprint(model)
    weight = dict(model.named_parameters())[name].data.view(-1).view(torch.int16)
    weight[-1] ^= 1  # the last bit
    assert fingerprint(model) != before
    weight[-1] ^= 1
    assert fingerprint(model) == before


def test_two_weights_that_change_places_are_seen(load_tiny):
    model = load_tiny("gemma-3-tiny").model
    before = fingerprint(model)
    rows = dict(model.named_parameters())["model.embed_tokens.weight"].data
    rows[[0, 1]] = rows[[1, 0]]
    assert fingerprint(model) != before


def test_precision_and_kernels_are_seen(saved):
    before = of(saved)
    assert of(saved, torch.float32) != before
    model = models.load(saved, device="cpu").model
    model.set_attn_implementation("eager")
    assert fingerprint(model) != before


def test_what_hooks_do_to_a_model_is_seen(load_tiny):
    """A steered or patched model took the activations of the plain one from the pool."""
    model = load_tiny("gemma-3-tiny")
    plain = fingerprint(model.model)
    found = []
    for factor in (1.0, 2.0, 2.0):
        hook = model.blocks[1].register_forward_hook(lambda module, args, out, factor=factor: out * factor)
        found.append(fingerprint(model.model))
        hook.remove()
    assert found[0] != found[1] == found[2]
    assert fingerprint(model.model) == plain and "answer" not in plain
    forward = model.blocks[1].forward
    model.blocks[1].forward = lambda *args, **kwargs: forward(*args, **kwargs) * 2
    assert fingerprint(model.model) == found[1]


def test_weights_without_values_are_named(load_tiny):
    with pytest.raises(ValueError, match="weight has no values: the model was made on the device meta"):
        fingerprint(load_tiny("gemma-3-tiny").model.to("meta"))


def test_place_name_and_how_text_is_generated_are_not(saved):
    before = of(saved)
    edit(saved, transformers_version="4.0", use_cache=False, eos_token_id=7, architectures=["Gemma3ForCausalLM"])
    edit(saved, "generation_config.json", temperature=0.5, top_k=3)
    moved = saved.rename(saved.with_name("elsewhere"))
    assert of(moved) == before


def relu_in_place_of_its_own(model):
    model.blocks[1].mlp.act_fn = torch.nn.ReLU()


def another_scale(model):
    model.blocks[1].self_attn.scaling = 5.0


def other_frequencies(model):
    dict(model.model.named_buffers())["model.rotary_emb.full_attention_inv_freq"].mul_(0.01)


@pytest.mark.parametrize("change", [relu_in_place_of_its_own, another_scale, other_frequencies])
def test_what_modules_do_beside_their_weights_is_seen(load_tiny, change):
    """The dictionary of the model as it was came back, bit for bit."""
    model = load_tiny("gemma-3-tiny")
    before = fingerprint(model.model)
    change(model)
    assert fingerprint(model.model) != before


def times(factor):
    return lambda self, x: x * factor


def test_a_class_whose_code_was_replaced_is_seen(load_tiny, monkeypatch):
    model = load_tiny("gemma-3-tiny")
    before = fingerprint(model.model)
    found = [before]
    for factor in (2, 3):
        monkeypatch.setattr(type(model.blocks[1].mlp), "forward", lambda self, x, factor=factor: x * factor)
        found.append(fingerprint(model.model))
        monkeypatch.setattr(type(model.blocks[1].mlp), "forward", times(factor))
        found.append(fingerprint(model.model))
    for function in (lambda self, x: x * 2, lambda self, x: x * 3):
        monkeypatch.setattr(type(model.blocks[1].mlp), "forward", function)
        found.append(fingerprint(model.model))
    assert len({str(x) for x in found}) == len(found)
    monkeypatch.undo()
    assert fingerprint(model.model) == before


def test_packed_weights_are_named(load_tiny, monkeypatch):
    """Of layers that PyTorch quantised, `state_dict` holds tuples."""
    model = load_tiny("gemma-3-tiny").model
    monkeypatch.setattr(model, "state_dict", lambda: {"q_proj._packed_params": (torch.ones(1), None)})
    with pytest.raises(
        ValueError, match="q_proj._packed_params is packed .tuple., .*: pass the model as it was before"
    ):
        fingerprint(model)
