"""What is read of a folder whatever its format: what is odd in it, and any value of any setting."""

import json
import warnings

import numpy as np
import pytest
import torch

from lens.dictionaries.dictionary import Dictionary, Info
from lens.dictionaries.load import load
from lens.errors import DictionaryError
from tests.dictionaries.folders import (
    GEMMA_3,
    LINEAR,
    RELU,
    SAELENS,
    SPARSIFY_WEIGHTS,
    THRESHOLD,
    WEIGHTS,
    X,
    dictionary_learning,
    gemma_scope,
    gemma_scope_2,
    llama_scope,
    llama_scope_r1,
    saelens,
    sparsify,
    write,
)


def test_half_precision_is_read_as_fp32(tmp_path):
    sae = load(saelens(tmp_path / "d", {name: value.bfloat16() for name, value in WEIGHTS.items()}))
    assert sae.W_enc.dtype == torch.float32
    assert sae.encode(X).dense().tolist() == RELU


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


@pytest.mark.parametrize("text", ["[" * 100_000 + "]" * 100_000, '{"a":' * 100_000 + "1" + "}" * 100_000])
def test_settings_nested_too_deep_are_no_json(tmp_path, text):
    folder = saelens(tmp_path / "d")
    (folder / "cfg.json").write_text(text)
    with pytest.raises(DictionaryError, match="cfg.json cannot be read .*recursion depth"):
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
