import numpy as np
import pytest
import torch

from lens.measure.position_information import positional
from lens.measure.profiles import (
    CHUNK,
    CLOCK_NAMES,
    Labelling,
    _with_permutations,
    clock_bins,
    clock_labelling,
    position_labelling,
    profile,
)
from tests.making import Code


def measured(x, labellings=None, **options):
    options = {"permutations": 7, "profile_permutations": 3, "lags": 2} | options
    n, T, d = x.shape
    labellings = labellings or {"position": position_labelling(n, T)}
    block, n_blocks = options.pop("block", torch.zeros(n)), options.pop("n_blocks", 1)
    return profile({"code": Code(d)}, x.relu(), block, n_blocks, labellings, **options)["code"]


def random_activations(n=40, T=9, d=5, seed=0):
    return torch.randn(n, T, d, generator=torch.Generator().manual_seed(seed)).bfloat16()


def test_position_bins_double():
    labelling = position_labelling(2, 128)
    assert labelling.names == ("1", "2-3", "4-7", "8-15", "16-31", "32-63", "64-127")
    assert labelling.bins.shape == (2, 128)
    assert labelling.bins[0, [0, 1, 2, 3, 4, 7, 8, 63, 64, 127]].tolist() == [-1, 0, 1, 1, 2, 2, 3, 5, 6, 6]
    late = position_labelling(1, 100, first=8)
    assert late.names == ("8-15", "16-31", "32-63", "64-99")
    assert late.bins[0, [7, 8, 15, 16, 99]].tolist() == [-1, 0, 0, 1, 3]
    assert position_labelling(1, 7, first=6).names == ("6",)
    with pytest.raises(ValueError, match="choose 1..8"):
        position_labelling(1, 9, first=9)


def test_clock_bins_double_and_keep_missing_clocks():
    clock = torch.tensor([-1, 0, 1, 2, 3, 4, 7, 8, 63, 64, 1000])
    assert clock_bins(clock).tolist() == [-1, 0, 1, 2, 2, 3, 3, 4, 6, 7, 7]
    assert len(CLOCK_NAMES) == 8


def test_labellings_of_clocks_have_as_many_bins_as_they_need():
    clock = torch.tensor([[5, -1, 0, 1, 2, 3], [5, 4, 7, 8, 1000, 1023]])
    found = clock_labelling(clock)
    assert found.names[:5] == ("0", "1", "2-3", "4-7", "8-15") and found.names[-1] == "512-1023"
    assert found.bins.tolist() == [[-1, -1, 0, 1, 2, 2], [-1, 3, 3, 4, 10, 10]] and len(found.names) == 11
    for largest, names in ((0, ("0",)), (1, ("0", "1")), (2, ("0", "1", "2-3"))):
        assert clock_labelling(torch.tensor([[-1, largest]])).names == names


def test_each_stratum_is_shifted_by_a_share_of_its_own_tokens():
    labels = torch.tensor([[-1, 0, 1, 2, 3, 4]])
    strata = torch.tensor([[7, 0, 1, 0, 1, 0]])  # three tokens of stratum 0, two of 1, one outside
    for u, expected in ((0.2, [0, 1, 2, 3, 4]), (0.4, [2, 1, 4, 3, 0]), (0.6, [2, 3, 4, 1, 0]), (0.9, [4, 3, 0, 1, 2])):
        labelling = Labelling(labels, tuple("abcde"), strata, each_stratum=True)
        observed, permuted = _with_permutations(labelling, slice(0, 1), torch.full((1, 1, 6), u))[:, 0].tolist()
        assert observed == [-1, 0, 1, 2, 3, 4] and permuted == [-1, *expected], u


