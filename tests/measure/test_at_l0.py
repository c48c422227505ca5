"""Errors at exactly one L0: by hand, and of dictionaries that were trained to others."""

import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from lens.dictionaries.dictionary import Dictionary
from lens.dictionaries.info import Info
from lens.errors import DictionaryError
from lens.measure.at_l0 import Sums, at_l0, bracket, sums_of
from lens.training.recipe import build
from lens.training.train import train_layer

VALUES = torch.arange(1, 1001) / 1000
BLOCK, ALL = torch.arange(50) % 2, torch.ones(50, 21, dtype=torch.bool)


def by_hand(threshold: float, architecture: str = "jumprelu") -> Dictionary:
    """One feature that passes values above the threshold."""
    own = {"b_enc": torch.zeros(1)} | ({"threshold": torch.full((1,), threshold)} if architecture == "jumprelu" else {})
    weights = {"W_enc": torch.ones(1, 1), "W_dec": torch.ones(1, 1), "b_dec": torch.zeros(1), **own}
    info = Info(d_in=1, d_sae=1, n_positions=None, architecture=architecture, name="arm", input_scale=1.0)
    return Dictionary(info, weights)


def windows() -> torch.Tensor:
    """50 windows of 20 text positions, whose 1000 values are .001 to 1."""
    x = VALUES[torch.randperm(1000, generator=torch.Generator().manual_seed(0))].view(50, 20, 1)
    return torch.cat([torch.full((50, 1, 1), 100.0), x], dim=1)


def measured(sae: Dictionary, target: float):
    x = windows()
    return at_l0(sae, target, 1000, lambda one: sums_of(one, x, BLOCK, 2, 2.0, ALL))


@pytest.mark.parametrize("trained", [0.5, 0.68, 0.7, 0.9, 2.0])
def test_the_error_is_that_of_the_threshold_that_has_the_l0(trained):
    found = measured(by_hand(trained), 0.3)
    assert found.l0 == pytest.approx(max(0, 1 - trained), abs=2e-3)
    below, above = found.l0s
    assert below < 0.3 <= above and above / below < 1.1
    assert np.isclose(trained * found.factors[0], 1 - below, atol=2e-3)
    lost = 4 * float((VALUES[VALUES <= 0.7] ** 2).sum())  # what the threshold of L0 .3 keeps out, scaled by 2
    assert found.sums.sq_error[:, 1:].sum() == pytest.approx(lost, rel=2e-3)
    assert found.sums.active[:, 1:].sum() == pytest.approx(300, rel=1e-3)
    assert found.slope == pytest.approx(-3 * 0.3 / 0.7, rel=0.1)  # error ~ (1 - L0)^3


def test_sums_are_over_the_tokens_that_count_and_blocks_are_apart():
    x, ordinary = windows(), ALL.clone()
    ordinary[0, 5] = False
    whole, less = (sums_of(by_hand(0.5), x, BLOCK, 2, 2.0, which) for which in (ALL, ordinary))
    here, on = float(x[0, 5]), float(x[0, 5]) > 0.5
    assert whole.active[0, 5] - less.active[0, 5] == on
    assert whole.sq_error[0, 5] - less.sq_error[0, 5] == pytest.approx(0 if on else 4 * here**2)
    even = x[::2, 3, 0]
    assert whole.sq_error[0, 3] == pytest.approx(4 * float((even[even <= 0.5] ** 2).sum()), rel=1e-5)
    assert (whole.sq_error[:, 0] == 0).all() and (whole.active[:, 0] == 25).all()


