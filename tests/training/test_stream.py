"""Training that the language model feeds, window by window."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from lens.activations import models
from lens.activations.extract import extract
from lens.activations.split import as_dataset
from lens.activations.store import open_layer
from lens.errors import ConfigError
from lens.training.fit import fit
from lens.training.stream import Stream
from tests.training.test_pool import stopped
from tests.training.test_train import same, train

MODEL, LAYER = "random:gemma-3-tiny", 1
TEXT = ["the quick brown fox jumps over the lazy dog\n" * 60]
N, T = 20, 16  # windows of an epoch: a block of the model's and a part of one
FEW = {"variants": ("temporallens",), "seeds": (0,), "batch_windows": 6, "steps": 9}  # 2.7 epochs
FIT = {"windows": N, "length": T, "steps": 6, "redraw": True}


@pytest.fixture(scope="module")
def stream():
    return of(torch.float32)


def of(dtype: torch.dtype) -> Stream:
    return Stream(models.load(MODEL, dtype=dtype), LAYER, as_dataset(TEXT), N, T)


@dataclass
class InOrder:
    """A store of the windows that a stream will have drawn, read from the first to the last."""

    activations: torch.Tensor
    first: torch.Tensor
    """the first epoch of the study's own seed"""

    shape = property(lambda self: self.first.shape)

    def sample(self, seed):
        return self.first

    def batches(self, size, steps, seed, first_step=0):
        return iter(self.activations[first_step * size : steps * size].split(size))


def stored(stream, folder, seed: int = 0) -> InOrder:
    """Three epochs of the draw of a seed, extracted as a study does it."""
    parts = [extracted(stream, folder / f"{seed}-{epoch}", seed, epoch) for epoch in range(3)]
    return InOrder(torch.cat(parts), extracted(stream, folder / "0-0", 0, 0))


def extracted(stream, folder, seed: int, epoch: int) -> torch.Tensor:
    extract(stream.model, {"train": stream.draw(seed, epoch)}, [LAYER], folder / "store", folder, window_rule={})
    return open_layer(folder / "store", LAYER, "train").activations


@pytest.mark.parametrize("fields", [{}, {"include_bos": True, "input_centre": "mean"}, {"precision": "fp32"}])
def test_it_trains_to_the_bytes_that_a_store_of_the_same_windows_gives(stream, tmp_path, fields):
    streamed = train(tmp_path / "stream", data=stream, **FEW, **fields)
    in_store = train(tmp_path / "store", data=stored(stream, tmp_path), **FEW, **fields)
    assert streamed.history.equals(in_store.history)
    assert same(tmp_path / "stream" / "out", tmp_path / "store" / "out")


def test_architectures_that_autograd_differentiates_learn_from_it(tmp_path):
    """Also where what the model gives reaches the encoder as it is."""
    stream = of(torch.bfloat16)
    untouched = {"precision": "bf16", "input_scale": "raw", "include_bos": True}
    fields = {**FEW, "variants": ("standard",), "architecture": "gated", **untouched}
    train(tmp_path / "stream", data=stream, **fields)
    train(tmp_path / "store", data=stored(stream, tmp_path), **fields)
    assert same(tmp_path / "stream" / "out", tmp_path / "store" / "out")


def test_windows_are_drawn_anew_each_epoch_and_differ_between_seeds(stream):
    starts = [frozenset(stream.draw(seed, epoch).start.tolist()) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert [len(drawn) for drawn in starts] == [N, N, N]  # distinct within an epoch
    assert len(set(starts)) == 3
    assert np.array_equal(stream.draw(0, 1).tokens, stream.draw(0, 1).tokens)


def test_seeds_with_an_order_of_their_own_see_windows_of_their_own(stream, tmp_path):
    """Seed 1 learns from the windows of draw 1, which it is given here from a store."""
    fields = {**FEW, "seeds": (1,)}
    train(tmp_path / "own", data=stream, window_order="per_seed", **fields)
    train(tmp_path / "store", data=stored(stream, tmp_path, seed=1), **fields)
    train(tmp_path / "shared", data=stream, **fields)
    assert same(tmp_path / "own" / "out", tmp_path / "store" / "out")
    assert not same(tmp_path / "own" / "out", tmp_path / "shared" / "out")


@pytest.mark.parametrize("step", [0, 1, 4, 7])
def test_batches_from_any_step_are_those_of_the_whole_run(stream, step):
    whole = list(stream.batches(6, 9, 0))
    rest = list(stream.batches(6, 9, 0, step))
    assert len(rest) == 9 - step
    assert all(torch.equal(a, b) for a, b in zip(whole[step:], rest, strict=True))


def test_training_that_was_stopped_goes_on_to_the_same_bytes(stream, tmp_path, monkeypatch):
    few = {"variants": ("temporallens",), "seeds": (0,), "data": stream}  # 30 steps of 4 windows, a state after 28
    train(tmp_path / "whole", **few)
    stopped(tmp_path / "again", monkeypatch, **few)
    train(tmp_path / "again", **few)
    assert same(tmp_path / "whole" / "out", tmp_path / "again" / "out")


def test_the_model_runs_no_further_than_the_block_that_is_needed(stream, monkeypatch):
    ran, run = [], stream.model.residual_stream
    monkeypatch.setattr(type(stream.model), "residual_stream", lambda self, t, *a: ran.append(len(t)) or run(t, *a))
    batches = stream.batches(6, 9, 0)
    assert [next(batches).shape for _ in range(2)] == [(6, T, stream.model.d_model)] * 2
    assert ran == [16]
    next(batches)
    assert ran == [16, 4]
    ran.clear()
    next(stream.batches(6, 9, 0, first_step=1))  # a block from its first window on: others would round otherwise
    assert ran == [16]


def test_a_dictionary_is_fitted_without_a_store(tmp_path, monkeypatch):
    sae = fit(MODEL, LAYER, TEXT, tmp_path, **FIT)
    assert not (tmp_path / "activations").exists()
    assert not torch.equal(sae.W_enc, fit(MODEL, LAYER, TEXT, tmp_path / "seed", **FIT, seed=1).W_enc)
    with pytest.raises(ConfigError, match="fitted with activations .*, not .*: pass name="):
        fit(MODEL, LAYER, TEXT, tmp_path, **FIT | {"redraw": False})
    with pytest.raises(ValueError, match="training text too short"):
        fit(MODEL, LAYER, TEXT, tmp_path / "short", **FIT | {"windows": 10**6})
    monkeypatch.setattr("lens.training.train._train", lambda *a: pytest.fail("trained again"))
    assert torch.equal(sae.W_enc, fit(MODEL, LAYER, TEXT, tmp_path, **FIT).W_enc)


def test_other_text_model_or_windows_are_other_data(stream):
    other = as_dataset(["something else entirely, and more of it\n" * 60])
    made = {
        Stream(stream.model, *rest).digest
        for rest in ((1, as_dataset(TEXT), N, T), (0, as_dataset(TEXT), N, T), (1, other, N, T),
                     (1, as_dataset(TEXT), N + 1, T), (1, as_dataset(TEXT), N, T + 1))
    }  # fmt: skip
    assert len(made) == 5 and stream.digest in made
