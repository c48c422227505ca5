import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from lens.dictionaries.dictionary import Dictionary, Info
from lens.dictionaries.export import export_saelens
from lens.dictionaries.load import load
from lens.dictionaries.positions.mask import position_mask
from lens.dictionaries.wrapped import Wrapped
from lens.errors import DictionaryError
from tests.making import info

CONFIG = {"d_in": 4, "d_sae": 6, "T": 5, "tau": 0.5, "scale": 0.25, "model": "a-model", "layer": "3", "seed": 2}
X = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0)) * 8


def sae(centre: torch.Tensor | None = None, **changes) -> Dictionary:
    made = Dictionary.initialise(info(**CONFIG | changes), torch.arange(4.0), seed=1, centre=centre)
    torch.nn.init.normal_(made.architecture.b_enc, generator=torch.Generator().manual_seed(3))
    return made


def settings(folder) -> dict:
    return json.loads((folder / "cfg.json").read_text())


def test_at_one_position_it_is_exact_there_in_raw_units(tmp_path):
    model = sae()
    export_saelens(model, tmp_path, 3)
    found = load(tmp_path)
    torch.testing.assert_close(found.encode(X).dense()[:, 3], model.encode(X).dense()[:, 3])
    torch.testing.assert_close(found(X)[:, 3], model(X)[:, 3])
    config = settings(tmp_path)
    assert (config["architecture"], config["d_in"], config["d_sae"]) == ("standard", 4, 6)
    metadata = config["metadata"]
    assert (metadata["exact"], metadata["mask"]) == (True, "at position 3")
    assert (metadata["model_name"], metadata["hook_name"]) == ("a-model", "blocks.3.hook_resid_post")
    assert (metadata["context_size"], metadata["prepend_bos"]) == (5, True)


def test_the_mean_is_over_text_positions_and_says_that_it_is_not_exact(tmp_path):
    model = sae()
    export_saelens(model, tmp_path, "mean")
    m = position_mask(model.position_term.pos_logits, 0.5)[1:].mean(0)
    torch.testing.assert_close(
        load(tmp_path).encode(X).dense(), torch.relu(X * 0.25 @ model.W_enc + model.architecture.b_enc) * m
    )
    metadata = settings(tmp_path)["metadata"]
    assert (metadata["exact"], metadata["mask"]) == (False, "mean of positions 1..4")


def test_with_all_masks_it_comes_back_to_the_bit(tmp_path):
    model = sae()
    export_saelens(model, tmp_path, None)
    found = load(tmp_path)
    assert found.info == model.info
    assert torch.equal(found(X), model(X))
    assert settings(tmp_path)["architecture"] == "temporallens"


def test_with_all_masks_it_is_checked_when_it_comes_back(tmp_path):
    export_saelens(sae(), tmp_path, None)
    config = settings(tmp_path)
    for changes, message in (
        ({"n_positions": 6}, r"pos_logits has shape \(5, 6\), its configuration .*T 6\) says \(6, 6\)"),
        ({"tau": "cold"}, "tau = 'cold', of type str: float needed"),
        ({"normalize_activations": "layer_norm"}, "'layer_norm'; known for temporallens are none"),
        ({"metadata": {}}, "metadata of cfg.json has no 'origin'"),
    ):
        (tmp_path / "cfg.json").write_text(json.dumps({**config, **changes}))
        with pytest.raises(DictionaryError, match=message) as error:
            load(tmp_path)
        assert str(tmp_path) in str(error.value)
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    with pytest.raises(DictionaryError, match="norm_scaling_factor = 2.0 given, cfg.json says none"):
        load(tmp_path, norm_scaling_factor=2.0)


@pytest.mark.parametrize("position", [0, "mean", None])
def test_without_masks_it_is_exact_everywhere(tmp_path, position):
    model = sae(masked=False)
    export_saelens(model, tmp_path, position)
    torch.testing.assert_close(load(tmp_path)(X), model(X))
    assert (settings(tmp_path)["metadata"]["exact"], settings(tmp_path)["metadata"]["mask"]) == (True, "none")


