"""How far a smoothed position profile strays by chance, when firing knows nothing of position."""

from __future__ import annotations

import numpy as np

from lens.measure.spans import BANDWIDTH, smooth

SHARE = 0.95  # of the permuted texts lie inside, at any one position
REACH = int(np.ceil(3 * BANDWIDTH))  # positions from an end of the window at which smoothing still feels it


def null_band(permuted_firings_RPK: np.ndarray, share: float = SHARE) -> np.ndarray:
    """Pointwise band of smoothed firings under permutations, [2, E, K]: lower and upper end, E distances to an edge.

    A circular shift puts every window's firings at any position alike, so the null of the smoothed profile differs from
    position to position only by how many neighbours smoothing finds there. Permutations are therefore pooled over the
    positions at equal distance e from the nearer end of the window; all that are further than the smoothing reaches
    share the last entry, e = E - 1.

    Args:
        permuted_firings_RPK: firings by position after shifting each window's firings, R times (see `Profile`).
    """
    R, P, K = permuted_firings_RPK.shape
    smoothed = smooth(permuted_firings_RPK.transpose(1, 0, 2).reshape(P, -1)).reshape(P, R, K)
    distance = edge_distance(P)
    ends = [(1 - share) / 2, (1 + share) / 2]
    return np.stack(
        [np.quantile(smoothed[distance == e].reshape(-1, K), ends, axis=0) for e in range(distance.max() + 1)], axis=1
    )


def edge_distance(n_positions: int) -> np.ndarray:
    """Entry of the band at each text position [P]: its distance to the nearer end, at most `REACH`."""
    t = np.arange(n_positions)
    return np.minimum(np.minimum(t, t[::-1]), REACH)
