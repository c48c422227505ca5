"""Small folders of each format, written by hand, with the values they must give; and what broken ones get."""

import io
import json
import os
import resource
import warnings
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lens.dictionaries.dictionary import Dictionary, Info
from lens.dictionaries.load import load
from lens.errors import DictionaryError

X = torch.tensor([[2.0, -3.0], [0.5, 1.0]])
WEIGHTS = {
    "W_enc": torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]),
    "b_enc": torch.tensor([0.0, 0.0, -1.0]),
    "W_dec": torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]),
    "b_dec": torch.tensor([10.0, 0.0]),
}
RELU = [[2.0, 0.0, 0.0], [0.5, 1.0, 0.5]]  # ReLU(x W_enc + b_enc)
SHIFTED = [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]  # ReLU((x - b_dec) W_enc + b_enc)
THRESHOLD = torch.tensor([0.5, 0.4, 0.4])
JUMPED = [[2.0, 0.0, 0.0], [0.0, 1.0, 0.5]]

SAELENS = {
    "architecture": "standard",
    "d_in": 2,
    "d_sae": 3,
    "dtype": "float32",
    "device": "cpu",
    "apply_b_dec_to_input": False,
    "normalize_activations": "none",
    "reshape_activations": "none",
    "metadata": {"model_name": "a-model", "hook_name": "blocks.8.hook_resid_post", "sae_lens_version": "6.54.12"},
}
SPARSIFY = {"d_in": 2, "num_latents": 3, "expansion_factor": 32, "k": 1, "normalize_decoder": True, "signed": False}
SPARSIFY_WEIGHTS = {
    "encoder.weight": WEIGHTS["W_enc"].T,
    "encoder.bias": WEIGHTS["b_enc"],
    "W_dec": WEIGHTS["W_dec"],
    "b_dec": WEIGHTS["b_dec"],
}
TRAINER = {"activation_dim": 2, "dict_size": 3, "layer": 8, "lm_name": "a/model", "seed": 4}
LINEAR = {
    "encoder.weight": WEIGHTS["W_enc"].T,
    "encoder.bias": WEIGHTS["b_enc"],
    "decoder.weight": WEIGHTS["W_dec"].T,
}


def write(folder, config: dict | None, weights: dict, config_name: str, weights_name: str):
    folder.mkdir(parents=True, exist_ok=True)
    if config is not None:
        (folder / config_name).write_text(json.dumps(config))
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / weights_name)
    return folder


def saelens(folder, weights=WEIGHTS, **changes):
    return write(folder, {**SAELENS, **changes}, weights, "cfg.json", "sae_weights.safetensors")


def sparsify(folder, weights=SPARSIFY_WEIGHTS, **changes):
    return write(folder, {**SPARSIFY, **changes}, weights, "cfg.json", "sae.safetensors")


