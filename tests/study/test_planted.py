"""Features planted into the activations of a layer: how often, how large, and what stays as it was."""

import numpy as np
import pytest
import torch

from lens.activations.store import LayerStore
from lens.errors import ConfigError
from lens.profiling.layer_data import LayerData
from lens.study.params import Planted
from lens.study.planted import FEATURES, added, directions, rates, variance, with_planted

T, D = 128, 24


def store(split: str) -> LayerStore:
    n, seed = {"train": (200, 0), "test": (40, 1)}[split]
    x = torch.randn(n, T, D, generator=torch.Generator().manual_seed(seed)).bfloat16()
    x[:, 0] = 100
    x[0, 5] = 1e4  # massive
    none = torch.zeros(n, dtype=torch.long)
    manifest = {"windows": n, "sha256": {"train.safetensors": "a", "test.safetensors": "b"}}
    return LayerStore(x, torch.zeros(n, T, dtype=torch.int32), none, none, ("text",), manifest)


DATA = LayerData(8, store)


def test_features_have_windows_of_16_and_64_and_ramps_of_the_depth():
    found = rates(127, 0.25, np.random.default_rng(0))
    assert found.shape == (127, FEATURES) and (found.mean(0) > 0.0099).all() and (found.mean(0) < 0.101).all()
    assert found.min(0) / found.max(0) == pytest.approx(np.full(FEATURES, 0.75))
    high = (found > found.min(0) * 1.001).sum(0)
    assert set(high[0::3]) == {16} and set(high[1::3]) == {64} and (high[2::3] > 120).all()
    assert (rates(127, 1.0, np.random.default_rng(0)).min(0) == 0).all()


def test_they_add_the_share_of_the_variance_each_as_much_as_any_other():
    rng = np.random.default_rng(0)
    rate = rates(127, 1.0, rng)
    rows = directions(rate, 3.0, D, rng)
    empty = torch.zeros(600, T, D, dtype=torch.float32)
    both = added(empty, rate, rows, np.random.default_rng(1))
    assert (both[:, 0] == 0).all()
    assert float(both[:, 1:].flatten(0, 1).var(0).sum()) == pytest.approx(3.0, rel=0.1)
    one = np.where(np.arange(FEATURES)[:, None] == 3, rows, 0)
    alone = added(empty, rate, one, np.random.default_rng(1))
    assert float(alone[:, 1:].flatten(0, 1).var(0).sum()) == pytest.approx(3.0 / FEATURES, rel=0.1)
    fired = (alone[:, 1:].abs().sum(-1) > 0).float().mean(0).numpy()
    assert np.abs(fired - rate[:, 3]).max() < 5 * np.sqrt(rate[:, 3].max() / 600)
    assert (fired[rate[:, 3] == 0] == 0).all()


def test_massive_tokens_are_no_part_of_the_variance():
    assert variance(store("train").activations) == pytest.approx(D, rel=0.05)


def test_data_with_planted_features_are_others_and_made_again_alike():
    planted, again = (with_planted(DATA, Planted(0.5, 1.0), 3) for _ in range(2))
    assert planted.layer == "8/planted-50-100" and with_planted(DATA, Planted(), 3) is DATA
    for split in ("train", "test"):
        of, x = getattr(planted, split), getattr(DATA, split).activations
        assert torch.equal(of.activations, getattr(again, split).activations)
        assert torch.equal(of.activations[:, 0], x[:, 0]) and of.activations.shape == x.shape
        more = variance(of.activations) / variance(x) - 1
        assert more == pytest.approx(0.5, abs=0.1)
        assert (
            of.manifest["planted"] == {"share": 0.5, "depth": 1.0, "seed": 3} and "planted" not in DATA.train.manifest
        )
    other = with_planted(DATA, Planted(0.5, 1.0), 4)
    assert not torch.equal(other.train.activations, planted.train.activations)
    digests = {data.train.manifest["sha256"]["train.safetensors"] for data in (DATA, planted, other)}
    assert len(digests) == 3

    def firing(data: LayerData, split: str) -> torch.Tensor:
        both = getattr(data, split).activations, getattr(DATA, split).activations
        return (both[0] != both[1]).any(-1)[:40]

    assert not torch.equal(firing(planted, "train"), firing(planted, "test"))
    assert not torch.equal(firing(planted, "train"), firing(other, "train"))


def test_windows_that_are_too_short_are_named():
    with pytest.raises(ConfigError, match="up to 64 positions, those of the text have 39: set windows.length to 65"):
        rates(39, 1.0, np.random.default_rng(0))
