import pytest
import torch

from lens.errors import ConfigError
from lens.training.fit import fit

MODEL = "random:gemma-3-tiny"
TEXT = ["the quick brown fox jumps over the lazy dog\n" * 60]
OPTIONS = {"windows": 20, "length": 16, "steps": 6}


def test_dictionaries_of_one_text_are_paired_and_say_where_they_belong(tmp_path):
    found = fit(MODEL, 1, TEXT, tmp_path, expansion=2, **OPTIONS)
    assert list(found) == ["temporallens", "standard"]
    masked, plain = found.values()
    assert masked.config.masked and not plain.config.masked
    assert (masked.config.layer, masked.config.model, masked.config.d_sae) == ("1", MODEL, 64)
    assert masked.config.n_positions == 16


def test_a_second_call_finds_what_the_first_one_made(tmp_path, monkeypatch):
    first = fit(MODEL, 1, TEXT, tmp_path, **OPTIONS)
    monkeypatch.setattr("lens.training.train._train", lambda *a: pytest.fail("trained again"))
    again = fit(MODEL, 1, TEXT, tmp_path, **OPTIONS)
    for variant, sae in first.items():
        assert torch.equal(sae.W_enc, again[variant].W_enc)


def test_mistakes_are_found_before_the_model_runs(tmp_path):
    with pytest.raises(ConfigError, match="unknown variant 'temporalens'"):
        fit(MODEL, 1, TEXT, tmp_path, variants=["temporalens"], **OPTIONS)
    with pytest.raises(ConfigError, match="unknown field 'l1'"):
        fit(MODEL, 1, TEXT, tmp_path, l1=0.1, **OPTIONS)
    with pytest.raises(ValueError, match="no layer 9"):
        fit(MODEL, 9, TEXT, tmp_path, **OPTIONS)
    with pytest.raises(ValueError, match="corpus too short"):
        fit(MODEL, 1, TEXT, tmp_path, **{**OPTIONS, "windows": 10**6})
    assert not list(tmp_path.iterdir())