def dictionary_learning(folder, name: str, state: dict, buffer: dict | None = None, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    trainer = {**TRAINER, "dict_class": name, **changes}
    (folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": buffer or {}}))
    torch.save(state, folder / "ae.pt")
    return folder


def gemma_scope(folder, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {name: value.numpy() for name, value in {**WEIGHTS, "threshold": THRESHOLD}.items()}
    np.savez(folder / "params.npz", **{**arrays, **changes})
    return folder


def gemma_scope_2(folder, config: dict | None = None, **changes):
    weights = {name.lower(): value for name, value in WEIGHTS.items()} | {"threshold": THRESHOLD} | changes
    return write(folder, config, weights, "config.json", "params.safetensors")


def qwen_scope(release, layer: int = 8, **changes):
    release.mkdir(parents=True, exist_ok=True)
    weights = {name: value.T if value.ndim == 2 else value for name, value in WEIGHTS.items()}
    torch.save({**weights, **changes}, release / f"layer{layer}.sae.pt")
    return release / f"layer{layer}.sae.pt"


def llama_scope(folder, **changes):
    """Inputs of average norm 2 sqrt(2) are halved; features above 0.9 in raw units are those above 0.45 here."""
    config = {**LLAMA_SCOPE, "dataset_average_activation_norm": {"in": 8**0.5, "out": 8**0.5}, **changes}
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "hyperparams.json").write_text(json.dumps(config))
    return write(folder, None, {**LINEAR, "decoder.bias": WEIGHTS["b_dec"]}, "", "checkpoints/final.safetensors")


def llama_scope_r1(folder, **changes):
    norm = {"dataset_average_activation_norm.blocks.8.hook_resid_post": torch.tensor(8**0.5)}
    weights = {**LINEAR, "decoder.bias": WEIGHTS["b_dec"], "log_jumprelu_threshold": THRESHOLD.log(), **norm}
    return write(folder, {**LLAMA_SCOPE, **changes}, weights, "config.json", "sae_weights.safetensors")


LLAMA_SCOPE = {
    "d_model": 2,
    "d_sae": 3,
    "act_fn": "jumprelu",
    "jump_relu_threshold": 0.9,
    "norm_activation": "dataset-wise",
    "sparsity_include_decoder_norm": True,
    "top_k": 50,
    "hook_point_in": "blocks.8.hook_resid_post",
    "hook_point_out": "blocks.8.hook_resid_post",
}
GEMMA_3 = {
    "hf_hook_point_in": "model.layers.12.output",
    "hf_hook_point_out": "model.layers.12.output",
    "width": 3,
    "model_name": "gemma-v3-1b-it",
    "architecture": "jump_relu",
    "l0": 60,
    "affine_connection": False,
    "type": "sae",
}


# --- what each format gives ---


def test_saelens(tmp_path):
    sae = load(saelens(tmp_path / "d"))
    assert sae.encode(X).dense().tolist() == RELU
    assert sae(X).tolist() == [[12.0, 0.0], [11.0, 2.5]]
    config = sae.info
    assert (config.model, config.hook, config.layer) == ("a-model", "blocks.8.hook_resid_post", "8")
    assert config.name == "saelens-standard"
    assert load(saelens(tmp_path / "d", apply_b_dec_to_input=True)).encode(X).dense().tolist() == SHIFTED
    assert load(str(tmp_path / "d")).encode(X).dense().tolist() == SHIFTED


def test_saelens_topk_jumprelu_and_gated(tmp_path):
    topk = load(saelens(tmp_path / "topk", architecture="topk", k=1))
    assert topk.encode(X).dense().tolist() == [[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    jump = load(saelens(tmp_path / "jump", {**WEIGHTS, "threshold": THRESHOLD}, architecture="jumprelu"))
    assert jump.encode(X).dense().tolist() == JUMPED
    gates = {"b_gate": torch.tensor([0.0, -1.0, 0.0]), "r_mag": torch.zeros(3), "b_mag": WEIGHTS["b_enc"]}
    weights = {name: value for name, value in {**WEIGHTS, **gates}.items() if name != "b_enc"}
    gated = load(saelens(tmp_path / "gated", weights, architecture="gated"))
    assert gated.encode(X).dense()[1].tolist() == [0.5, 0.0, 0.5]


def test_saelens_abstopk_keeps_the_largest_of_either_sign(tmp_path):
    """u is [2, -3, -2] and [0.5, 1, 0.5]; a negative feature fires, is alive and counts."""
    sae = load(saelens(tmp_path / "d", architecture="abstopk", k=1))
    codes = sae.encode(X)
    assert codes.dense().tolist() == [[0.0, -3.0, 0.0], [0.0, 1.0, 0.0]]
    assert codes.fired().sum(0).tolist() == [0, 2, 0] and codes.l0().tolist() == [1, 1]
    assert sae(X).tolist() == [[10.0, -6.0], [10.0, 2.0]]
    rescaled = load(saelens(tmp_path / "r", architecture="abstopk", k=1, rescale_acts_by_decoder_norm=True))
    torch.testing.assert_close(rescaled.encode(X).dense(), torch.tensor([[0.0, -6.0, 0.0], [0.0, 2.0, 0.0]]))
    torch.testing.assert_close(rescaled(X), sae(X))


def test_saelens_rescaled_by_decoder_norms(tmp_path):
    """The second row of W_dec has norm 2: its feature counts twice, and is decoded by half of it."""
    sae = load(saelens(tmp_path / "d", architecture="topk", k=1, rescale_acts_by_decoder_norm=True))
    torch.testing.assert_close(sae.encode(X).dense(), torch.tensor([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]]))
    torch.testing.assert_close(sae(X), torch.tensor([[12.0, 0.0], [10.0, 2.0]]))


def test_saelens_scaled_inputs(tmp_path):
    """Trained on inputs times 2: features of 2x, reconstruction halved."""
    folder = saelens(tmp_path / "d", normalize_activations="expected_average_only_in")
    with pytest.warns(UserWarning, match="no factor is stored.*pass norm_scaling_factor="):
        assert load(folder).encode(X).dense().tolist() == RELU
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        given = load(folder, norm_scaling_factor=2.0)
        (folder / "activation_scaler.json").write_text('{"scaling_factor": 2.0}')
        stored = load(folder)
    for sae in (given, stored):
        assert sae.encode(X).dense().tolist() == [[4.0, 0.0, 0.0], [1.0, 2.0, 2.0]]
        assert sae(X).tolist() == [[7.0, 0.0], [6.5, 3.0]]
    with pytest.raises(DictionaryError, match="positive factor is needed"):
        load(folder, norm_scaling_factor=0.0)
    with pytest.raises(DictionaryError, match="norm_scaling_factor = 2.0 given, cfg.json says none"):
        load(saelens(tmp_path / "e"), norm_scaling_factor=2.0)


def test_saelens_before_version_6(tmp_path):
    flat = {"d_in": 2, "d_sae": 3, "hook_point": "blocks.8.hook_resid_pre", "model_name": "a-model"}
    flat |= {"normalize_activations": False, "apply_b_dec_to_input": False}
    ones = {"scaling_factor": torch.ones(3)}  # of an option that was not in use
    sae = load(write(tmp_path / "d", flat, {**WEIGHTS, **ones}, "cfg.json", "sae_weights.safetensors"))
    assert sae.encode(X).dense().tolist() == RELU
    assert (sae.info.layer, sae.info.normalisation) == ("7", "none")
    topk = {**flat, "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 1}}
    assert load(write(tmp_path / "t", topk, WEIGHTS, "cfg.json", "sae_weights.safetensors")).info.settings["k"] == 1


def test_gemma_scope(tmp_path):
    place = tmp_path / "gemma-scope-2b-pt-res" / "layer_12" / "width_16k" / "average_l0_82"
    gemma_scope(place)
    for source in (place, place / "params.npz"):
        sae = load(source)
        assert sae.encode(X).dense().tolist() == JUMPED
        config = sae.info
        assert (config.model, config.hook, config.layer) == ("google/gemma-2-2b", "blocks.12.hook_resid_post", "12")
    mlp = load(gemma_scope(tmp_path / "models--google--gemma-scope-9b-it-mlp" / "layer_3"))
    assert (mlp.info.model, mlp.info.hook) == ("google/gemma-2-9b-it", "blocks.3.hook_mlp_out")
    nowhere = load(gemma_scope(tmp_path / "layer_5"))
    assert (nowhere.info.model, nowhere.info.hook, nowhere.info.layer) == ("", "", "5")


def test_gemma_scope_2(tmp_path):
    sae = load(gemma_scope_2(tmp_path / "d", GEMMA_3))
    assert sae.encode(X).dense().tolist() == JUMPED
    assert sae(X).tolist() == [[12.0, 0.0], [10.5, 2.5]]
    assert (sae.info.model, sae.info.hook, sae.info.layer) == (
        "google/gemma-3-1b-it",
        "blocks.12.hook_resid_post",
        "12",
    )
    assert sae.stated_l0 == 60
    for place, hook in (
        ("post_feedforward_layernorm.output", "hook_mlp_out"),
        ("self_attn.o_proj.input", "attn.hook_z"),
    ):
        places = dict.fromkeys(("hf_hook_point_in", "hf_hook_point_out"), f"model.layers.12.{place}")
        found = load(gemma_scope_2(tmp_path / hook, GEMMA_3 | places)).info
        assert (found.hook, found.layer) == (f"blocks.12.{hook}", "")


@pytest.mark.parametrize("tuned", ["pt", "it"])
@pytest.mark.parametrize(
    ("site", "hook"), [("resid_post", "hook_resid_post"), ("mlp_out", "hook_mlp_out"), ("attn_out", "attn.hook_z")]
)
def test_gemma_scope_2_without_a_configuration_is_known_by_its_folders(tmp_path, tuned, site, hook):
    for folder in (site, f"{site}_all"):
        release = tmp_path / f"models--google--gemma-scope-2-270m-{tuned}" / "snapshots" / "0a1b" / folder
        sae = load(gemma_scope_2(release / "layer_9_width_16k_l0_small"))
        assert sae.encode(X).dense().tolist() == JUMPED
        assert sae.info.model == {"pt": "google/gemma-3-270m", "it": "google/gemma-3-270m-it"}[tuned]
        assert (sae.info.hook, sae.stated_l0) == (f"blocks.9.{hook}", None)
    elsewhere = load(gemma_scope_2(tmp_path / "mine")).info
    assert (elsewhere.model, elsewhere.hook, elsewhere.layer) == ("", "", "")


@pytest.mark.parametrize(
    ("place", "config", "changes", "message"),
    [
        ("transcoder_all/layer_3_width_16k_l0_big_affine", None, {}, "layers.3.transcoder', which is not known"),
        ("a", {**GEMMA_3, "hf_hook_point_out": "model.layers.13.output"}, {}, "reads something else than it writes"),
        ("a", {**GEMMA_3, "type": "transcoder"}, {}, "type 'transcoder'.*reads something else than it writes"),
        ("a", {**GEMMA_3, "architecture": "topk"}, {}, "config.json says architecture 'topk'; known is jump_relu"),
        ("a", {**GEMMA_3, "width": 4}, {}, r"W_enc has shape \(2, 3\), its configuration \(d_in 2, d_sae 4\)"),
        ("a", None, {"affine_skip_connection": torch.eye(2)}, "holds .*'affine_skip_connection'.* this kind of"),
        ("a", None, {"w_enc": torch.zeros(3)}, r"W_enc has shape \(3,\), a matrix"),
    ],
)  # fmt: skip
def test_gemma_scope_2_files_that_do_not_fit(tmp_path, place, config, changes, message):
    folder = gemma_scope_2(tmp_path / place, config, **changes)
    with pytest.raises(DictionaryError, match=message) as error:
        load(folder)
    assert str(folder) in str(error.value)


def test_qwen_scope(tmp_path):
    release = tmp_path / "models--Qwen--SAE-Res-Qwen3.5-9B-Base-W64K-L0_2" / "snapshots" / "0a1b"
    file = qwen_scope(release)
    for source in (file, release):
        sae = load(source)
        assert sae.encode(X).dense().tolist() == [[2.0, 0.0, 0.0], [0.5, 1.0, 0.0]]
        assert sae(X).tolist() == [[12.0, 0.0], [10.5, 2.0]]
        assert (sae.info.model, sae.info.layer, sae.stated_l0) == ("Qwen/Qwen3.5-9B-Base", "8", 2)
    qwen_scope(release, 9)
    with pytest.raises(DictionaryError, match="holds layer8.sae.pt and layer9.sae.pt: .* or give one of these files"):
        load(release)
    with pytest.raises(DictionaryError, match="layer8.sae.pt holds .*'W_skip'"):
        load(qwen_scope(release, W_skip=torch.zeros(2, 2)))
    with pytest.raises(DictionaryError, match="a folder around it as the release, such as SAE-Res-Qwen3"):
        load(qwen_scope(tmp_path / "elsewhere"))


def test_goodfire(tmp_path):
    tmp_path.joinpath("d").mkdir()
    file = tmp_path / "d" / "Llama-3.1-8B-Instruct-SAE-l19.pth"
    weights = {**LINEAR, "decoder.bias": WEIGHTS["b_dec"]}
    for state in (weights, {name.replace("coder.", "coder_linear."): value for name, value in weights.items()}):
        torch.save(state, file)
        for source in (file, file.parent):
            sae = load(source)
            assert sae.encode(X).dense().tolist() == RELU
            assert sae(X).tolist() == [[12.0, 0.0], [11.0, 2.5]]
            assert (sae.info.model, sae.info.layer) == ("Llama-3.1-8B-Instruct", "19")
    with pytest.raises(DictionaryError, match="has to be called <model>-SAE-l<layer>.pt"):
        load(file.rename(file.with_name("mine-SAE-last.pt")))


def test_llama_scope(tmp_path):
    """Of x / 2; u = x/2 W_enc + b_enc is [1, -1.5, -1.5] and [0.25, 0.5, -0.25]."""
    sae = load(llama_scope(tmp_path / "d"))
    torch.testing.assert_close(sae.encode(X).dense(), torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.5, 0.0]]))
    torch.testing.assert_close(sae(X), torch.tensor([[22.0, 0.0], [20.0, 2.0]]))
    found = sae.info
    assert (found.model, found.hook, found.layer) == ("meta-llama/Llama-3.1-8B", "blocks.8.hook_resid_post", "8")
    assert sae.stated_l0 == 50
    higher = load(llama_scope(tmp_path / "higher", jump_relu_threshold=1.1))  # 0.55 of scaled inputs
    torch.testing.assert_close(higher.encode(X).dense(), torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))


