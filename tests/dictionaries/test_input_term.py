"""A position term on the input is undone after decoding, so that reconstructions are comparable with activations."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from lens.dictionaries.dictionary import Dictionary, Info, PositionError
from lens.dictionaries.parts import PositionTerm
from lens.dictionaries.saebench import SAEBenchAdapter
from lens.errors import DictionaryError
from lens.measure.masks import fvu_rise
from lens.measure.reconstruction import reconstruct
from lens.training.objective import losses

T, D = 3, 2
CENTRE = torch.tensor([[0.0, 0.0], [1.0, -2.0], [4.0, 4.0]])
SPREAD = torch.tensor([[1.0, 1.0], [2.0, 2.0], [0.5, 0.25]])
X = torch.tensor([[[1.0, 2.0], [5.0, -6.0], [4.5, 3.0]]])
CODE = [[1.0, 2.0, 0.0, 0.0], [2.0, 0.0, 0.0, 2.0], [1.0, 0.0, 0.0, 4.0]]  # of (x - centre) / spread, both signs apart


class Standardise(PositionTerm):
    """(x - centre_t) / spread_t."""

    acts_on = "input"

    def __init__(self, d_in, d_sae, n_positions, settings):
        super().__init__(d_in, d_sae, n_positions, settings)
        self.centre = nn.Parameter(torch.zeros(n_positions, D), requires_grad=False)
        self.spread = nn.Parameter(torch.ones(n_positions, D), requires_grad=False)

    def values(self, positions=None):
        values = torch.cat([self.centre, self.spread], dim=-1)
        return values if positions is None else values[positions]

    def apply(self, target, values):
        return (target - values[..., :D]) / values[..., D:]

    def undo(self, x_hat, values):
        return x_hat * values[..., D:] + values[..., :D]

    def interventions(self):
        return ("reversed",)

    def intervention(self, kind, generator):
        return self.values().flip(0)


def dictionary(**options) -> Dictionary:
    """Loses nothing: a feature for each direction of each axis."""
    eye = torch.eye(D)
    info = Info(D, 2 * D, T, position=f"{__name__}:Standardise", **options)
    weights = {"W_enc": torch.cat([eye, -eye], 1), "b_enc": torch.zeros(2 * D), "W_dec": torch.cat([eye, -eye])}
    return Dictionary(info, {**weights, "b_dec": torch.zeros(D), "centre": CENTRE, "spread": SPREAD})


def test_windows_and_single_vectors_come_back_as_they_were():
    sae = dictionary()
    codes = sae.encode(X)
    assert codes.dense().tolist() == [CODE]
    assert sae.decode(codes).tolist() == sae(X).tolist() == X.tolist()
    at = torch.tensor([2, 0])
    vectors = X[0, at]
    assert sae.encode(vectors, at).dense().tolist() == [CODE[2], CODE[0]]
    assert sae.decode(sae.encode(vectors, at), at).tolist() == sae(vectors, at).tolist() == vectors.tolist()
    with pytest.raises(PositionError, match="pass positions="):
        sae.decode(sae.encode(vectors, at))


@pytest.mark.parametrize("options", [{"input_scale": 4.0}, {"normalisation": "layer_norm"}])
def test_scale_and_normalisation_are_undone_after_it(options):
    torch.testing.assert_close(dictionary(**options)(X), X, rtol=1e-4, atol=1e-4)


def test_errors_are_those_of_the_activations_themselves():
    sae = dictionary()
    with torch.no_grad():
        sae.W_dec.mul_(0.5)  # half of every deviation is left: (2, -2), of (4, -4) from the centre at position 1
    sums = reconstruct(sae, X, torch.zeros(1, dtype=torch.long), 1, 1.0)
    assert sums.sq_error.tolist() == [[1.25, 8.0, 0.3125]]
    found, _, _ = losses(sae, X, torch.arange(T))
    assert found.error.tolist() == [1.25, 8.0, 0.3125]


def test_another_value_in_its_place_is_undone_as_it_was_applied():
    sae = dictionary()
    with torch.no_grad():
        sae.W_dec.mul_(0.5)
    rise = fvu_rise(sae, X, torch.Generator())
    # halves of x - centre at text positions: of (4, -4), and of (4.5, 3) from 0 in the place of (0.5, -1) from (4, 4)
    assert rise == {"reversed": pytest.approx((8.0 + 7.3125) / (8.0 + 0.3125) - 1)}


def test_what_cannot_hold_it_refuses():
    info = replace(dictionary().info, model="m", layer="0", input_scale=2.0)
    with pytest.raises(DictionaryError, match="input_scale 2.0"):
        SAEBenchAdapter(Dictionary(info, dictionary().weights()))
