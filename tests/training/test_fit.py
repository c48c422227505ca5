import pytest
import torch

from lens.errors import ConfigError
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


def test_a_second_call_finds_what_the_first_one_made(tmp_path, monkeypatch):
    first = fit(MODEL, 1, TEXT, tmp_path, **OPTIONS)
    monkeypatch.setattr("lens.training.train._train", lambda *a: pytest.fail("trained again"))
    assert torch.equal(first.W_enc, fit(MODEL, 1, TEXT, tmp_path, **OPTIONS).W_enc)


def test_mistakes_are_found_before_the_model_runs(tmp_path):
    for fields, message in (
        ({"architecture": "rellu"}, "unknown architecture 'rellu' .did you mean 'relu'"),
        ({"position": "maks"}, "unknown position term 'maks'"),
        ({"l1": 0.1}, "unknown field 'l1'"),
    ):
        with pytest.raises(ConfigError, match=message):
            fit(MODEL, 1, TEXT, tmp_path, **fields, **OPTIONS)
    with pytest.raises(ValueError, match="no layer 9"):
        fit(MODEL, 9, TEXT, tmp_path, **OPTIONS)
    with pytest.raises(ValueError, match="corpus too short"):
        fit(MODEL, 1, TEXT, tmp_path, **{**OPTIONS, "windows": 10**6})
    assert not list(tmp_path.iterdir())