def test_llama_scope_of_the_distillation(tmp_path):
    """As above; thresholds 0.5, 0.4, 0.4 are of features times the norms of their decoder rows: 1, 2 and sqrt(2)."""
    sae = load(llama_scope_r1(tmp_path / "d"))
    x = torch.tensor([[2.0, -3.0], [0.5, 0.5], [0.5, 0.3]])
    torch.testing.assert_close(
        sae.encode(x).dense(), torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.25, 0.0], [0.0, 0.0, 0.0]])
    )
    torch.testing.assert_close(sae(x[:1]), torch.tensor([[22.0, 0.0]]))
    plain = load(llama_scope_r1(tmp_path / "plain", sparsity_include_decoder_norm=False))
    torch.testing.assert_close(plain.encode(x).dense()[1], torch.zeros(3))
    assert (plain.info.model, plain.info.layer) == ("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "8")
    assert plain.stated_l0 is None
    with pytest.raises(DictionaryError, match="an option of SAELens, this is from Llama Scope"):
        load(tmp_path / "plain", norm_scaling_factor=2.0)


@pytest.mark.parametrize("made", [llama_scope, llama_scope_r1])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"act_fn": "topk"}, "act_fn = 'topk'; known is 'jumprelu'"),
        ({"norm_activation": "token-wise"}, "norm_activation = 'token-wise'; known is 'dataset-wise'"),
        ({"hook_point_out": "blocks.8.hook_mlp_out"}, "it reads something else than it writes"),
        ({"d_sae": 4}, r"W_enc has shape \(2, 3\), its configuration \(d_in 2, d_sae 4\)"),
        ({"d_sae": None, "expansion_factor": 2}, r"d_sae 4\) says"),
    ],
)
def test_llama_scope_settings_that_do_not_fit(tmp_path, made, changes, message):
    with pytest.raises(DictionaryError, match=message):
        load(made(tmp_path / "d", **changes))


