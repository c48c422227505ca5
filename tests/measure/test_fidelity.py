import numpy as np
import pytest
import torch

from lens.activations import models
from lens.bf16 import products
from lens.measure.fidelity import ce_recovered, constant, cross_entropies, keep_bos, only, splice, splice_matrix


@pytest.fixture(scope="module")
def model():
    return models.load("random:gemma-3-tiny", dtype=torch.float32)


@pytest.fixture
def tokens(model):
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, model.vocab_size - 1, (4, 10), generator=generator)
    tokens[:, 0] = model.bos_id
    return tokens


@pytest.mark.parametrize("layer", ["embedding", 0, 2])
def test_splicing_the_identity_changes_nothing_at_all(model, tokens, layer):
    result = splice(model, tokens, layer, {"identity": lambda x: x.clone(), "kept": keep_bos(lambda x: x)})
    for name in ("identity", "kept"):
        assert np.array_equal(result.ce[name], result.ce_clean)
        assert np.array_equal(result.kl[name], np.zeros_like(result.ce_clean))
    matrix = splice_matrix(model, tokens, layer, lambda x: x.clone(), TEXT_BUCKETS)
    assert np.array_equal(matrix, np.zeros((3, 3)))


def test_clean_cross_entropy_is_the_model_s_own(model, tokens):
    result = splice(model, tokens, 1, {})
    with torch.inference_mode(), products(model.device):
        logits = model.model(tokens).logits[:, :-1].float()
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    np.testing.assert_allclose(result.ce_clean, expected.view(4, 9).numpy(), rtol=1e-4, atol=1e-4)


def test_ablation_hurts_only_from_the_replaced_position_on(model, tokens):
    def late(x):
        x = x.clone()
        x[:, 5:] = 0
        return x

    result = splice(model, tokens, 1, {"late": late, "zero": keep_bos(constant(torch.zeros(model.d_model)))})
    assert np.allclose(result.kl["late"][:, :5], 0, atol=1e-5)
    assert (result.kl["late"][:, 5:] > 0).all()
    assert (result.kl["zero"] >= -1e-6).all()
    assert np.allclose(result.kl["zero"][:, 0], 0, atol=1e-5)  # BOS is kept


def test_cross_entropies_are_those_of_splicing(model, tokens):
    half = {"half": lambda x: x / 2}
    both, found = splice(model, tokens, 2, half), cross_entropies(model, tokens, 2, {"clean": None, **half})
    assert np.array_equal(found["clean"], both.ce_clean)
    assert np.array_equal(found["half"], both.ce["half"])
    assert np.array_equal(cross_entropies(model, tokens, 2, half)["half"], both.ce["half"])


def test_kl_matches_the_definition(model, tokens):
    result = splice(model, tokens, 2, {"half": lambda x: x / 2})
    with torch.inference_mode():
        clean = model.logits(model.spliced(tokens, 2, None))[:, :-1].log_softmax(-1)
        half = model.logits(model.spliced(tokens, 2, lambda x: x / 2))[:, :-1].log_softmax(-1)
    expected = (clean.exp() * (clean - half)).sum(-1).numpy()
    np.testing.assert_allclose(result.kl["half"], expected, rtol=1e-3, atol=1e-5)


TEXT_BUCKETS = {"1-3": slice(1, 4), "4-7": slice(4, 8), "8-9": slice(8, 10)}


def test_only_the_positions_named_are_replaced():
    x = torch.arange(12.0).view(1, 4, 3)
    new = only(slice(1, 3), lambda x: -x)(x)
    assert new[0].tolist() == [[0, 1, 2], [-3, -4, -5], [-6, -7, -8], [9, 10, 11]]
    assert torch.equal(x, torch.arange(12.0).view(1, 4, 3))


@pytest.mark.parametrize("layer", ["embedding", 1])
def test_what_is_replaced_later_costs_nothing_before(model, tokens, layer):
    matrix = splice_matrix(model, tokens, layer, lambda x: 3 * x.roll(1, 0), TEXT_BUCKETS)
    assert np.array_equal(matrix[np.tril_indices(3, -1)], np.zeros(3))
    assert (matrix[np.triu_indices(3)] != 0).all()


def test_an_entry_of_the_matrix_is_the_difference_of_two_losses(model, tokens):
    matrix = splice_matrix(model, tokens, 1, lambda x: -x, TEXT_BUCKETS)

    def flipped(x):
        return torch.cat([x[:, :1], -x[:, 1:4], x[:, 4:]], 1)

    with torch.inference_mode():
        loss = {
            name: torch.nn.functional.cross_entropy(
                model.logits(model.spliced(tokens, 1, r))[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none"
            )
            for name, r in {"clean": None, "flipped": flipped}.items()
        }
    difference = (loss["flipped"] - loss["clean"]).numpy()
    for column, where in enumerate((slice(1, 4), slice(4, 8), slice(8, 9))):
        assert matrix[0, column] == pytest.approx(difference[:, where].mean(), rel=1e-3, abs=1e-5)


def test_a_bucket_without_a_prediction_is_refused(model, tokens):
    with pytest.raises(ValueError, match="no prediction in bucket last: windows of 10"):
        splice_matrix(model, tokens, 1, lambda x: x, {"first": slice(1, 9), "last": slice(9, 10)})


def test_ce_recovered_by_hand():
    assert ce_recovered(clean=2.0, spliced=2.5, ablated=12.0) == pytest.approx(0.95)
    assert ce_recovered(2.0, 2.0, 12.0) == 1
    assert ce_recovered(2.0, 12.0, 12.0) == 0