def test_a_cell_without_an_error_stays_without_one():
    sums = {True: Sums(np.array([[0.0, 0.0, 4.0]]), np.array([[0, 0, 104.0]])),
            False: Sums(np.array([[0.0, 1.0, 9.0]]), np.array([[0, 0, 97.0]]))}  # fmt: skip
    found = at_l0(by_hand(0.5), 1.0, 100, lambda one: sums[one.architecture.threshold.item() <= 0.5])
    weight = np.log(1 / 0.97) / np.log(1.04 / 0.97)
    assert found.sums.sq_error.tolist() == [[0, 0, pytest.approx(9 ** (1 - weight) * 4**weight)]]
    assert found.slope == pytest.approx(np.log(4 / 10) / np.log(1.04 / 0.97))


@pytest.mark.parametrize(("power", "trained"), [(-0.7, 25), (-3, 33), (-2, 32), (-8, 30), (-1, 90)])
def test_two_factors_are_found_that_have_l0_on_both_sides(power, trained):
    l0s, two = bracket(lambda factor: trained * factor**power, 32)
    assert two is not None and l0s[two[0]] < 32 <= l0s[two[1]] and len(l0s) <= 6
    assert all(abs(l0s[factor] / 32 - 1) <= 0.05 for factor in two)


def test_an_l0_that_cannot_be_reached_is_named():
    with pytest.raises(DictionaryError, match=r"arm: no factor .* both sides of 2 .*train it nearer"):
        measured(by_hand(0.5), 2)  # one feature
    with pytest.raises(DictionaryError, match="arm: no factor"):
        measured(by_hand(0.0), 2)
    with pytest.raises(DictionaryError, match="arm .relu. has no threshold"):
        measured(by_hand(0.5, "relu"), 0.3)


def test_dictionaries_trained_to_other_l0s_have_the_same_error_at_one(tmp_path: Path):
    fixed = np.random.default_rng(0)
    directions, rates = fixed.normal(size=(192, 48)) / 48**0.5, 20 / 192 * np.exp(fixed.normal(size=192))

    def drawn(n: int, seed: int) -> torch.Tensor:
        rng = np.random.default_rng((1, seed))
        codes = np.abs(rng.normal(size=(n, 33, 192))) * (rng.random((n, 33, 192)) < rates)
        return torch.from_numpy(codes @ directions + 0.05 / 48**0.5 * rng.normal(size=(n, 33, 48))).bfloat16()

    recipe = build({
        "architecture": "batch_topk", "expansion": 4, "position_weights": "uniform", "input_centre": "mean",
        "lr": 3e-3, "lr_decay": 0.3, "steps": 150, "precision": "fp32", "position": "none", "k": 29,
    })  # fmt: skip
    more = dataclasses.replace(recipe, settings={**recipe.settings, "k": 31})
    trained = train_layer(
        drawn(192, 0), {"less": recipe, "more": more}, [0], tmp_path / "dictionaries", tmp_path, data_digest="drawn",
        layer="toy", device="cpu",
    )  # fmt: skip
    test, block, whole = drawn(96, 1), torch.zeros(96, dtype=torch.long), torch.ones(96, 33, dtype=torch.bool)

    def error(sae: Dictionary, target: float) -> tuple[float, float]:
        found = at_l0(sae, target, 96 * 32, lambda one: sums_of(one, test, block, 1, 1.0, whole))
        return found.sums.sq_error[:, 1:].sum(), found.l0

    less, more = (Dictionary.load(trained.folders[name, 0]) for name in ("less", "more"))
    target = error(less, 21)[1] / 0.97
    (first, l0_first), (second, l0_second) = error(less, target), error(more, target)
    assert (l0_first / target, l0_second / target) == (pytest.approx(0.97), pytest.approx(1.04, abs=0.02))
    assert first / second == pytest.approx(1, abs=4e-3)  # what they learned differs, too
    assert error(less, l0_first * 1.0001)[0] / error(more, l0_second)[0] > 1.03  # as they were trained

    other = copy.deepcopy(less)  # whose threshold alone is another one
    other.architecture.threshold.data *= 0.947
    second, l0_second = error(other, target)
    assert l0_second / target == pytest.approx(1.04, abs=0.01) and first / second == pytest.approx(1, abs=5e-4)
