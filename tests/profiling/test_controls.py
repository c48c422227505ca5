import torch

from lens.dictionaries.dictionary import Dictionary
from lens.profiling.controls import identity_dictionary, random_dictionary, untrained, zero_dictionary
from tests.making import info


def test_random_dictionaries_have_unit_encoder_rows_no_masks_and_a_seed():
    a, b, again = (random_dictionary(16, 64, 0.25, seed) for seed in (0, 1, 0))
    torch.testing.assert_close(a.W_enc.norm(dim=0), torch.ones(64))
    assert torch.equal(a.W_enc, again.W_enc) and not torch.equal(a.W_enc, b.W_enc)
    x = torch.randn(5, 8, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(a.encode(x).dense(), torch.relu(0.25 * x @ a.W_enc))


def test_a_zero_dictionary_says_nothing_and_the_identity_everything():
    x = torch.randn(5, 8, 16, generator=torch.Generator().manual_seed(0))
    assert not zero_dictionary(16, 64).encode(x).dense().any()
    assert torch.equal(identity_dictionary(16).encode(x).dense(), x.relu())
    assert torch.equal(identity_dictionary(16)(x), x.relu())


def test_the_untrained_dictionary_is_that_of_the_seed():
    start = Dictionary.initialise(info(6, 9, 5, seed=3), torch.zeros(6), 3)
    trained = Dictionary(start.info, {name: weight.detach() + 1 for name, weight in start.weights().items()})
    again = untrained(trained).weights()
    assert all(torch.equal(weight, again[name]) for name, weight in start.weights().items())


def test_the_untrained_dictionary_sees_the_same_centred_inputs():
    start = Dictionary.initialise(info(6, 9, 5, seed=3), torch.zeros(6), 3, centre=torch.arange(6.0))
    x = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(untrained(start).encode(x).dense(), start.encode(x).dense())