def temporal(folder, weights: dict | None = None, **changes):
    """Attention that weighs all earlier codes equally, in two dimensions."""
    same = {"weight": torch.eye(2), "bias": torch.zeros(2)}
    parts = {
        "k_ctx": {"weight": torch.zeros(2, 2)},
        "q_target": {"weight": torch.zeros(2, 2)},
        "v_ctx": {},
        "c_proj": {},
    }
    state = {f"attn_layers.0.{name}.{key}": v for name, part in parts.items() for key, v in (same | part).items()}
    state |= {"D": 8 * torch.eye(2), "b": torch.tensor([[1.0, 0.0]]), **(weights or {})}
    sae = {"exp_factor": 1, "n_heads": 1, "n_attn_layers": 1, "bottleneck_factor": 1, "sae_diff_type": "topk"}
    sae |= {"kval_topk": 1, "tied_weights": True, "scaling_factor": 0.5, **changes}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "conf.yaml").write_text(json.dumps({"llm": {"dimin": 2}, "sae": sae}))
    save_file({name: value.clone() for name, value in state.items()}, folder / "latest_ckpt.safetensors")
    return folder


def test_temporal_feature_analysis(tmp_path):
    """x/2 - b is [2, 1], [4, 3], [0, 8]; codes of these are the same, as 1/8 of 8 is 1.

    The means of earlier codes, with a zero before the first, are [0, 0], [1, 1/2], [2, 4/3]; directions 8 times that.
    Their parts of the inputs, <u, x> / |u|^2 = 44/80 and 3/13, are predicted: [4.4, 2.2] and [48, 32] / 13. What is
    left, [2, 1], [-0.4, 0.8] and [-48, 72] / 13, has the features, of which one is kept; each is decoded times 8.
    """
    x = torch.tensor([[[6.0, 2.0], [10.0, 6.0], [2.0, 16.0]]])
    sae = load(temporal(tmp_path / "layer_12" / "temporal"))
    f = sae.encode(x).dense()
    torch.testing.assert_close(f, torch.tensor([[[2.0, 0.0], [0.0, 0.8], [0.0, 72 / 13]]]))
    scaled = torch.tensor([[[16.0, 0.0], [4.4, 8.6], [48 / 13, 608 / 13]]])
    torch.testing.assert_close(sae.decode(f), 2 * (scaled + torch.tensor([1.0, 0.0])))
    assert (sae.info.layer, sae.info.d_sae, sae.stated_l0) == ("12", 2, 1)
    with pytest.raises(DictionaryError, match=r"\(1, 2\) vectors to decode, \(1, 3\) encoded last"):
        sae.decode(f[:, :2])
    plain = load(temporal(tmp_path / "relu", sae_diff_type="relu", kval_topk=None))
    assert plain.encode(x).dense()[0, 0].tolist() == [2.0, 1.0] and plain.info.layer == ""
    untied = load(temporal(tmp_path / "untied", {"E": 16 * torch.eye(2)}, tied_weights=False))
    assert untied.encode(x).dense()[0, 0].tolist() == [4.0, 0.0]


@pytest.mark.parametrize(
    ("weights", "changes", "message"),
    [
        ({}, {"sae_diff_type": "batchtopk"}, "conf.yaml says sae_diff_type 'batchtopk'; known are relu, topk"),
        ({}, {"n_heads": "1"}, "n_heads = '1', of type str: int needed"),
        ({}, {"n_heads": 3}, "conf.yaml says n_heads 3.* of 2 features"),
        ({}, {"scaling_factor": -1.0}, "scaling_factor -1.0"),
        ({}, {"kval_topk": 3}, "does not encode activations"),
        ({}, {"n_attn_layers": 2}, "holds .*this kind of dictionary has .*attn_layers.1.k_ctx"),
        ({"E": torch.eye(2)}, {}, "holds .*'E'"),
        ({"D": torch.zeros(4, 2)}, {}, r"attn_layers.0.k_ctx.weight has shape \(2, 2\), conf.yaml .* \(4, 4\)"),
        ({"D": torch.full((2, 2), torch.inf)}, {}, "D holds NaN or infinity in 4 of 4"),
    ],
)
def test_temporal_feature_analysis_that_does_not_fit(tmp_path, weights, changes, message):
    folder = temporal(tmp_path / "d", weights, **changes)
    with pytest.raises(DictionaryError, match=message) as error:
        load(folder)
    assert str(folder) in str(error.value)


def test_names_of_a_wrapped_module_are_those_of_the_module(tmp_path):
    """torch.compile and DataParallel put theirs before those of what they wrap, the whole or a part."""
    state = {**LINEAR, "b_dec": torch.zeros(2), "k": torch.tensor(1), "threshold": torch.tensor(0.5)}
    compiled = {f"_orig_mod.{name}": value for name, value in state.items()}
    parallel = {f"module._orig_mod.{name}": value for name, value in state.items()}
    parts = {name.replace("encoder.", "encoder._orig_mod."): value for name, value in state.items()}
    for wrapped in (compiled, parallel, parts):
        sae = load(dictionary_learning(tmp_path / "d", "BatchTopKSAE", wrapped, k=1))
        assert sae.encode(X).dense().tolist() == [[2, 0, 0], [0, 1, 0]]
    named = {f"module.{name}": value for name, value in WEIGHTS.items()}
    assert load(saelens(tmp_path / "s", named)).encode(X).dense().tolist() == RELU
    with pytest.raises(DictionaryError, match="holds .*'module.W_enc'"):
        load(saelens(tmp_path / "s", WEIGHTS | {"module.W_enc": torch.zeros(2, 3)}))


