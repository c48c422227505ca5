import json
import shutil
import threading
import time
import warnings

import pytest
import torch

from lens.activations import models
from lens.errors import ConfigError, DictionaryError
from lens.locks import holding
from lens.profiling.profile import profile
from lens.training.fit import fit

MODEL = "random:gemma-3-tiny"
TEXT = ["the quick brown fox jumps over the lazy dog\n" * 60]
OPTIONS = {"windows": 20, "length": 16, "steps": 6}


def test_dictionaries_of_one_text_are_paired_and_say_where_they_belong(tmp_path):
    masked = fit(MODEL, 1, TEXT, tmp_path, expansion=2, **OPTIONS)
    plain = fit(MODEL, 1, TEXT, tmp_path, position="none", expansion=2, position_weights="uniform", **OPTIONS)
    assert masked.position_term.values().shape == (16, 64) and plain.position_term.values() is None
    assert (masked.info.layer, masked.info.model, masked.info.d_sae) == ("1", MODEL, 64)
    assert (masked.info.name, plain.info.name, masked.info.n_positions) == ("relu-mask", "relu-none", 16)
    assert len(list((tmp_path / "pool").glob("activations-*"))) == 1  # shared
    assert sorted(p.name for p in (tmp_path / "dictionaries").iterdir()) == ["relu-mask", "relu-none"]


def test_two_position_terms_on_centred_inputs(tmp_path):
    """Means of positions are those of what is left of the inputs, so that over positions nothing is left of them."""
    sae = fit(MODEL, 1, TEXT, tmp_path, position="centred+gain", input_centre="mean", **OPTIONS)
    assert sae.info.name == "relu-centred-gain"
    means = sae.position_term.get_parameter("inner.position_mean")[1:]
    assert means.abs().max() > 0.05 and means.mean(0).abs().max() < 1e-3


def test_a_second_call_finds_what_the_first_one_made(tmp_path, monkeypatch):
    first = fit(MODEL, 1, TEXT, tmp_path, **OPTIONS)
    monkeypatch.setattr("lens.training.train._train", lambda *a: pytest.fail("trained again"))
    assert torch.equal(first.W_enc, fit(MODEL, 1, TEXT, tmp_path, **OPTIONS).W_enc)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"l1_coef": 0.02}, "relu-mask was fitted with l1_coef 0.04, not 0.02: pass name= or another folder"),
        ({"layer": 0, "seed": 3}, "fitted with layer 1, not 0; seed 0, not 3: pass"),
        ({"text": ["something else entirely, and more of it\n" * 60]}, "fitted with text .*, not .*: pass"),
    ],
)
def test_another_recipe_of_one_name_is_refused_and_the_first_dictionary_stays(tmp_path, monkeypatch, changes, message):
    asked = {"model": MODEL, "layer": 1, "text": TEXT, "folder": tmp_path, **OPTIONS}
    fit(**asked)
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with monkeypatch.context() as patch, pytest.raises(ConfigError, match=message):
        patch.setattr("lens.training.fit.extract", lambda *a, **k: pytest.fail("the model ran"))
        fit(**asked | changes)
    assert files == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    fit(**asked | changes, name="second")
    assert (tmp_path / "dictionaries/relu-mask/relu-mask-seed0/cfg.json").is_file()