@pytest.mark.parametrize("position", [0, None])
def test_it_says_whether_its_windows_began_with_bos(tmp_path, position):
    for bos in (True, False):
        model = sae(bos=bos)
        model.save(tmp_path / "own")
        assert ("bos" in settings(tmp_path / "own")) is not bos  # files of before say nothing, and mean true
        assert Dictionary.load(tmp_path / "own").info.bos is bos
        export_saelens(model, tmp_path / "theirs", position)
        assert settings(tmp_path / "theirs")["metadata"]["prepend_bos"] is bos
        assert load(tmp_path / "theirs").info.bos is bos


@pytest.mark.parametrize("position", [3, None])
def test_centred_inputs_are_folded_into_the_biases(tmp_path, position):
    model = sae(centre=torch.tensor([40.0, -3, 0, 8]))
    export_saelens(model, tmp_path, position)
    found, at = load(tmp_path), slice(None) if position is None else position
    torch.testing.assert_close(found.encode(X).dense()[:, at], model.encode(X).dense()[:, at], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found(X)[:, at], model(X)[:, at], atol=1e-4, rtol=1e-4)
    assert "input_centre" not in load_file(tmp_path / "sae_weights.safetensors")


@pytest.mark.parametrize(("architecture", "settings"), [
    ("relu", {}), ("gated", {}), ("jumprelu", {}), ("topk", {"k": 2}), ("abs_topk", {"k": 2}), ("batch_topk", {"k": 2}),
    ("matryoshka", {"k": 2, "prefixes": (0.5, 1.0)}),
])  # fmt: skip
def test_every_architecture_answers_the_same_without_its_centre(architecture, settings):
    made = Info(4, 6, architecture=architecture, settings=settings, input_scale=0.25)
    model = Dictionary.initialise(made, torch.arange(4.0), 1, centre=torch.tensor([40.0, -3, 0, 8]))
    generator = torch.Generator().manual_seed(3)
    for bias in model.architecture.parameters():
        torch.nn.init.uniform_(bias, 0.1, 0.5, generator=generator)
    plain = model.uncentred()
    assert plain.input_centre is None and model.input_centre is not None
    assert model.encode(X).fired().any()
    torch.testing.assert_close(plain.encode(X).dense(), model.encode(X).dense(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(plain(X), model(X), atol=1e-4, rtol=1e-4)


def test_a_closed_mask_silences_the_feature(tmp_path):
    model = sae()
    model.position_term.pos_logits.data[2, 4] = -1e3
    export_saelens(model, tmp_path, 2)
    assert load(tmp_path).encode(X).dense()[..., 4].eq(0).all()


def test_the_embedding_is_what_enters_block_0(tmp_path):
    export_saelens(sae(layer="embedding"), tmp_path, 0)
    assert settings(tmp_path)["metadata"]["hook_name"] == "blocks.0.hook_resid_pre"
    assert load(tmp_path).info.layer == "embedding"


@pytest.mark.parametrize("position", [5, -1, "last", 1.0, True])
def test_positions_that_it_does_not_have_are_refused_and_nothing_is_written(tmp_path, position):
    with pytest.raises(DictionaryError, match=r"position .* asked, this dictionary has 0\.\.4; or export 'mean'"):
        export_saelens(sae(), tmp_path / "d", position)
    assert not (tmp_path / "d").exists()


def test_what_has_no_text_is_refused(tmp_path):
    with pytest.raises(DictionaryError, match="T = 1; export position 0"):
        export_saelens(sae(T=1), tmp_path / "d", "mean")


def test_a_half_precision_dictionary_is_exported_in_fp32(tmp_path):
    model = sae().bfloat16()
    export_saelens(model, tmp_path, 3)
    m = position_mask(model.position_term.pos_logits[3].float(), 0.5)
    expected = model.W_enc.float() * 0.25 * m
    torch.testing.assert_close(load_file(tmp_path / "sae_weights.safetensors")["W_enc"], expected)


def test_a_module_of_another_library_is_refused(tmp_path):
    theirs = Wrapped(SimpleNamespace(encode=lambda x: x, decode=lambda f: f), d_in=4)
    for use in (lambda: export_saelens(theirs, tmp_path, 0), lambda: theirs.save(tmp_path)):
        with pytest.raises(DictionaryError, match="a SimpleNamespace is not ours to save, export"):
            use()