@pytest.mark.parametrize(
    ("name", "state", "expected"),
    [
        # The library's loader makes decoder rows unit vectors: norms 1, 2, sqrt 2 go to the features.
        ("AutoEncoder", {**LINEAR, "bias": torch.zeros(2)}, [[2.0, 0.0, 0.0], [0.5, 2.0, 0.5 * 2**0.5]]),
        ("AutoEncoderNew", {**LINEAR, "decoder.bias": WEIGHTS["b_dec"]}, RELU),
        ("AutoEncoderTopK", {**LINEAR, "b_dec": WEIGHTS["b_dec"], "k": torch.tensor(1)}, SHIFTED),
        ("BatchTopKSAE", {**LINEAR, "b_dec": torch.zeros(2), "threshold": torch.tensor(0.5)}, [[2, 0, 0], [0, 1, 0]]),
        ("JumpReluAutoEncoder", {**WEIGHTS, "threshold": THRESHOLD}, JUMPED),
        (
            "TemporalBatchTopKSAE",
            {**LINEAR, "b_dec": torch.zeros(2), "threshold": torch.tensor(0.5), "k": torch.tensor(1)},
            [[2, 0, 0], [0, 1, 0]],
        ),
        (
            "TemporalMatryoshkaBatchTopKSAE",
            {**WEIGHTS, "threshold": torch.tensor(0.4), "k": torch.tensor(1), "group_sizes": torch.tensor([1, 2])},
            SHIFTED,
        ),
        (
            "MatryoshkaBatchTopKSAE",
            {**WEIGHTS, "threshold": torch.tensor(0.4), "k": torch.tensor(1), "group_sizes": torch.tensor([1, 2])},
            SHIFTED,
        ),
        (
            "GatedAutoEncoder",
            {
                "encoder.weight": LINEAR["encoder.weight"],
                "decoder.weight": LINEAR["decoder.weight"],
                "decoder_bias": torch.zeros(2),
                "r_mag": torch.tensor([0.0, 0.0, 2.0]).log1p(),
                "gate_bias": torch.tensor([0.0, -1.0, 0.0]),
                "mag_bias": torch.tensor([1.0, 0.0, -3.0]),
            },
            [[3.0, 0.0, 0.0], [1.5, 0.0, 1.5]],
        ),
    ],
)
def test_dictionary_learning(tmp_path, name, state, expected):
    sae = load(dictionary_learning(tmp_path / "d", name, state, k=1))
    torch.testing.assert_close(sae.encode(X).dense(), torch.tensor(expected, dtype=torch.float32))
    config = sae.info
    assert (config.model, config.hook, config.layer) == ("a/model", "blocks.8.hook_resid_post", "8")
    assert (config.seed, config.name) == (4, f"dictionary_learning-{name}")


def test_dictionary_learning_says_where_its_inputs_come_from(tmp_path):
    def hook(buffer=None, **changes):
        state = {**LINEAR, "bias": torch.zeros(2)}
        sae = load(dictionary_learning(tmp_path / "d", "AutoEncoder", state, buffer, **changes))
        return sae.info.hook, sae.info.layer

    assert hook(submodule_name="resid_post_layer_8") == ("resid_post_layer_8", "8")
    assert hook(submodule_name="mlp_out_layer_8") == ("mlp_out_layer_8", "")
    assert hook({"io": "in"}) == ("blocks.8.hook_resid_pre", "7")
    assert hook({"io": "in"}, submodule_name="mlp_8") == ("input of mlp_8", "")
    assert hook(layer=None) == ("", "")
    with pytest.raises(DictionaryError, match="io 'in_and_out': it reads something else than it writes"):
        hook({"io": "in_and_out"})


def test_sparsify(tmp_path):
    (tmp_path / "config.json").write_text('{"model": "a/model"}')
    sae = load(sparsify(tmp_path / "layers.8"))
    assert sae.encode(X).dense().tolist() == SHIFTED
    config = sae.info
    assert (config.model, config.hook, config.layer, config.settings["k"]) == ("a/model", "layers.8", "8", 1)
    assert load(sparsify(tmp_path / "layers.8.mlp")).info.hook == "layers.8.mlp"
    elsewhere = load(sparsify(tmp_path / "copy" / "mine"))
    assert (elsewhere.info.model, elsewhere.info.hook) == ("", "")


def test_half_precision_is_read_as_fp32(tmp_path):
    sae = load(saelens(tmp_path / "d", {name: value.bfloat16() for name, value in WEIGHTS.items()}))
    assert sae.W_enc.dtype == torch.float32
    assert sae.encode(X).dense().tolist() == RELU


# --- what broken ones get ---


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_in": 4}, r"W_enc has shape \(2, 3\), its configuration \(d_in 4, d_sae 3\) says \(4, 3\)"),
        ({"d_sae": "3"}, "cfg.json says d_sae = '3', of type str: int needed"),
        (
            {"architecture": "crosscoder"},
            "architecture 'crosscoder'; known are standard, topk, abstopk, jumprelu, gated, temporallens",
        ),
        ({"architecture": "matching_pursuit"}, "no score of one vector: open it with SAELens, and give lens.profile"),
        ({"architecture": "temporal"}, "no score of one vector: give the files that its authors published"),
        ({"architecture": "jumprelu_skip_transcoder"}, "reads something else than it writes"),
        ({"architecture": "topk"}, "cfg.json has no 'k'"),
        ({"architecture": "jumprelu"}, "holds .*'b_enc'.*, this kind of dictionary has .*'threshold'"),
        ({"architecture": 3}, "architecture = 3, of type int: str needed"),
        (
            {"normalize_activations": "covariance_whitening"},
            "normalize_activations 'covariance_whitening'; known for standard are none",
        ),
        ({"reshape_activations": "hook_z"}, "hook_z.*heads of an attention layer"),
        ({"apply_b_dec_to_input": "no"}, "apply_b_dec_to_input = 'no', of type str: bool needed"),
        ({"metadata": None}, "metadata = None"),
        ({"architecture": "temporallens"}, "metadata of cfg.json has no 'origin'"),
    ],
)
def test_saelens_settings_that_do_not_fit(tmp_path, changes, message):
    folder = saelens(tmp_path / "d", **changes)
    with pytest.raises(DictionaryError, match=message) as error:
        load(folder)
    assert str(folder) in str(error.value)


