"""A dictionary's folder that was damaged is refused by name: its weights, and every value of its configuration."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lens.activations.store import digest
from lens.dictionaries.dictionary import Dictionary
from lens.dictionaries.folder import CONFIG_DIGEST
from lens.dictionaries.load import load
from lens.errors import DictionaryError
from tests.making import info


def saved(folder: Path, masked: bool = True) -> dict:
    """A saved dictionary's configuration."""
    made = Dictionary.initialise(info(6, 9, 5, masked, scale=0.25, layer="1", name="v"), torch.arange(6.0), seed=3)
    made.save(folder)
    return json.loads((folder / "cfg.json").read_text())


def refused(folder: Path, message: str) -> None:
    for opened in (Dictionary.load, load):
        with pytest.raises(DictionaryError, match=message) as error:
            opened(folder)
        assert str(folder) in str(error.value)


def test_any_altered_value_is_found(tmp_path):
    config = saved(tmp_path)
    other = {int: 7, float: 0.5, str: "x", bool: True, dict: {"tau_end": 0.3}}
    for key, value in config.items():
        altered = {**config, key: other[type(value)]}
        (tmp_path / "cfg.json").write_text(json.dumps(altered))
        refused(tmp_path, "cfg.json does not describe a dictionary.*train it again, or get another copy")
    (tmp_path / "cfg.json").write_text(json.dumps(config, indent=4))  # the same values
    assert Dictionary.load(tmp_path).info.input_scale == 0.25


def test_values_that_are_meant_open_without_the_digest(tmp_path):
    config = saved(tmp_path) | {"input_scale": 0.5}
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    refused(tmp_path, f"was altered: sha256 .*{CONFIG_DIGEST}.*delete that line")
    del config[CONFIG_DIGEST]
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    assert Dictionary.load(tmp_path).info.input_scale == 0.5


@pytest.mark.parametrize("key", ["sha256", "d_in", "d_sae", "n_positions", "architecture", "position"])
def test_what_a_configuration_must_say_is_named(tmp_path, key):
    """Without its digest; one without `n_positions` was taken for another library's, one without `architecture` for a
    ReLU."""
    config = saved(tmp_path)
    del config[CONFIG_DIGEST], config[key]
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    refused(tmp_path, f"it does not say {key}; train it again")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("input_scale", 0, "input_scale = 0: a positive factor"),
        ("input_scale", -1.0, "input_scale = -1.0: a positive factor"),
        ("input_scale", float("nan"), "input_scale: expected a finite number, found nan"),
        ("input_scale", float("inf"), "input_scale: expected a finite number"),
        ("input_scale", "0.25", "input_scale: expected float, found '0.25'"),
        ("input_scale", None, "input_scale: expected float"),
        ("settings", {"tau_end": "0.1"}, "tau_end: expected float, found '0.1'"),
        ("settings", {"tau_end": float("nan")}, "tau_end: expected a finite number"),
        ("settings", {"tau_end": 0.0}, "temperatures must be positive"),
        ("settings", {"frozen": 1}, "frozen: expected bool"),
        ("settings", {"mask_start": "x"}, "mask_start: 'x' is not one of 'normal'"),
        ("settings", [], "settings: expected Mapping"),
        ("n_positions", 10**9, "n_positions = 1000000000: a whole number from 1 to 16777216"),
        ("n_positions", 2**24, r"pos_logits has shape \(5, 9\)"),  # 600 MB if it were allocated
        ("n_positions", 0, "n_positions = 0: a whole number"),
        ("n_positions", 5.0, "n_positions: expected int or NoneType"),
        ("d_in", 7, r"W_enc has shape \(6, 9\)"),
        ("d_sae", 10**9, r"W_enc has shape \(6, 9\)"),
        ("d_sae", -9, "d_sae = -9: a whole number"),
        ("d_sae", True, "d_sae: expected int, found True"),
        ("seed", -1, "seed = -1: a whole number"),
        ("layer", 1, "layer: expected str, found 1"),
        ("architecture", None, "architecture: expected str"),
        ("apply_b_dec_to_input", "no", "apply_b_dec_to_input: expected bool"),
        ("normalisation", "whitened", "normalisation: 'whitened' is not one of"),
        ("code", [], "code: expected dict"),
        ("width", 9, "unexpected keyword argument 'width'"),
    ],
)
def test_values_make_sense_also_where_no_digest_covers_them(tmp_path, key, value, message):
    config = saved(tmp_path) | {key: value}
    del config[CONFIG_DIGEST]
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    refused(tmp_path, message)


def test_a_plain_dictionary_of_too_many_positions_is_refused(tmp_path):
    config = saved(tmp_path, masked=False) | {"n_positions": 10**9}
    del config[CONFIG_DIGEST]
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    refused(tmp_path, "n_positions = 1000000000: a whole number")


@pytest.mark.parametrize("content", ["", "{", "[]", "\udcff", '{"n_positions": 5}', '{"n_positions":' + "[" * 100_000])
def test_configurations_that_cannot_be_read_are_named(tmp_path, content):
    saved(tmp_path)
    (tmp_path / "cfg.json").write_text(content, errors="surrogateescape")
    with pytest.raises(DictionaryError, match="cfg.json (does not describe|cannot be read).*train it again"):
        Dictionary.load(tmp_path)


def test_weights_that_were_never_readable_are_named(tmp_path):
    """The digest is right, the header is not: a file that was damaged before it was taken."""
    config = saved(tmp_path)
    del config[CONFIG_DIGEST]
    path = tmp_path / "sae.safetensors"
    path.write_bytes(b"\xff" * 8 + path.read_bytes()[8:])
    (tmp_path / "cfg.json").write_text(json.dumps(config | {"sha256": digest(path)}))
    refused(tmp_path, "sae.safetensors is truncated or not a safetensors file")


def test_weights_of_another_dictionary_are_named(tmp_path):
    config = saved(tmp_path)
    del config[CONFIG_DIGEST]
    path = tmp_path / "sae.safetensors"
    save_file({name: value for name, value in load_file(path).items() if name != "b_dec"}, path)
    (tmp_path / "cfg.json").write_text(json.dumps(config | {"sha256": digest(path)}))
    refused(tmp_path, "weights are .*a relu . mask dictionary needs .*'b_dec'")
