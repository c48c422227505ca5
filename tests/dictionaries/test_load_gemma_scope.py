"""Files of Gemma Scope 1 and 2, with the values they must give; and what broken ones get."""

import numpy as np
import pytest
import torch

from lens.dictionaries.load import load
from lens.errors import DictionaryError
from tests.dictionaries.folders import GEMMA_3, JUMPED, X, gemma_scope, gemma_scope_2


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
        ("crosscoder/layer_3_width_16k_l0_big", None, {}, "layers.3.crosscoder', which is not known"),
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


def test_gemma_scope_files_that_do_not_fit(tmp_path):
    for folder, changes, message in (
        ("a", {"threshold": np.array([{"a": 1}], dtype=object)}, "not an archive of plain arrays.*allow_pickle"),
        ("b", {"W_enc": np.array(["text"])}, "not an archive of plain arrays"),
        ("c", {"extra": np.zeros(3)}, "params.npz holds .*'extra'.*this kind of dictionary has"),
        ("d", {"W_enc": np.zeros(3)}, r"W_enc has shape \(3,\), a matrix"),
        ("e", {"W_dec": np.zeros((3, 4))}, r"W_dec has shape \(3, 4\).*says \(3, 2\)"),
        ("gemma-scope-2b-pt-crosscoders/layer_3", {}, "crosscoders.* is not known"),
        ("gemma-scope-2b-pt-res/embedding/width_4k", {}, "embedding.*in other units"),
    ):
        with pytest.raises(DictionaryError, match=message):
            load(gemma_scope(tmp_path / folder, **changes))
    file = gemma_scope(tmp_path / "f") / "params.npz"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DictionaryError, match="params.npz is not an archive of plain arrays"):
        load(file)
