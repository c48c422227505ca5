import torch

from lens.dictionaries.architectures.batch_topk import BatchTopK, Settings

U = torch.tensor([[[2.0, -3.0, -1.0], [0.5, 1.0, 1.5]]])  # one window of two vectors


def made(**settings) -> BatchTopK:
    return BatchTopK(2, 3, Settings(**{"k": 1, **settings})).train()


def test_a_batch_keeps_its_largest_values_wherever_they_are():
    assert made().select(U).dense().tolist() == [[[2.0, 0.0, 0.0], [0.0, 0.0, 1.5]]]
    most = made(k=3).select(U).dense()  # six values of two vectors: negative ones are not kept
    assert most.tolist() == [[[2.0, 0.0, 0.0], [0.5, 1.0, 1.5]]]


def test_the_threshold_follows_the_smallest_kept_value_and_is_saved_as_jumprelu():
    net = made(threshold_rate=0.1)
    net.after_step(net.select(U))  # the first batch sets it
    net.after_step(net.select(U * 2))
    name, settings, weights = net.on_disk()
    assert (name, settings) == ("jumprelu", {})
    torch.testing.assert_close(weights["threshold"], torch.full((3,), 0.9 * 1.5 + 0.1 * 3.0))
    assert net.eval().select(U).dense().tolist() == [[[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]]]
