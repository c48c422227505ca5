"""Clustering of profiles: planted groups are found, noise and a continuum are not taken for groups."""

import numpy as np
import pytest
from scipy.cluster import hierarchy
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.distance import pdist, squareform
from sklearn.metrics import adjusted_rand_score

from lens.measure import clusters
from lens.measure.clusters import (
    best_jaccard,
    cluster,
    correlation_distance,
    cut,
    gap_statistic,
    paper_consistency,
    paper_consistency_null,
    stability,
)

T, BLOCKS = 127, 12
POSITION = np.arange(1, T + 1)
GROUPS = np.repeat([20.0, 64.0, 105.0], 40)  # centres of three planted groups of 40 features


def bumps(centres, circular=False):
    """Firing profiles [T, k] with a bump of sd 10 positions around each centre, on a floor."""
    away = POSITION[:, None] - centres
    if circular:
        away = (away + T / 2) % T - T / 2
    return 0.2 + 3 * np.exp(-0.5 * (away / 10) ** 2)


def counts(rate_TK, rng):
    """Firing counts [B, T, k] with these relative rates."""
    return rng.poisson(np.broadcast_to(3.0 * rate_TK, (BLOCKS, *rate_TK.shape)))


def smooth(counts):
    return gaussian_filter1d(counts.astype(float), 3, axis=-2, mode="nearest")


def block_sums(rate_TK, rng):
    return smooth(counts(rate_TK, rng))


def shifted(counts_BTK, rng, n=20):
    """N4: every feature's profile circularly shifted on its own, then smoothed."""
    profiles, rows = counts_BTK.sum(0), np.arange(T)[:, None]
    shifts = rng.integers(0, T, size=(n, profiles.shape[1]))
    return [smooth(np.take_along_axis(profiles, (rows + shift) % T, 0)) for shift in shifts]


def clustered(rate_TK, seed=0):
    rng = np.random.default_rng(seed)
    fired = counts(rate_TK, rng)
    return cluster(smooth(fired), shifted(fired, rng), rng)


def frequency_matched(rng, k=120, n=1):
    """N2: flat features that differ by chance alone."""
    return [smooth(rng.poisson(3.0, size=(T, k))) for _ in range(n)]


@pytest.fixture(scope="module")
def three():
    rng = np.random.default_rng(0)
    order = rng.permutation(len(GROUPS))
    centres = GROUPS[order] + rng.normal(0, 3, len(GROUPS))
    return clustered(bumps(centres)), GROUPS[order]


def test_distance_is_one_minus_pearson_and_a_constant_profile_correlates_with_nothing():
    profiles = np.random.default_rng(0).gamma(1.0, size=(T, 8))
    assert correlation_distance(profiles) == pytest.approx(squareform(pdist(profiles.T, "correlation")))
    profiles = profiles[:, :3].astype(np.float32)
    profiles[:, 1] = 0.1
    assert correlation_distance(profiles)[1].tolist() == [1, 0, 1]


def test_three_planted_groups_are_found_stable_and_described_in_order_of_position(three):
    found, truth = three
    assert found.K == 3
    assert adjusted_rand_score(found.labels_K, truth) == 1
    assert np.argmax(np.nan_to_num(found.silhouette_K)) + 1 == 3
    assert found.silhouette > 0.9
    assert found.cophenetic > 0.9
    assert found.stability.n_stable == 3
    assert found.stability.ari == pytest.approx(1)
    assert found.centre == pytest.approx([20, 64, 105], abs=4)
    assert (np.diff(truth[np.argsort(found.labels_K, kind="stable")]) >= 0).all()


def test_the_gap_is_what_it_says():
    """A second way to W_K: half the sum of distances inside each cluster over its size."""
    rng = np.random.default_rng(0)
    profiles = block_sums(bumps(GROUPS), rng).sum(0)
    references = [frequency_matched(rng)[0] for _ in range(4)]

    def log_w(p, n):
        distance = 1 - np.corrcoef(p.T)
        labels = cut(hierarchy.linkage(squareform(distance, checks=False), "average"), n)
        return np.log(sum(distance[np.ix_(labels == c, labels == c)].sum() / 2 / (labels == c).sum() for c in range(n)))

    gap = gap_statistic(profiles, references, 4)
    for n in range(1, 5):
        null = [log_w(r, n) for r in references]
        assert gap.gap[n - 1] == pytest.approx(np.mean(null) - log_w(profiles, n))
        assert gap.se[n - 1] == pytest.approx(np.std(null) * np.sqrt(1.25))


def gap_choices(rate_of, n=30):
    """The gap's K for n draws of 60 features without groups."""
    choices = []
    for seed in range(n):
        rng = np.random.default_rng(seed)
        fired = counts(rate_of(rng), rng)
        choices.append(gap_statistic(smooth(fired).sum(0), shifted(fired, rng)).choice)
    return np.array(choices)


@pytest.mark.parametrize(
    "rate_of",
    [lambda rng: np.ones((T, 60)), lambda rng: bumps(rng.uniform(0, T, 60), circular=True)],
    ids=["noise", "continuum"],
)
def test_without_groups_one_cluster_is_favoured(rate_of):
    """The 1-SE rule errs in about 15 of 100 cases; 11 of 30 happen with probability .003."""
    assert (gap_choices(rate_of) == 1).mean() > 0.65


