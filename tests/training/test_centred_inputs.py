"""Inputs that are taken less their mean before they are scaled."""

import pytest
import torch

from lens.dictionaries.dictionary import Dictionary
from lens.training.objective import losses
from lens.training.recipe import Recipe
from lens.training.run import TrainingError
from tests.training.test_pool import stopped
from tests.training.test_train import T, activations, configs, same, train


def centred(folder, *, data=None, variants=("temporallens",), **rest):
    """Dictionaries of centred inputs, in fp32, by variant."""
    fields = {"input_centre": "mean", "precision": "fp32", "seeds": (0,), **rest}
    trained = train(folder, data=data, variants=variants, **fields)
    return {v: Dictionary.load(path) for (v, _), path in trained.folders.items()}


def test_the_centre_is_the_mean_of_the_text_and_the_scale_that_of_what_is_left(tmp_path):
    found = centred(tmp_path)["temporallens"]
    text = activations()[:, 1:].float()
    torch.testing.assert_close(found.input_centre, text.mean((0, 1)))
    rms = (text - text.mean((0, 1))).square().sum(-1).mean().sqrt()
    assert found.info.input_scale == pytest.approx(1 / rms.item(), rel=1e-5)
    seen = found.scaled(text)
    torch.testing.assert_close(seen.mean((0, 1)), torch.zeros_like(seen[0, 0]), atol=1e-5, rtol=0)
    assert seen.square().sum(-1).mean().item() == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize(("variant", "fields"), [
    ("temporallens", {}), ("shuffled_positions", {}), ("bos_included", {}), ("standard", {"position": "centred"}),
])  # fmt: skip
def test_where_the_activations_lie_makes_no_difference(tmp_path, variant, fields):
    """A vector added to all activations is added to their reconstructions, and changes no feature."""
    data, moved_by = activations().float(), torch.linspace(-4, 4, 16)
    data[:, 0] = data[:, 1]
    here, there = (
        centred(tmp_path / name, data=x, variants=(variant,), **fields)[variant]
        for name, x in (("here", data), ("there", data + moved_by))
    )
    close = {"atol": 1e-3, "rtol": 1e-3}
    torch.testing.assert_close(there.encode(data + moved_by).dense(), here.encode(data).dense(), **close)
    torch.testing.assert_close(there(data + moved_by), here(data) + moved_by, **close)


def test_errors_are_those_of_the_activations_themselves(tmp_path):
    """The decoder undoes what the encoder does to its inputs, so the mean squared error is one of raw activations."""
    found, x = centred(tmp_path, steps=300)["temporallens"], activations().float()
    error = (found(x) - x)[:, 1:].square().sum(-1).mean(0)
    trained_on, *_ = losses(found, x[:, 1:], torch.arange(1, T))
    torch.testing.assert_close(error * found.info.input_scale**2, trained_on.error, rtol=1e-4, atol=1e-6)
    assert error.mean() < (x - x[:, 1:].mean((0, 1)))[:, 1:].square().sum(-1).mean()


def test_written_out_gradients_see_what_autograd_sees(tmp_path, monkeypatch):
    fast = centred(tmp_path / "fast")["temporallens"]
    monkeypatch.setattr("lens.training.run.applies_to", lambda dictionary: False)
    slow = centred(tmp_path / "slow")["temporallens"]
    torch.testing.assert_close(fast.state_dict(), slow.state_dict(), rtol=1e-4, atol=1e-5)


def test_training_that_was_stopped_goes_on_to_the_same_bytes(tmp_path, monkeypatch):
    few = {"variants": ("temporallens",), "seeds": (0,), "input_centre": "mean"}
    train(tmp_path / "whole", **few)
    stopped(tmp_path / "again", monkeypatch, **few)
    train(tmp_path / "again", **few)
    assert same(tmp_path / "whole" / "out", tmp_path / "again" / "out")


def test_runs_as_the_paper_has_them_keep_their_names_and_files(tmp_path):
    """What is not centred has no centre: neither among its weights nor in what tells recipes apart."""
    plain = configs(variants=("temporallens",))["temporallens"]
    assert "input_centre" not in plain.identity()
    assert Recipe(input_centre="mean").identity()["input_centre"] == "mean"
    assert (
        Dictionary.load(train(tmp_path, variants=("standard",), seeds=(0,)).folders["standard", 0]).input_centre is None
    )


def test_activations_that_are_all_the_same_are_refused(tmp_path):
    data = activations()
    data[:] = data[0, 1]
    with pytest.raises(TrainingError, match="layer 3: the activations are all the same, and temporallens centres them"):
        centred(tmp_path, data=data)
