import math

import pytest
import torch

from lens.dictionaries.positions.mask import temperature
from lens.training.schedule import PositionWeights, decay, warmup


def test_temperature_hits_both_ends_exactly_and_falls_exponentially():
    taus = [temperature(s, 1000) for s in range(1000)]
    assert taus[0] == 5.0
    assert taus[-1] == 0.1
    steps = [math.log(a / b) for a, b in zip(taus, taus[1:], strict=False)]
    assert steps == pytest.approx([math.log(50) / 999] * 999)


def test_temperature_outside_the_schedule_is_refused():
    for step in (-1, 10):
        with pytest.raises(ValueError, match="outside a schedule of 10 steps"):
            temperature(step, 10)
    assert temperature(0, 1) == 0.1


def test_weights_start_at_one_and_sum_to_the_number_of_positions():
    weights = PositionWeights(4)
    assert torch.equal(weights.value, torch.ones(4))
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        weights.update(torch.rand(4, generator=generator) * 100)
        assert weights.value.sum().item() == pytest.approx(4, abs=1e-4)


def test_average_follows_equation_6_by_hand():
    weights = PositionWeights(2, beta=0.9)
    weights.update(torch.tensor([1.0, 3.0]))
    weights.update(torch.tensor([3.0, 3.0]))
    v = torch.tensor([0.9 * 1 + 0.1 * 3, 3.0])
    torch.testing.assert_close(weights.average, v)
    torch.testing.assert_close(weights.value, 2 * v / v.sum())


def test_on_use_normalisation_does_not_depend_on_the_units_and_in_place_does():
    errors = [torch.tensor([1.0, 3.0]), torch.tensor([2.0, 1.0]), torch.tensor([1.0, 5.0])]

    def after(scale, in_place):
        weights = PositionWeights(2, in_place=in_place)
        for error in errors:
            weights.update(error * scale)
        return weights.value

    torch.testing.assert_close(after(1, False), after(1000, False))
    assert (after(1, True) - after(1000, True)).abs().max() > 0.1


def test_factors_rise_and_fall_by_hand():
    assert [warmup(step, 6, 0.5) for step in range(6)] == pytest.approx([1 / 3, 2 / 3, 1, 1, 1, 1])
    assert [decay(step, 6, 0.5) for step in range(6)] == pytest.approx([1, 1, 1, 1, 2 / 3, 1 / 3])
    assert {factor(step, 6, 0.0) for factor in (warmup, decay) for step in range(6)} == {1.0}
