"""Transcoders, of which the encoder alone is read: files of each library, with the values they must give."""

import json

import pytest
import torch
from safetensors.torch import save_file

import lens
from lens.activations.hooks import Site
from lens.dictionaries.compatible import check_hook, place_of
from lens.dictionaries.encoder import Encoder
from lens.dictionaries.load import load
from lens.errors import DictionaryError
from tests.dictionaries.folders import GEMMA_3, JUMPED, RELU, THRESHOLD, WEIGHTS, X, gemma_scope, gemma_scope_2, saelens

WRITES = {"W_dec": torch.ones(3, 5), "b_dec": torch.ones(5)}  # another width than it reads
READS = {name: WEIGHTS[name] for name in ("W_enc", "b_enc")}
SKIP = {"W_skip": torch.ones(5, 2)}
TRANSPOSED = {"W_enc": WEIGHTS["W_enc"].T, "b_enc": WEIGHTS["b_enc"]}
ELSEWHERE = {"model_name": "a-model", "hook_name": "blocks.8.ln2.hook_normalized", "sae_lens_version": "6.54.12"}


def circuit_tracer(folder, name: str, weights: dict, **config):
    folder.mkdir(parents=True, exist_ok=True)
    save_file({key: value.contiguous() for key, value in weights.items()}, folder / name)
    if config:
        (folder / "config.yaml").write_text(json.dumps(config))  # which is YAML, too
    return folder / name


@pytest.mark.parametrize(
    ("architecture", "weights", "features"),
    [
        ("transcoder", {}, RELU),
        ("skip_transcoder", SKIP, RELU),
        ("jumprelu_transcoder", {"threshold": THRESHOLD}, JUMPED),
        ("jumprelu_skip_transcoder", {"threshold": THRESHOLD, **SKIP}, JUMPED),
    ],
)
def test_saelens(tmp_path, architecture, weights, features):
    changes = {"architecture": architecture, "metadata": ELSEWHERE, "d_out": 5}
    read = load(saelens(tmp_path, READS | WRITES | weights, **changes))
    assert isinstance(read, Encoder)
    assert read.encode(X).dense().tolist() == features
    assert (read.info.model, read.info.hook, read.info.layer) == ("a-model", ELSEWHERE["hook_name"], "")
    assert place_of(read) == Site(8, "normalised")


def test_gemma_scope(tmp_path):
    read = load(gemma_scope(tmp_path / "gemma-scope-2b-pt-transcoders" / "layer_3" / "width_16k" / "average_l0_54"))
    assert isinstance(read, Encoder)
    assert read.encode(X).dense().tolist() == JUMPED
    assert (read.info.model, place_of(read), read.stated_l0) == ("google/gemma-2-2b", Site(3, "normalised"), 54)


@pytest.mark.parametrize("skip", [{}, {"affine_skip_connection": torch.eye(2)}])
def test_gemma_scope_2(tmp_path, skip):
    place = {
        "hf_hook_point_in": "model.layers.5.pre_feedforward_layernorm.output",
        "hf_hook_point_out": "model.layers.5.post_feedforward_layernorm.output",
        "affine_connection": bool(skip),
        "type": "transcoder",
    }
    release = tmp_path / "gemma-scope-2-270m-it" / "transcoder_all" / "layer_5_width_16k_l0_small_affine"
    for folder, config in ((tmp_path / "a", GEMMA_3 | place), (release, None)):  # its folders say as much
        read = load(gemma_scope_2(folder, config, **skip))
        assert isinstance(read, Encoder)
        assert read.encode(X).dense().tolist() == JUMPED
        assert (place_of(read), read.info.name) == (Site(5, "mlp_in"), "gemma_scope_2-transcoder")
    assert read.info.model == "google/gemma-3-270m-it"