def test_saelens_files_that_do_not_fit(tmp_path):
    flat = {key: value for key, value in SAELENS.items() if key != "metadata"}
    for config, weights, message in (
        (None, WEIGHTS, "cfg.json is missing"),
        (SAELENS, {**WEIGHTS, "log_threshold": THRESHOLD}, r"holds \[.*'log_threshold'\], this kind of dictionary has"),
        (SAELENS, {**WEIGHTS, "b_dec": torch.tensor([0.0, torch.nan])}, "b_dec holds NaN or infinity in 1 of 2"),
        (SAELENS, {**WEIGHTS, "b_enc": torch.tensor([7e4, 0, 0]).half()}, "b_enc holds .* 1 of 3 .*get another copy"),
        (SAELENS, {"W_enc": WEIGHTS["W_enc"]}, r"holds \['W_enc'\], this kind of dictionary has"),
        (SAELENS, {**WEIGHTS, "scaling_factor": torch.full((3,), 2.0)}, "holds .*scaling_factor"),
        ({**flat, "activation_fn_str": "tanh-relu"}, WEIGHTS, "activation_fn_str 'tanh-relu'; known are relu and topk"),
        ({**flat, "activation_fn_str": "topk"}, WEIGHTS, "k = None"),
    ):
        folder = tmp_path / message[:8].strip()
        with pytest.raises(DictionaryError, match=message):
            load(write(folder, config, weights, "cfg.json", "sae_weights.safetensors"))
    folder = saelens(tmp_path / "cut")
    file = folder / "sae_weights.safetensors"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(DictionaryError, match="sae_weights.safetensors is truncated or not a safetensors file"):
        load(folder)
    for text, message in (
        ("{", "cfg.json cannot be read"),
        ("[1]", "cfg.json .* .it holds a list, an object"),
    ):
        (folder / "cfg.json").write_text(text)
        with pytest.raises(DictionaryError, match=message):
            load(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"transcode": True}, "transcode = True; only autoencoders with transcode = False"),
        ({"skip_connection": True}, "skip_connection = True"),
        ({"activation": "groupmax"}, "activation = 'groupmax'; only autoencoders with activation = 'topk'"),
        ({"signed": True}, "signed = True"),
        ({"jump": 1, "hops": 2}, "options that are not known here: hops, jump"),
        ({"d_in": None}, "d_in = None, of type NoneType: int needed"),
        ({"num_latents": 4}, r"W_enc has shape \(2, 3\), its configuration \(d_in 2, d_sae 4\)"),
        ({"num_latents": 0}, r"d_sae 64\) says"),
        ({"num_latents": "3"}, "num_latents = '3', of type str: int needed"),
        ({"k": 4}, r"k = 4 of 3 features"),
    ],
)
def test_sparsify_settings_that_do_not_fit(tmp_path, changes, message):
    with pytest.raises(DictionaryError, match=message):
        load(sparsify(tmp_path / "layers.8", **changes))


def test_sparsify_weights_that_do_not_fit(tmp_path):
    with pytest.raises(DictionaryError, match="W_skip.*this kind of dictionary has"):
        load(sparsify(tmp_path / "layers.8", {**SPARSIFY_WEIGHTS, "W_skip": torch.zeros(2, 2)}))


def test_gemma_scope_files_that_do_not_fit(tmp_path):
    for folder, changes, message in (
        ("a", {"threshold": np.array([{"a": 1}], dtype=object)}, "not an archive of plain arrays.*allow_pickle"),
        ("b", {"W_enc": np.array(["text"])}, "not an archive of plain arrays"),
        ("c", {"extra": np.zeros(3)}, "params.npz holds .*'extra'.*this kind of dictionary has"),
        ("d", {"W_enc": np.zeros(3)}, r"W_enc has shape \(3,\), a matrix"),
        ("e", {"W_dec": np.zeros((3, 4))}, r"W_dec has shape \(3, 4\).*says \(3, 2\)"),
        ("gemma-scope-2b-pt-transcoders/layer_3", {}, "transcoders.*reads something else than it writes"),
        ("gemma-scope-2b-pt-res/embedding/width_4k", {}, "embedding.*in other units"),
    ):
        with pytest.raises(DictionaryError, match=message):
            load(gemma_scope(tmp_path / folder, **changes))
    file = gemma_scope(tmp_path / "f") / "params.npz"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DictionaryError, match="params.npz is not an archive of plain arrays"):
        load(file)


class Payload:
    """A pickle that makes a folder when it is opened by something that runs pickles."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path):
    folder = dictionary_learning(tmp_path / "d", "AutoEncoder", {"bias": Payload(tmp_path / "ran")})
    with pytest.raises(DictionaryError, match="ae.pt is not plain tensors and was not run.*save its state_dict"):
        load(folder)
    assert not (tmp_path / "ran").exists()


def test_dictionary_learning_files_that_do_not_fit(tmp_path):
    good = {**LINEAR, "bias": torch.zeros(2)}
    topk = {**LINEAR, "b_dec": torch.zeros(2), "k": torch.tensor(2)}
    for name, state, changes, message in (
        ("CrossCoder", good, {}, "dict_class 'CrossCoder'; known are AutoEncoder, AutoEncoderNew"),
        ("AutoEncoder", topk, {}, r"ae.pt \(AutoEncoder\) holds .*'k'.*this kind of dictionary has .*'bias'"),
        ("AutoEncoderTopK", topk, {"k": 1}, "config.json says k = 1, ae.pt says 2"),
        ("AutoEncoder", good, {"dict_size": 4}, r"W_enc has shape \(2, 3\), its configuration \(d_in 2, d_sae 4\)"),
        ("AutoEncoder", [torch.zeros(2)], {}, "ae.pt holds a list, a dict of named tensors"),
        (None, good, {}, "dict_class = None"),
    ):
        with pytest.raises(DictionaryError, match=message):
            load(dictionary_learning(tmp_path / "d", name, state, **changes))
    file = dictionary_learning(tmp_path / "d", "AutoEncoder", good) / "ae.pt"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(DictionaryError, match="ae.pt is truncated or not a PyTorch file"):
        load(tmp_path / "d")
    (tmp_path / "d" / "config.json").unlink()
    with pytest.raises(DictionaryError, match="config.json is missing"):
        load(tmp_path / "d")


def test_folders_of_no_or_of_two_formats(tmp_path):
    (tmp_path / "readme.txt").touch()
    with pytest.raises(
        DictionaryError, match=r"holds readme.txt; a dictionary has one of sae.safetensors \(this package"
    ):
        load(tmp_path)
    sparsify(tmp_path / "layers.8")
    with pytest.raises(DictionaryError, match=r"these folders in it do: .*layers\.8"):
        load(tmp_path)
    for place in ("dictionaries/a/a-seed0", "pool/trained-0/a-seed0"):  # as `fit` leaves them
        sparsify(tmp_path / "mine" / place)
    with pytest.raises(DictionaryError, match=r"these folders in it do: .*/dictionaries/a/a-seed0$"):
        load(tmp_path / "mine")
    gemma_scope(saelens(tmp_path / "two"))
    with pytest.raises(DictionaryError, match="sae_weights.safetensors and params.npz: keep one dictionary a folder"):
        load(tmp_path / "two")
    with pytest.raises(DictionaryError, match="is a file: give the folder"):
        load(tmp_path / "two" / "cfg.json")
    with pytest.raises(DictionaryError, match="norm_scaling_factor is an option of SAELens, this is from .*sparsify"):
        load(tmp_path / "layers.8", norm_scaling_factor=2.0)


# --- what is odd in what opens ---


def test_a_decoder_row_of_zeros_stays_one_and_is_pointed_out(tmp_path):
    """Where features are multiplied by the norms of their rows, too: the others have what they have without it."""
    empty = {**LINEAR, "decoder.weight": torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]), "bias": torch.zeros(2)}
    with pytest.warns(UserWarning, match="1 of 3 decoder rows are zero"):
        sae = load(dictionary_learning(tmp_path / "d", "AutoEncoder", empty))
    torch.testing.assert_close(sae.encode(X).dense(), torch.tensor([[2.0, 0.0, 0.0], [0.5, 2.0, 0.0]]))
    torch.testing.assert_close(sae(X), torch.tensor([[2.0, 0.0], [0.5, 2.0]]))
    weights = {**WEIGHTS, "W_dec": torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])}
    with pytest.warns(UserWarning, match="1 of 3 decoder rows are zero"):
        assert load(saelens(tmp_path / "s", weights))(X).tolist() == [[12.0, 0.0], [11.0, 0.5]]


def test_weights_that_are_not_finite_are_refused_in_any_format(tmp_path):
    """Also where it is the factor, of the user's own, that makes them so."""
    folder = saelens(tmp_path / "s", normalize_activations="expected_average_only_in")
    with pytest.raises(DictionaryError, match="W_enc holds NaN or infinity in 6 of 6 places"):
        load(folder, norm_scaling_factor=1e300)
    own = Dictionary(Info(2, 3), {**WEIGHTS, "b_dec": torch.tensor([0.0, -torch.inf])})
    own.save(tmp_path / "own")
    broken = {**SPARSIFY_WEIGHTS, "encoder.bias": torch.tensor([0.0, torch.nan, 0.0])}
    infinite = {**LINEAR, "bias": torch.zeros(2), "encoder.bias": torch.tensor([torch.inf, 0.0, 0.0])}
    for place, name in (
        (tmp_path / "own", "b_dec"),
        (sparsify(tmp_path / "layers.8", broken), "b_enc"),
        (gemma_scope(tmp_path / "g", threshold=np.array([np.inf, 0.5, 0.5])), "threshold"),
        (dictionary_learning(tmp_path / "d", "AutoEncoder", infinite), "b_enc"),
    ):
        with pytest.raises(DictionaryError, match=f"{place}.*{name} holds NaN or infinity in 1 of"):
            load(place)


