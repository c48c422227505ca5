import numpy as np

from lens.measure import verdicts as v


def test_each_verdict_by_hand():
    # rare, none, untold, content, unclear, inherits, specialised, by its term though all else says so
    eligible = np.array([False, *[True] * 7])
    positional = np.array([True, False, True, True, True, True, True, True])
    excluded = np.array([True, True, False, True, False, False, False, False])
    moved = np.array([True, False, False, False, True, True, True, True])
    alone = np.array([True, True, True, True, False, True, True, True])
    gain = np.array([1, 1, 1, 1, 1, 0.9 * v.MATERIAL, 1.1 * v.MATERIAL, 1])
    shares = {"others": np.array([0, 0, 0, 0, 0.4, 0.6, 0.9, 0.1]), "term": np.array([0, 0, 0, 0, 0, 0, 0, 0.6])}
    expected = [v.RARE, v.NONE, v.UNTOLD, v.CONTENT, v.UNCLEAR, v.INHERITS, v.SPECIALISED, v.BY_TERM]
    assert v.verdicts(eligible, positional, moved, excluded, alone, gain, shares).tolist() == expected
    assert sorted(expected) == sorted(v.VERDICTS)
    blind = v.verdicts(eligible, positional, moved, excluded)  # of codes that are no linear score
    assert blind.tolist() == [*expected[:4], *[v.UNCLEAR] * 4]
    nothing = {part: np.full(8, np.nan) for part in shares}  # a flat profile has no shares
    assert (
        v.verdicts(eligible, positional, moved, excluded, np.zeros(8, bool), gain, nothing).tolist() == blind.tolist()
    )
