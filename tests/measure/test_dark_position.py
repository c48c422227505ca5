"""What is left of position in an error: by hand, and through dictionaries that are known."""

import numpy as np
import pandas as pd
import pytest
import torch

from lens.dictionaries.dictionary import Dictionary
from lens.dictionaries.info import Info
from lens.measure.dark_position import arms, arms_of_model, estimates, losses, read_off, rows_of, variance_left
from lens.measure.reconstruction import input_moments, reconstruct

N, T, D, BLOCKS = 40, 24, 6, 4
BLOCK = torch.arange(N) % BLOCKS
PATH = torch.arange(T).add(1).log2()


def identity(lost: tuple[int, ...]) -> Dictionary:
    """A dictionary that rebuilds positive activations but for some dimensions."""
    sae = Dictionary.initialise(Info(d_in=D, d_sae=D, n_positions=T), torch.zeros(D), 0)
    eye = torch.eye(D)
    eye[list(lost)] = 0
    with torch.no_grad():
        for name, value in {
            "W_enc": eye,
            "W_dec": torch.eye(D),
            "b_enc": torch.zeros(D),
            "b_dec": torch.zeros(D),
        }.items():
            sae.weights()[name].copy_(value)
    return sae


def windows(direction: int) -> torch.Tensor:
    x = 10 + torch.randn(N, T, D, generator=torch.Generator().manual_seed(0))
    x[:, :, direction] += PATH
    return x


def left(direction: int, lost: tuple[int, ...]) -> dict[str, list[float]]:
    x, sae = windows(direction), identity(lost)
    moments = input_moments(x, BLOCK, BLOCKS, 0.5)
    return variance_left(sae, x, BLOCK, moments, reconstruct(sae, x, BLOCK, BLOCKS, 0.5, moments.ordinary), 0.5)


def test_a_path_that_is_rebuilt_is_not_left_and_one_that_is_not_is_whole():
    kept, lost = left(0, (4, 5)), left(5, (4, 5))
    assert abs(kept["path left"][0]) < 0.1 < 0.9 < lost["path left"][0] < 1.1
    variance = PATH[1:].var(correction=0).item()
    assert lost["path share"][0] == pytest.approx(variance / (variance + D), rel=0.15)  # noise of variance 1
    assert all(len(values) == 1 + BLOCKS for values in kept.values())


def test_the_measures_without_a_document_are_those_of_the_others():
    x, sae, keep = windows(5), identity((5,)), BLOCK != 2
    moments = input_moments(x, BLOCK, BLOCKS, 1.0)
    whole = variance_left(sae, x, BLOCK, moments, reconstruct(sae, x, BLOCK, BLOCKS, 1.0, moments.ordinary), 1.0)
    fewer = x[keep]
    own = ((fewer[:, 1:, 5]) ** 2).sum() / (fewer[:, 1:] - x[:, 1:].mean((0, 1))).square().sum()
    assert whole["fvu"][3] == pytest.approx(own.item(), rel=1e-4)


def test_position_is_read_where_it_is():
    x = windows(5)
    order = torch.stack([torch.cat([torch.zeros(1, dtype=torch.long), 1 + torch.randperm(T - 1)]) for _ in range(N)])
    shuffled = x.gather(1, order[..., None].expand_as(x))
    found, fewest = read_off(identity((5,)), x, shuffled, BLOCK, BLOCKS)
    r2 = {name: values[0] for name, values in found.items()}
    assert r2["r2 error 0.4 all"] > 0.4 > 0.05 > abs(r2["r2 code 0.4 all"])
    assert r2["r2 activations 0.4 all"] > r2["r2 activations 0.4 late"] - 0.5
    assert all(value < 0.05 for name, value in r2.items() if name.endswith("permuted"))
    assert fewest < 1  # the error has one direction, of .4 times 6 asked for
    assert len(found) == 4 * (3 + 3 + 1)


def test_what_takes_the_place_of_the_stream():
    x, sae = windows(5), identity((5,))
    ordinary = torch.ones(N, T, dtype=torch.bool)
    of = arms_of_model(x, ordinary, seed=0) | arms(sae, x, ordinary, seed=0)
    mean = x[:, 1:].mean((0, 1))
    taken = of["taken away"](x)
    torch.testing.assert_close(taken[:, 1:].mean(0), mean.expand(T - 1, D), atol=1e-4, rtol=1e-4)
    given = of["given back"](x)
    torch.testing.assert_close(given[:, 1:, 5].mean(0), x[:, 1:, 5].mean(0) - mean[5], atol=1e-4, rtol=1e-4)
    assert torch.equal(of["reconstruction"](x), sae(x))
    for name, plain in (("another taken away", x), ("another given", sae(x))):
        same = {"another taken away": taken, "another given": given}[name]
        torch.testing.assert_close(
            (of[name](x) - plain).norm(dim=-1), (same - plain).norm(dim=-1), atol=1e-3, rtol=1e-3
        )
        assert not torch.allclose(of[name](x)[:, 1:], same[:, 1:], atol=0.1)


def test_rises_of_the_loss_by_hand():
    rise = np.zeros((3, 23))
    rise[0, 2], rise[2, 20] = 6.0, 8.0
    found = losses({"arm": rise}, np.array([0, 0, 1]), 2)
    assert found["delta_ce arm 1-3"] == pytest.approx([6 / 9, 0, 1])
    assert found["delta_ce arm late"] == pytest.approx([8 / 21, 8 / 7, 0])
    assert found["delta_ce arm all"] == pytest.approx([14 / 66, 8 / 22, 6 / 44])


def test_intervals_are_over_seeds_and_the_documents_that_each_held_out():
    parts = []
    for seed, (value, documents) in enumerate((((1.0, 2.0), ["x", "y"]), ((3.0, 2.5), ["y", "z"]))):
        made = {"a": [value[0], value[0] + 0.2, value[0] - 0.2], "b": [value[1]] * 3}
        parts.append(rows_of(made, documents).assign(seed=seed, variant="blind", target=32.0))
    measures = pd.concat(parts)
    [row] = estimates(measures, lambda m: m["a"] - m["b"]).itertuples()
    assert row.estimate == pytest.approx((-1 + 0.5) / 2)
    # without x: +.2 of seed 0; without y: -.2 of seed 0 and +.2 of seed 1; without z: -.2 of seed 1
    left_out = row.estimate + np.array([0.1, 0.0, -0.1])
    pseudo = 3 * row.estimate - 2 * left_out
    assert row.se**2 == pytest.approx(np.var([-1, 0.5], ddof=1) / 2 + np.var(pseudo, ddof=1) / 3)
    assert row.df == 1