def test_thresholds_that_were_never_learned_are_pointed_out(tmp_path):
    """They are used as they are: a plain ReLU."""
    state = {**LINEAR, "b_dec": torch.zeros(2), "threshold": torch.tensor(-1.0)}
    with pytest.warns(UserWarning, match=r"every threshold is below 0 \(the largest -1\).*only the 1 per vector"):
        sae = load(dictionary_learning(tmp_path / "d", "BatchTopKSAE", state, k=1))
    assert sae.encode(X).dense().tolist() == RELU
    with pytest.warns(UserWarning, match="holds logarithms"):
        load(saelens(tmp_path / "s", {**WEIGHTS, "threshold": THRESHOLD.log()}, architecture="jumprelu"))


def test_how_many_features_a_vector_it_states(tmp_path):
    place = tmp_path / "gemma-scope-2b-pt-res" / "layer_12" / "width_16k"
    assert load(gemma_scope(place / "average_l0_82")).stated_l0 == 82
    assert load(gemma_scope(place / "l0_0.5" / "canonical")).stated_l0 is None
    assert load(saelens(tmp_path / "topk", architecture="topk", k=2)).stated_l0 == 2
    named = {**SAELENS["metadata"], "neuronpedia_id": "gemma-2-2b/20-gemmascope-res-16k__l0-71"}
    assert load(saelens(tmp_path / "named", metadata=named)).stated_l0 == 71
    state = {**LINEAR, "b_dec": torch.zeros(2), "threshold": torch.tensor(0.5)}
    assert load(dictionary_learning(tmp_path / "d", "BatchTopKSAE", state, k=2)).stated_l0 == 2
    assert load(dictionary_learning(tmp_path / "l0_9", "BatchTopKSAE", state)).stated_l0 == 9
    assert load(sparsify(tmp_path / "layers.8")).stated_l0 == 1


def test_a_model_that_was_processed_before_its_activations_were_taken_is_pointed_out(tmp_path):
    processed = {"model_from_pretrained_kwargs": {"center_writing_weights": True, "fold_ln": False}}
    old = {"d_in": 2, "d_sae": 3, "hook_name": "blocks.8.hook_resid_pre", **processed}
    new = {"metadata": {**SAELENS["metadata"], **processed, "hook_head_index": 3}}
    with pytest.warns(UserWarning, match="model_from_pretrained_kwargs center_writing_weights = True: it was trained"):
        load(write(tmp_path / "old", old, WEIGHTS, "cfg.json", "sae_weights.safetensors"))
    with pytest.warns(UserWarning, match="center_writing_weights = True, hook_head_index 3"):
        load(saelens(tmp_path / "new", **new))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(saelens(tmp_path / "plain", metadata={**SAELENS["metadata"], "model_from_pretrained_kwargs": {}}))


# --- whatever a file says ---

VALUES = (None, "x", 2.5, -1, 10**30, True, [1], {"a": [1]}, float("nan"))


def settings(config: dict) -> list[tuple[str, ...]]:
    """Paths of all settings, those inside an object too."""
    inner = [(key, *path) for key, value in config.items() if isinstance(value, dict) for path in settings(value)]
    return [(key,) for key in config] + inner


MADE = {
    "saelens": lambda d: saelens(d, metadata={**SAELENS["metadata"], "model_from_pretrained_kwargs": {}}),
    "topk": lambda d: saelens(d, architecture="topk", k=1, rescale_acts_by_decoder_norm=False),
    "before 6": lambda d: write(
        d,
        {
            "d_in": 2, "d_sae": 3, "hook_name": "blocks.8.hook_resid_pre", "model_name": "m", "activation_fn": "topk",
            "activation_fn_kwargs": {"k": 1}, "normalize_activations": False, "apply_b_dec_to_input": False,
        },
        WEIGHTS, "cfg.json", "sae_weights.safetensors",
    ),
    "sparsify": lambda d: sparsify(d / "layers.8"),
    "gemma_scope_2": lambda d: gemma_scope_2(d, GEMMA_3),
    "llama_scope": llama_scope,
    "llama_scope_r1": llama_scope_r1,
    "dictionary_learning": lambda d: dictionary_learning(
        d, "AutoEncoderTopK", {**LINEAR, "b_dec": torch.zeros(2), "k": torch.tensor(1)}, {"io": "in"}, k=1,
        submodule_name="resid_post_layer_8",
    ),
}  # fmt: skip


