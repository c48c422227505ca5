import torch

from lens.measure.contexts import buckets, top_contexts


def test_buckets_end_with_the_window():
    assert [(b.start, b.stop) for b in buckets(128)] == [(1, 4), (4, 8), (8, 32), (32, 64), (64, 128)]
    assert [(b.start, b.stop) for b in buckets(16)] == [(1, 4), (4, 8), (8, 16)]
    assert [(b.start, b.stop) for b in buckets(2)] == [(1, 2)]


def test_contexts_by_hand():
    f = torch.zeros(4, 6, 2)  # four windows of six, two features
    f[0, 0, 0] = 9.0  # BOS belongs to no bucket
    f[0, 2, 0] = 1.0
    f[1, 1, 0], f[1, 3, 0] = 2.0, 5.0
    f[2, 5, 0] = 4.0
    f[3, 3, 0] = 1.0  # as strong as window 0, which comes first
    found = top_contexts([f[:1], f[1:]], [slice(1, 4), slice(4, 6)], 2)
    assert found.count_KB.tolist() == [[2, 1], [0, 0]]
    assert found.window_KBC[0].tolist()[0] == [1, 0] and found.window_KBC[0, 1, 0] == 2
    assert found.peak_KBC[0].tolist()[0] == [3, 2] and found.peak_KBC[0, 1, 0] == 5
    assert found.activation_KBCT[0, 0, 0].tolist() == [0, 2, 0, 5, 0, 0]
    assert found.activation_KBCT[0, 0, 1].tolist() == [9, 0, 1, 0, 0, 0]


def test_chunks_do_not_matter():
    f = torch.rand(30, 12, 5, generator=torch.Generator().manual_seed(0)) - 0.4
    f = f.clamp_min(0)
    where = buckets(12)
    whole, cut = top_contexts([f], where, 3), top_contexts(f.split(7), where, 3)
    for name in ("count_KB", "window_KBC", "peak_KBC", "activation_KBCT"):
        assert (getattr(whole, name) == getattr(cut, name)).all(), name


def test_fewer_windows_than_contexts():
    found = top_contexts([torch.ones(2, 4, 1)], [slice(1, 4)], 3)
    assert found.count_KB.tolist() == [[2]] and found.window_KBC[0, 0].tolist() == [0, 1]