def test_without_strata_both_ways_of_shifting_are_one():
    labels = position_labelling(5, 12).bins.clone()
    labels[2, 3:6] = -1
    keys = torch.rand(9, 5, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    one, other = (
        _with_permutations(Labelling(labels, tuple("abcd"), each_stratum=each), slice(0, 5), keys)
        for each in (False, True)
    )
    assert torch.equal(one, other)


def test_what_follows_the_course_of_a_stratum_is_not_taken_for_positional():
    """It fires on tokens 0 to 2 of every ten, from any place on, and 2 shares its bin with 3."""
    n, T, found = 64, 40, []
    for seed in range(30):
        phase = torch.randint(10, (n, 1), generator=torch.Generator().manual_seed(seed))
        clock = (torch.arange(T) + phase) % 10
        position = position_labelling(n, T)
        labels = {"given": Labelling(position.bins, position.names, clock_labelling(clock).bins, each_stratum=True)}
        p = measured((clock < 3).float()[..., None], labels, permutations=60)
        found.append(positional(p.observed["given"], p.null["given"], p.bin_sizes["given"]).p_K[0])
    assert 3 <= sum(p < 0.5 for p in found) <= 24 and sum(p < 0.05 for p in found) <= 5


def test_sums_by_hand():
    # 2 windows of BOS + 4, one feature; window 1 fires at 1, 2 and 4, window 2 at 2
    x = torch.tensor([[9.0, 1, 2, -1, 3], [9, -1, 4, 0, 0]])[..., None]
    p = measured(x, block=torch.tensor([0, 1]), n_blocks=2, tokens=torch.tensor([[0, 5, 6, 7, 6], [0, 5, 6, 7, 5]]))
    assert p.windows == 2
    assert p.firings_BTK[..., 0].tolist() == [[1, 1, 1, 0, 1], [1, 0, 1, 0, 0]]
    assert p.amplitude_BTK[..., 0].tolist() == [[9, 1, 2, 0, 3], [9, 0, 4, 0, 0]]
    assert p.firings_TK[:, 0].tolist() == [1, 2, 0, 1]
    assert p.amplitude_TK[:, 0].tolist() == [0.5, 3, 0, 1.5]
    assert p.observed["position"][:, 0].tolist() == [1, 2, 1]  # bins 1, 2-3, 4
    assert p.bin_sizes["position"].tolist() == [2, 4, 2]
    assert p.runs_K.tolist() == [3]
    assert p.expected_runs_K.tolist() == [3 * 2 / 4 + 1 * 4 / 4]
    np.testing.assert_allclose(p.lag_products_LK[:, 0], [1 + 4 + 9 + 16, 2, 2 * 3], atol=1e-5)  # 1-2; 2-4
    assert (p.window_means_NK * 4).round(6).tolist() == [[6.0], [4.0]]
    assert p.token_share_K.tolist() == [0.75]  # token 6, three of four firings


def test_permuted_counts_keep_totals_and_have_the_expected_mean():
    x = random_activations()
    x[:, :3] += 2  # firing depends on position
    p = measured(x, permutations=999, profile_permutations=400)
    null, observed = p.null["position"], p.observed["position"]
    assert null.shape == (999, 4, 5)
    assert (null.sum(1) == observed.sum(0)).all()
    expected = observed.sum(0) * (p.bin_sizes["position"] / p.bin_sizes["position"].sum())[:, None]
    np.testing.assert_allclose(null.mean(0), expected, rtol=0.02)
    assert (observed[0] > null[:, 0].max(0)).all()
    assert (p.permuted_firings_RTK.sum(1) == p.firings_TK.sum(0)).all()
    np.testing.assert_allclose(p.permuted_firings_RTK.mean(0), np.tile(p.firings_TK.mean(0), (8, 1)), rtol=0.05)


def test_a_window_keeps_its_own_firings_and_each_chunk_has_its_own_permutations():
    x = -torch.ones(2, 9, 1)
    x[0] = 1  # always on in window 1, silent in window 2: nothing can change within a window
    p = measured(x)
    assert (p.null["position"] == p.observed["position"]).all()
    assert (p.permuted_firings_RTK == p.firings_TK).all()
    x = random_activations(n=CHUNK)
    once, twice = measured(x), measured(torch.cat([x, x]))
    assert (twice.null["position"] != 2 * once.null["position"]).any()


def test_labels_are_permuted_within_strata_only():
    x = random_activations(d=3)
    strata = torch.arange(9).expand(40, 9) // 3
    within = position_labelling(40, 9).bins
    fixed = Labelling(strata.int(), ("a", "b", "c"), strata)  # label = stratum: no permutation changes anything
    free = Labelling(within, ("1", "2-3", "4-7", "8"), strata)
    p = measured(x, {"fixed": fixed, "free": free})
    assert (p.null["fixed"] == p.observed["fixed"]).all()
    on = (x > 0).float()
    # position 8 shares its stratum with 6 and 7, bin 4-7: a firing moves between the two, never to bins 1 and 2-3
    assert (p.null["free"][:, 2:].sum(1) != p.observed["free"][2:].sum(0)).any()  # 3 (bin 2-3) and 4, 5 (bin 4-7) mix
    assert (p.null["free"][:, 3] <= on[:, 6:].amax(1).sum(0).numpy()).all()
    assert (p.null["free"][:, 0] <= on[:, 1:3].amax(1).sum(0).numpy()).all()


def test_circular_shifts_keep_neighbours_together():
    x = -torch.ones(20, 9, 2)
    x[:, 4:6, 0], x[:, [3, 7], 1] = 1, 1  # a run of two, and two firings four apart, among 8 text positions

    def shifted(n, permutations):
        cells = Labelling(torch.arange(-1, 8).expand(n, 9), tuple("abcdefgh"), circular=True)
        return measured(x[:n], {"cells": cells}, permutations=permutations).null["cells"]

    run, apart = ({tuple(np.flatnonzero(draw)) for draw in shifted(1, 60)[..., j]} for j in (0, 1))
    assert run == {(i, i + 1) for i in range(7)} | {(0, 7)}
    assert apart == {(i, i + 4) for i in range(4)}
    many = shifted(20, 400)
    np.testing.assert_allclose(many.mean(0), 20 * 2 / 8, rtol=0.1)  # windows are shifted independently
    late = measured(x, {"late": position_labelling(20, 9, first=4, circular=True)})
    assert (late.null["late"].sum(1) == late.observed["late"].sum(0)).all()


def test_tokens_outside_the_set_take_no_part():
    x = random_activations()
    other = x.clone()
    other[:, :4] = 7
    a, b = (measured(v, {"late": position_labelling(40, 9, first=4)}) for v in (x, other))
    assert (a.observed["late"] == b.observed["late"]).all()
    assert (a.null["late"] == b.null["late"]).all()


def test_permutations_are_shared_by_dictionaries_and_labellings():
    x = random_activations(n=CHUNK + 8).relu()
    position = position_labelling(len(x), 9)
    block = torch.zeros(len(x))
    options = {"permutations": 7, "profile_permutations": 3, "lags": 2}
    both = profile({"a": Code(5), "b": Code(3)}, x, block, 1, {"x": position, "y": position}, **options)
    alone = profile({"b": Code(3)}, x, block, 1, {"y": position}, **options)["b"]
    np.testing.assert_array_equal(both["b"].null["y"], alone.null["y"])
    np.testing.assert_array_equal(both["a"].null["x"][..., :3], alone.null["y"])
    np.testing.assert_array_equal(both["b"].permuted_firings_RTK, alone.permuted_firings_RTK)
    other = profile({"b": Code(3)}, x, block, 1, {"y": position}, **options, seed=1)["b"]
    assert (other.null["y"] != alone.null["y"]).any()


def test_sums_add_over_shards():
    x = random_activations(n=70)
    whole, *parts = (measured(v) for v in (x, x[:33], x[33:]))
    for name in ("firings_BTK", "runs_K", "windows"):
        np.testing.assert_array_equal(getattr(whole, name), sum(getattr(p, name) for p in parts))
    for name in ("amplitude_BTK", "expected_runs_K", "lag_products_LK"):
        np.testing.assert_allclose(getattr(whole, name), sum(getattr(p, name) for p in parts), rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(whole.observed["position"], sum(p.observed["position"] for p in parts))


def test_runs_and_lag_products_match_their_permutation_expectations():
    x = random_activations(n=3, T=20, d=4)
    x[1] += 1
    p = measured(x, lags=18)
    f = x[:, 1:].float().relu().numpy()
    direct = [(f[:, : 19 - l] * f[:, l:]).sum((0, 1)) for l in range(19)]
    np.testing.assert_allclose(p.lag_products_LK, direct, rtol=1e-4, atol=1e-4)
    rng = np.random.default_rng(0)
    runs = []
    for _ in range(2000):
        on = np.stack([w[rng.permutation(19)] for w in f > 0])
        runs.append(on[:, 0].sum(0) + (on[:, 1:] & ~on[:, :-1]).sum((0, 1)))
    np.testing.assert_allclose(np.mean(runs, 0), p.expected_runs_K, rtol=0.02)


@pytest.mark.parametrize("T", [32, 33, 128])
def test_the_number_of_threads_changes_no_bit(T):
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(measured(random_activations(35, T, 32), lags=min(32, T - 2)))
    finally:
        torch.set_num_threads(before)
    for name in ("lag_products_LK", "window_means_NK", "amplitude_BTK", "expected_runs_K"):
        assert len({getattr(profile, name).tobytes() for profile in found}) == 1, name


def test_what_does_not_fit_is_refused():
    x = random_activations()
    with pytest.raises(ValueError, match=r"labelling 'a' has shape \(40, 8\)"):
        measured(x, {"a": position_labelling(40, 8)})
    with pytest.raises(ValueError, match="bins outside -1..0"):
        measured(x, {"a": Labelling(position_labelling(40, 9).bins, ("1",))})
    for wrong in ({"permutations": -1}, {"profile_permutations": 2.0}, {"lags": -1}, {"seed": -1}):
        [name] = wrong
        with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 0, found"):
            measured(x, **wrong)
    with pytest.raises(ValueError, match="choose 0..7"):
        measured(x, lags=8)
    with pytest.raises(ValueError, match="tokens"):
        measured(x, tokens=torch.zeros(40, 8))