@pytest.mark.parametrize(
    ("weights", "config", "features"),
    [
        ({}, {}, RELU),
        ({}, {"activation": "relu"}, RELU),
        ({"W_skip": torch.ones(2, 2)}, {}, RELU),
        ({"activation_function.threshold": THRESHOLD}, {}, JUMPED),
        ({"activation_function.threshold": THRESHOLD}, {"activation": "jump_relu"}, JUMPED),
        ({"k": torch.tensor(1)}, {"activation": "topk", "k": 1}, [[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
    ],
)
def test_circuit_tracer(tmp_path, weights, config, features):
    config = {"model_name": "a/model", "model_kind": "transcoder_set", "feature_input_hook": "mlp.hook_in"} | config
    file = circuit_tracer(tmp_path, "layer_12.safetensors", TRANSPOSED | WRITES | weights, **config)
    for source in (file, tmp_path):
        read = load(source)
        assert isinstance(read, Encoder)
        assert read.encode(X).dense().tolist() == features
        assert (read.info.model, place_of(read)) == ("a/model", Site(12, "mlp_in"))


def test_circuit_tracer_across_layers(tmp_path):
    """Decoders lie in files of their own and aren't opened."""
    for layer in (0, 12):
        own = {f"{name}_{layer}": value for name, value in TRANSPOSED.items()} | {f"b_dec_{layer}": torch.ones(5)}
        own |= {"threshold_12": THRESHOLD} if layer else {}
        circuit_tracer(tmp_path, f"W_enc_{layer}.safetensors", own, feature_input_hook="hook_resid_mid")
        (tmp_path / f"W_dec_{layer}.safetensors").write_bytes(b"never read")
    for layer, features in ((0, RELU), (12, JUMPED)):
        read = load(tmp_path / f"W_enc_{layer}.safetensors")
        assert read.encode(X).dense().tolist() == features
        assert place_of(read) == Site(layer, "resid_mid")
    with pytest.raises(DictionaryError, match="give one of these files"):
        load(tmp_path)
    for hook, place in (("blocks.{layer}.hook_resid_pre", 11), ("blocks.{layer}.hook_resid_post", 12)):
        (tmp_path / "config.yaml").write_text(json.dumps({"feature_input_hook": hook}))
        assert place_of(load(tmp_path / "W_enc_12.safetensors")) == place


@pytest.mark.parametrize(
    ("name", "weights", "config", "message"),
    [
        ("layer_1.safetensors", {"W_enc": torch.ones(3, 2)}, {}, "holds .*this kind of dictionary has .*'b_enc'"),
        ("layer_1.safetensors", TRANSPOSED | {"more": X}, {}, "holds .*'more'"),
        ("layer_1.safetensors", TRANSPOSED | {"W_enc": torch.ones(3)}, {}, "a matrix .* is needed"),
        ("layer_1.safetensors", TRANSPOSED | {"b_enc": torch.ones(4)}, {}, "weights have shapes .*needs"),
        ("layer_1.safetensors", TRANSPOSED, {"activation": "jump_relu"}, "without thresholds"),
        ("layer_1.safetensors", TRANSPOSED, {"activation": "gelu"}, "known are relu, jump_relu, topk"),
        ("layer_1.safetensors", TRANSPOSED, {"activation": "topk"}, "config.yaml has no 'k'"),
        ("layer_1.safetensors", TRANSPOSED | {"threshold": -THRESHOLD}, {}, "3 thresholds are below 0"),
        ("layer_x.safetensors", TRANSPOSED, {}, "doesn't say which layer"),
    ],
)
def test_circuit_tracer_files_that_do_not_fit(tmp_path, name, weights, config, message):
    file = circuit_tracer(tmp_path, name, weights, **config)
    with pytest.raises(DictionaryError, match=message) as error:
        load(file)
    assert str(file) in str(error.value)


@pytest.fixture
def read(tmp_path) -> Encoder:
    found = load(circuit_tracer(tmp_path, "layer_1.safetensors", TRANSPOSED | WRITES, feature_input_hook="mlp.hook_in"))
    assert isinstance(found, Encoder)
    return found


def test_what_needs_a_reconstruction_is_refused_with_the_reason(read, tmp_path):
    for ask in (
        lambda: read.decode(read.encode(X)),
        lambda: read(X),
        lambda: read.directions,
        lambda: read.save(tmp_path / "mine"),
        lambda: lens.export_saelens(read, tmp_path / "theirs", None),
        lambda: lens.push_to_hub(read, "me/mine"),
    ):
        with pytest.raises(DictionaryError, match="reads blocks.1.mlp.hook_in and writes another"):
            ask()
    with pytest.raises(DictionaryError, match="writes elsewhere than it reads"):
        lens.SAEBenchAdapter(read)
    with pytest.raises(DictionaryError, match="activations of width 3, this encoder reads 2"):
        read.encode(torch.ones(1, 3))


def test_it_is_read_at_the_place_that_it_names_and_nowhere_else(read):
    assert place_of(read, 1) == place_of(read) == Site(1, "mlp_in")
    with pytest.raises(DictionaryError, match="layer 2 asked, .* reads blocks.1.mlp.hook_in"):
        place_of(read, 2)
    for hook in ("blocks.1.mlp.hook_in", "model.layers.1.mlp.input"):
        check_hook(read, hook)
    for hook in ("", "blocks.1.hook_resid_post", "blocks.2.mlp.hook_in", "somewhere"):
        with pytest.raises(DictionaryError, match="reads blocks.1.mlp.hook_in, these activations were read .*hook="):
            check_hook(read, hook)


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        ("", "doesn't say where in a model it reads"),
        ("blocks.1.hook_mlp_in", "read the activations where it was trained"),
        ("blocks.1.attn.hook_z", "is not known; known are"),
    ],
)
def test_places_that_are_not_known_are_refused(tmp_path, hook, message):
    (tmp_path / "config.yaml").write_text(json.dumps({"feature_input_hook": hook}))
    found = load(circuit_tracer(tmp_path, "layer_1.safetensors", TRANSPOSED))
    with pytest.raises(DictionaryError, match=message):
        place_of(found)
    check_hook(found, hook)  # on activations that were read there it is profiled