@pytest.mark.parametrize("name", ["../mine", "/tmp/mine", "a/b", "..", "-x", "a\0b"])
def test_a_name_that_leaves_the_folder_is_refused_before_anything_is_made(tmp_path, name):
    with pytest.raises(ConfigError, match="fit: name: .* names a folder of results"):
        fit(MODEL, 1, TEXT, tmp_path / "here", name=name, **OPTIONS)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_can_hold_nothing_is_named_before_the_model_is_opened(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file cannot hold results: it is no folder; name another"):
        fit("no-model", 1, TEXT, tmp_path / "file", **OPTIONS)


def test_another_model_of_the_same_name_is_refused(tmp_path):
    own, other = (models.load(MODEL) for _ in range(2))
    with torch.no_grad():
        for weight in other.model.parameters():
            weight.mul_(1.5)
    fit(own, 1, TEXT, tmp_path / "a", **OPTIONS)
    for folder in ("b", "c"):  # without the pool
        shutil.copytree(tmp_path / "a" / "dictionaries", tmp_path / folder / "dictionaries")
    with pytest.raises(ConfigError, match="fitted with activations .*isn't the model that it was.*: pass name="):
        fit(other, 1, TEXT, tmp_path / "b", **OPTIONS)
    assert fit(own, 1, TEXT, tmp_path / "c", **OPTIONS).info.layer == "1"


def test_a_dictionary_whose_record_is_lost_is_not_replaced_by_another(tmp_path):
    fit(MODEL, 1, TEXT, tmp_path, **OPTIONS)
    record = tmp_path / "dictionaries/relu-mask/fit.json"
    content = record.read_bytes()
    record.write_bytes(content[:40])
    with pytest.raises(ConfigError, match="fit.json cannot be read .*delete it and fit again"):
        fit(MODEL, 1, TEXT, tmp_path, **OPTIONS)
    record.unlink()
    with pytest.raises(ConfigError, match="fitted with layer 1, not 0; seed 0, not 2: pass name="):
        fit(MODEL, 0, TEXT, tmp_path, **OPTIONS, seed=2)
    fit(MODEL, 1, TEXT, tmp_path, **OPTIONS)
    assert record.read_bytes() == content


def test_a_layer_may_be_typed_as_a_word(tmp_path):
    assert fit(MODEL, "1", TEXT, tmp_path, **OPTIONS).info.layer == "1"


def test_training_is_not_started_with_an_architecture_that_answers_no_codes(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from lens.dictionaries.architectures.relu import Codes, ReLU\n\n\nclass Mine(ReLU):\n"
        "    def select(self, u):\n        return u if self.training else Codes(u, None, self.d_sae)\n"
    )
    with pytest.raises(DictionaryError, match="Mine.select must return Codes of width 32 .*got Tensor"):
        fit(MODEL, 1, TEXT, tmp_path, architecture=f"{tmp_path}/mine.py:Mine", position="none", **OPTIONS)


def test_mistakes_are_found_before_the_model_runs(tmp_path):
    for fields, message in (
        ({"architecture": "rellu"}, "unknown architecture 'rellu' .did you mean 'relu'"),
        ({"position": "maks"}, "unknown position term 'maks'"),
        ({"l1": 0.1}, "unknown field 'l1'"),
        ({"seed": -1}, "seed must be a whole number of at least 0 and at most 4294967295, found -1"),
        ({"seed": 2**64}, "seed must be a whole number of .* at most 4294967295, found 18446744073709551616"),
        ({"windows": 0}, "windows must be a whole number of at least 1, found 0"),
        ({"length": 1}, "length must be a whole number of at least 2, found 1"),
        ({"length": 32.0}, "length must be a whole number of at least 2, found 32.0"),
    ):
        with pytest.raises(ConfigError, match=message):
            fit(MODEL, 1, TEXT, tmp_path, **{**OPTIONS, **fields})
    with pytest.raises(ValueError, match="no layer 9"):
        fit(MODEL, 9, TEXT, tmp_path, **OPTIONS)
    with pytest.raises(ValueError, match="training text too short"):
        fit(MODEL, 1, TEXT, tmp_path, **{**OPTIONS, "windows": 10**6})
    assert not list(tmp_path.iterdir())


def test_a_model_that_was_edited_in_its_folder_is_read_again(tmp_path):
    made = models.load(MODEL)
    made.model.save_pretrained(tmp_path / "model")
    made.tokenizer.save_pretrained(tmp_path / "model")
    model, config = str(tmp_path / "model"), tmp_path / "model" / "config.json"
    before = fit(model, 1, TEXT, tmp_path / "a", **OPTIONS)
    config.write_text(json.dumps(json.loads(config.read_text()) | {"rms_norm_eps": 10.0}))
    with pytest.raises(
        ConfigError, match="relu-mask was fitted with activations .*isn't the model that it was.*: pass name="
    ):
        fit(model, 1, TEXT, tmp_path / "a", **OPTIONS)
    after, fresh = (fit(model, 1, TEXT, tmp_path / folder, name="edited", **OPTIONS) for folder in ("a", "fresh"))
    assert torch.equal(after.W_enc, fresh.W_enc) and not torch.equal(before.W_enc, after.W_enc)


def test_the_store_is_not_replaced_while_another_call_reads_it(tmp_path, capsys):
    with holding(tmp_path / "activations"):
        other = threading.Thread(target=fit, args=(MODEL, 1, TEXT, tmp_path), kwargs=OPTIONS)
        other.start()
        said = ""
        while "waiting for process" not in said and other.is_alive():
            time.sleep(0.01)
            said += capsys.readouterr().err
        assert not (tmp_path / "activations").exists()
    other.join()
    assert (tmp_path / "activations" / "layer_1").is_dir()


def test_too_short_a_held_out_text_is_found_before_the_model_runs(tmp_path, monkeypatch):
    enough = "the quick brown fox " * 12  # 16 windows of BOS and 15 bytes
    short = [enough[:-1]]
    with monkeypatch.context() as patch, pytest.raises(ValueError, match="held-out text too short: .* there are 239"):
        patch.setattr("lens.training.fit.extract", lambda *a, **k: pytest.fail("the model ran"))
        fit(MODEL, 1, TEXT, tmp_path, held_out=short, **OPTIONS)
    assert not list(tmp_path.iterdir())
    sae = fit(MODEL, 1, TEXT, tmp_path, held_out=[enough], **OPTIONS)
    with pytest.warns(UserWarning, match="16 available"):
        found = profile(sae, MODEL, [enough], fidelity=2)
    assert found.about.windows == 16
    found.save(tmp_path / "profile")  # the figures too


def test_a_text_with_fewer_windows_than_are_trained_on_is_named(tmp_path):
    with pytest.warns(UserWarning, match="86 training windows hold 100 tokens of the text, each of them 12.9 times"):
        fit(MODEL, 1, ["a" * 60 + "b" * 40], tmp_path, windows=86, length=16, steps=2)  # 86 x 15 / 100


def test_windows_of_a_long_text_do_not_repeat_it(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        fit(MODEL, 1, TEXT, tmp_path, **OPTIONS)