def test_one_cluster_is_an_answer():
    found = clustered(np.ones((T, 120)), seed=1)
    assert found.K == 1
    assert (found.labels_K == 0).all()
    assert np.isnan([found.silhouette, found.stability.ari, *found.stability.jaccard]).all()
    assert found.stability.n_stable == 0


def test_a_continuum_with_ends_is_cut_but_is_no_strong_structure(three):
    """The limit of the gap under circular shifts; narrow bumps are told from groups by their silhouette."""
    centres = np.random.default_rng(0).uniform(0, T, 240)
    found = clustered(bumps(centres))
    assert found.K > 1
    assert found.silhouette < 0.7 < three[0].silhouette


def test_noise_cut_into_three_is_not_stable():
    rng = np.random.default_rng(0)
    sums = block_sums(np.ones((T, 120)), rng)
    tree = hierarchy.linkage(squareform(correlation_distance(sums.sum(0)), checks=False), "average")
    found = stability(sums, cut(tree, 3), 20, rng)
    assert found.jaccard.max() < 0.6
    assert found.ari < 0.2


def test_a_lone_feature_is_no_stable_cluster():
    rng = np.random.default_rng(0)
    sums = block_sums(bumps(np.array([20.0] * 20 + [105.0])), rng)
    found = stability(sums, np.array([0] * 20 + [1]), 5, rng)
    assert found.jaccard.tolist() == [1, 1]
    assert found.n_stable == 1


def test_jaccard_by_hand():
    found = best_jaccard(np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 1]))
    assert found == pytest.approx([2 / 3, 2 / 3])
    assert best_jaccard(np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0])).tolist() == [1, 1]  # names do not matter


def test_documents_are_weighted_as_drawn(monkeypatch):
    """Two documents hold different groupings: a bootstrap sample of one of them alone must see its own."""
    rng = np.random.default_rng(0)
    first, second = np.repeat([0, 1], 10), np.tile([0, 1], 10)
    sums = np.stack([bumps(np.array([20.0, 100.0])[labels]) for labels in (first, second)])
    for drawn, labels in (([2, 0], first), ([0, 2], second)):
        monkeypatch.setattr(clusters, "block_weights", lambda *_, drawn=drawn: np.array([drawn, drawn]))
        assert stability(sums, labels, 2, rng).jaccard.tolist() == [1, 1]


def test_paper_consistency_is_inflated_on_noise_and_to_be_read_against_its_null():
    rng = np.random.default_rng(0)
    noise = frequency_matched(rng)[0]
    null = paper_consistency_null(frequency_matched(rng, n=10))
    assert abs(np.corrcoef(noise.T)[np.triu_indices(120, 1)].mean()) < 0.01
    assert paper_consistency(noise) > 0.05  # from no correlation at all
    assert paper_consistency(noise) == pytest.approx(null.mean(), abs=0.03)
    assert paper_consistency(block_sums(bumps(GROUPS), rng).sum(0)) > 0.9 > null.max() + 0.5


def test_paper_consistency_leaves_self_correlations_out():
    """Ten features in five orthogonal pairs with r = .5 inside each; with the diagonal it would be .75."""
    basis = np.linalg.qr(np.column_stack([np.ones(T), np.random.default_rng(0).normal(size=(T, 10))]))[0][:, 1:]
    profiles = np.column_stack([basis[:, :5], 0.5 * basis[:, :5] + np.sqrt(0.75) * basis[:, 5:]])
    assert paper_consistency(profiles) == pytest.approx(0.5)


def test_paper_consistency_is_wards():
    profiles = frequency_matched(np.random.default_rng(0))[0]
    found = {}
    for method in ("ward", "average"):
        labels = hierarchy.fcluster(hierarchy.linkage(pdist(profiles.T, "correlation"), method), 5, "maxclust")
        same = np.triu(labels[:, None] == labels, 1)
        found[method] = np.corrcoef(profiles.T)[same].mean()
    assert paper_consistency(profiles) == pytest.approx(found["ward"])
    assert found["average"] != pytest.approx(found["ward"])


def test_what_cannot_be_clustered_says_why():
    found = clustered(bumps(np.repeat([20.0, 100.0], 5)))  # ten features are enough
    assert found.K == 2 and len(found.silhouette_K) == 9  # ten clusters of ten features are no clusters
    rng = np.random.default_rng(0)
    few = smooth(counts(bumps(GROUPS[:9]), rng))
    for refused in (lambda: cluster(few, [], rng), lambda: paper_consistency(few.sum(0))):
        with pytest.raises(ValueError, match="at least 10 features .* there are 9"):
            refused()
    fired = counts(bumps(GROUPS), rng)
    sums = smooth(fired)
    with pytest.raises(ValueError, match="at least 2 sets of null profiles, there are 1"):
        cluster(sums, shifted(fired, rng, n=1), rng)
    sums[:, :, 3] = 1.0
    with pytest.raises(ValueError, match="1 of 120 profiles are constant"):
        cluster(sums, shifted(fired, rng), rng)
