"""Folders of SAELens, with the values they must give; and what broken ones get."""

import warnings

import pytest
import torch

from lens.dictionaries.load import load
from lens.errors import DictionaryError
from tests.dictionaries.folders import JUMPED, RELU, SAELENS, SHIFTED, THRESHOLD, WEIGHTS, X, saelens, write


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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_in": 4}, r"W_enc has shape \(2, 3\), its configuration \(d_in 4, d_sae 3\) says \(4, 3\)"),
        ({"d_sae": "3"}, "cfg.json says d_sae = '3', of type str: int needed"),
        (
            {"architecture": "crosscoder"},
            "architecture 'crosscoder'; known are standard, topk, abstopk, jumprelu, gated, transcoder",
        ),
        ({"architecture": "matching_pursuit"}, "no score of one vector: open it with SAELens, and give lens.profile"),
        ({"architecture": "temporal"}, "no score of one vector: give the files that its authors published"),
        ({"architecture": "jumprelu_skip_transcoder"}, "holds .*, this kind of dictionary has .*'W_skip'.*'threshold'"),
        (
            {"architecture": "transcoder", "normalize_activations": "layer_norm"},
            "normalize_activations 'layer_norm'; known for transcoder are none",
        ),
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
