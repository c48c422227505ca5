"""Models without training: by name, and as the twin of a real one."""

import pytest
import torch

from lens.activations import gguf_packages, random_models
from lens.activations.models import load
from tests.activations.hidden_states import TOKENS


def test_random_models_are_the_same_every_time(load_tiny):
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    a, b = load_tiny("gemma-3-tiny"), load_tiny("gemma-3-tiny")
    assert a.revision == b.revision != load_tiny("gpt2-tiny").revision
    assert torch.equal(a.residual_stream(TOKENS, [3])[3], b.residual_stream(TOKENS, [3])[3])
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.fixture
def prepared(load_tiny, tmp_path, monkeypatch):
    """A tiny model in the place of the prepared gemma-3-270m, with a tokenizer whose ids are not bytes."""
    real = load_tiny("gemma-3-tiny")
    with torch.no_grad():
        for weight in real.model.parameters():
            weight.add_(1)  # "trained": no draw of the initialiser
    real.model.save_pretrained(tmp_path)
    real.tokenizer.add_tokens(["the"])
    real.tokenizer.save_pretrained(tmp_path)
    monkeypatch.setattr(gguf_packages, "prepare", {"gemma-3-270m": tmp_path}.__getitem__)
    return real


def test_the_random_twin_of_a_real_model_reads_the_same_windows_with_other_weights(prepared):
    twin = load("random:gemma-3-270m", device="cpu", dtype=torch.float32)
    assert twin.tokenizer("the", add_special_tokens=False)["input_ids"] == [257]
    assert twin.bos_id == prepared.bos_id == 256
    assert twin.model.config.layer_types == prepared.model.config.layer_types
    real, drawn = prepared.model.state_dict(), twin.model.state_dict()
    assert {k: v.shape for k, v in real.items()} == {k: v.shape for k, v in drawn.items()}
    embedding = twin.model.get_input_embeddings().weight
    assert embedding.std() == pytest.approx(twin.model.config.initializer_range, rel=0.05)
    assert twin.quantisation == ""


def test_the_random_twin_depends_on_the_seed_alone(prepared):
    digests = [random_models.build("gemma-3-270m", torch.float32, seed)[2] for seed in (0, 0, 1)]
    assert digests[0] == digests[1] != digests[2]


def test_the_papers_model_has_the_papers_shape():
    config = random_models.config("gemma-2-2b")
    assert (config.num_hidden_layers, config.hidden_size, config.vocab_size) == (26, 2304, 256000)
    assert (config.final_logit_softcapping, config.attn_logit_softcapping) == (30.0, 50.0)


def test_byte_tokenizer_is_bytes():
    tokenizer = random_models.byte_tokenizer()
    text = "Où est\n  l'été? 🦉"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert ids == list(text.encode())
    assert tokenizer.decode(ids) == text
    assert tokenizer.bos_token_id == 256


@pytest.mark.parametrize("name", ["random:nothing", "random:/no/config.json"])
def test_an_unknown_random_model_lists_the_known(name):
    with pytest.raises(ValueError, match="gemma-3-tiny, gpt2-tiny, gemma-2-2b, gemma-3-270m, smollm2-135m or"):
        load(name)