@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
@pytest.mark.filterwarnings("ignore")
def test_any_value_of_any_setting_is_read_or_named(tmp_path, made):
    """With its file and, where it is of another type than it should be, its name."""
    folder = made(tmp_path / "d")
    file = next(folder / name for name in ("cfg.json", "config.json", "hyperparams.json") if (folder / name).is_file())
    config, refused = json.loads(file.read_text()), 0
    for *outer, key in settings(config):
        for value in VALUES:
            changed = json.loads(json.dumps(config))
            inner = changed
            for name in outer:
                inner = inner[name]
            inner[key] = value
            file.write_text(json.dumps(changed))
            try:
                opened = load(folder).info
                assert all(type(word) is str for word in (opened.model, opened.hook, opened.layer)), (key, value)
                assert (type(opened.seed), type(opened.bos)) == (int, bool), (key, value)
            except DictionaryError as error:
                refused += 1
                assert str(folder) in str(error), (key, value)
                assert key in str(error) or isinstance(value, int | dict | None), (key, value, str(error))
    assert refused > len(VALUES)


def test_the_run_of_sparsify_says_its_model_or_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"model": ["a", "b"]}')
    with pytest.raises(DictionaryError, match=r"config.json says model = \['a', 'b'\], of type list: str needed"):
        load(sparsify(tmp_path / "layers.8"))


@pytest.mark.parametrize("text", ["[" * 100_000 + "]" * 100_000, '{"a":' * 100_000 + "1" + "}" * 100_000])
def test_settings_nested_too_deep_are_no_json(tmp_path, text):
    folder = saelens(tmp_path / "d")
    (folder / "cfg.json").write_text(text)
    with pytest.raises(DictionaryError, match="cfg.json cannot be read .*recursion depth"):
        load(folder)


@pytest.mark.parametrize(
    "content", [b"encoder.weight = 1\n", b"", b"\x80\x02.", b"PK\x05\x06" + bytes(18), bytes(range(150, 249))]
)
def test_weights_that_are_no_pytorch_file_are_named(tmp_path, content):
    folder = dictionary_learning(tmp_path / "d", "AutoEncoder", {})
    (folder / "ae.pt").write_bytes(content)
    with pytest.raises(DictionaryError, match="ae.pt is (truncated or not a PyTorch file|not plain tensors)"):
        load(folder)


@pytest.fixture
def little_memory():
    """4 GB of address space more than there is in use: what takes more fails here, and not on a smaller machine."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(open("/proc/self/statm").read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 4 * 2**30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


LARGE = 100_000  # squared, in fp32: 40 GB


@pytest.mark.parametrize(
    "weight",
    [
        torch.zeros(1).expand(LARGE, LARGE),
        torch.sparse_coo_tensor(torch.zeros(2, 0), torch.zeros(0), (LARGE, LARGE), check_invariants=True),
        torch.zeros(LARGE, LARGE, device="meta"),
        torch.zeros(3, 2, dtype=torch.long),
        torch.zeros(3, 2, dtype=torch.complex64),
    ],
    ids=["expanded", "sparse", "without storage", "integers", "complex"],
)
def test_a_tensor_that_does_not_hold_its_numbers_is_refused_unread(tmp_path, little_memory, weight):
    state = {**LINEAR, "encoder.weight": weight, "bias": torch.zeros(2)}
    n = weight.shape[0]
    folder = dictionary_learning(tmp_path / "d", "AutoEncoder", state, activation_dim=n, dict_size=n)
    with pytest.raises(DictionaryError, match="encoder.weight .* no dense tensor|not plain tensors"):
        load(folder)


def test_sizes_that_weights_do_not_have_are_refused_before_anything_of_them_is_made(tmp_path, little_memory):
    huge = {"activation_dim": 2, "dict_size": 2**31 - 1}
    state = {**WEIGHTS, "threshold": torch.tensor(0.5)}
    with pytest.raises(DictionaryError, match=r"d_sae 2147483647\) says \(2, 2147483647\)"):
        load(dictionary_learning(tmp_path / "d", "MatryoshkaBatchTopKSAE", state, **huge))
    with pytest.raises(DictionaryError, match=r"d_sae 2147483647\) says \(2, 2147483647\)"):
        load(saelens(tmp_path / "s", d_sae=2**31 - 1))
    info = Info(2, 3, 2**24, position="mask")
    with pytest.raises(DictionaryError, match=r"pos_logits has shape \(4, 3\).* says \(16777216, 3\)"):
        Dictionary(info, {**WEIGHTS, "pos_logits": torch.zeros(4, 3)})


def npz(path, **members: bytes):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)


def header(*shape: int) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return out.getvalue()


def test_an_archive_that_unpacks_to_gigabytes_is_refused_unread(tmp_path, little_memory):
    good = gemma_scope(tmp_path / "good") / "params.npz"
    arrays = {name: header(*v.shape) + v.astype("<f4").tobytes() for name, v in np.load(good).items()}
    npz(tmp_path / "named.npz", **arrays, extra=bytes(50_000_000))
    npz(tmp_path / "large.npz", **{**arrays, "W_enc": header(2, 6_000_000) + bytes(48_000_000)})
    npz(tmp_path / "header.npz", **{**arrays, "W_enc": header(10**9, 10**9) + bytes(64)})
    for name, message in (
        ("named", "named.npz unpacks to 0.1 GB from 0.0 MB|holds .*'extra'"),
        ("large", "large.npz unpacks to 0.0 GB from 0.0 MB"),
        ("header", "header.npz is not an archive of plain arrays: .*get it again"),
    ):
        with pytest.raises(DictionaryError, match=message):
            load(tmp_path / f"{name}.npz")
    folder = dictionary_learning(tmp_path / "d", "AutoEncoder", {**LINEAR, "bias": torch.zeros(10**7)})
    with zipfile.ZipFile(folder / "ae.pt") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(folder / "ae.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(DictionaryError, match="ae.pt unpacks to"):
        load(folder)


def test_what_was_saved_in_half_precision_opens_in_fp32_and_answers_the_same(tmp_path):
    made = Dictionary.initialise(Info(8, 16, 4, position="mask"), torch.ones(8), 0).bfloat16()
    made.save(tmp_path)
    assert (tmp_path / "sae.safetensors").stat().st_size < 2 * (2 * 8 * 16 + 4 * 16 + 16 + 8) + 1000
    opened = load(tmp_path)
    assert {p.dtype for p in opened.parameters()} == {torch.float32}
    x = torch.randn(2, 4, 8)
    codes = made.float().encode(x).dense()
    assert torch.equal(opened.encode(x).dense(), codes) and codes.dtype == torch.float32
