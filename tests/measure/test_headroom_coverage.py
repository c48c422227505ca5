"""How often the interval of headroom holds the truth, where the folds are those of the plays and effects are known."""

import numpy as np
import pytest

from lens.activations import plays
from lens.measure.headroom import crossed
from lens.measure.stats import interval, seed_component

SEEDS, REPEATS = 4, 800
FOLDS = [plays.fold(i, SEEDS) for i in range(SEEDS)]
TRAINED, HELD_OUT = (np.array([[play in fold[i] for play in plays.names()] for fold in FOLDS]) for i in (0, 1))


def coverage(weights: float, held_out: float, text: float, both: float) -> tuple[float, float]:
    """Of `crossed`, and of the t interval over seeds; standard deviations of what initial weights and order do to a
    seed, of what a play is, of what the text of a seed's training does to it, and of a play that a seed holds out."""
    rng, covered = np.random.default_rng(0), np.zeros(2)
    for _ in range(REPEATS):
        learned = (TRAINED * rng.normal(size=38) * 27**0.5).sum(axis=1) / 27
        of_seed = weights * rng.normal(size=SEEDS) + text * learned
        value = of_seed[:, None] + held_out * rng.normal(size=38) + both * rng.normal(size=(SEEDS, 38))
        total, n = (value * HELD_OUT).sum(axis=1, keepdims=True), HELD_OUT.sum(axis=1, keepdims=True)
        means, left_out = (total / n)[:, 0], (total - value * HELD_OUT) / (n - HELD_OUT)
        found = crossed(means, left_out.mean(axis=0)), interval(means.mean(), seed_component(means))
        covered += [i.low <= 0 <= i.high for i in found]
    return tuple(covered / REPEATS)


@pytest.mark.parametrize(
    ("effects", "least", "over_seeds"),
    [
        ((1, 0, 0, 0), 0.93, 0.95),
        ((0, 1, 0, 0), 0.99, 0.93),
        ((0, 0, 0, 1), 0.99, 0.95),
        ((0.3, 1, 0, 0.5), 0.99, 0.95),
        ((0.3, 1, 0.3, 0.5), 0.95, 0.88),
    ],
)
def test_intervals_hold_the_truth_where_training_text_does_little(effects, least, over_seeds):
    both, of_seeds = coverage(*effects)
    assert both >= least and of_seeds == pytest.approx(over_seeds, abs=0.03)


def test_what_folds_have_in_common_in_training_is_not_seen():
    both, _ = coverage(0, 0, 1, 0)
    assert both == pytest.approx(0.66, abs=0.05)
