"""Where in a window, how densely and for how long each feature fires, and what permuted positions would give instead.

One pass over held-out activations serves all dictionaries of a layer. Everything but the token measure is a sum
over windows that can be added over shards. Permutations shuffle labels within a window, so that a window's own rate of
firing (its topic, its play) never counts as an effect of position.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.nn.functional import embedding_bag

from lens.dictionaries.dictionary import Dictionary
from lens.errors import whole
from lens.measure.at_once import at_once
from lens.progress import track

CHUNK = 32  # windows held in fp32 at a time, fewer of long ones
PERMUTATIONS = 299  # of the labels
DRAWS = 50  # permutations whose one-hot labels exist at a time: 4096 tokens x 50 x 11 bins x 4 bytes = 9 MB
CLOCK_NAMES = ("0", "1", "2-3", "4-7", "8-15", "16-31", "32-63", "64+")

K = TypeVar("K")


@dataclass(frozen=True)
class Labelling:
    """A partition of tokens that firing may depend on: bins of position, of tokens since the last newline."""

    bins: Tensor
    """[n, T] index of each token's bin; -1: the token is not in the set"""
    names: tuple[str, ...]
    """name of each bin"""
    strata: Tensor | None = None
    """[n, T] integers; labels are permuted only among tokens of one window with the same stratum"""
    circular: bool = True
    """permute by a random circular shift of each window's labels, which leaves neighbours together: a feature that
    stays on for several tokens, at no particular position, passes for positional when labels are shuffled one by one"""
    each_stratum: bool = False
    """shift each stratum's labels by a uniform share of its own tokens. By a share of all tokens, as otherwise, the
    first label falls the more often on a token the farther the one before it is in its stratum: a feature that follows
    the strata's course inside them passes for positional"""


@dataclass(frozen=True)
class Profile:
    """Sums of one dictionary over held-out windows; a feature fires where f is not 0. Text positions are 1..T-1."""

    windows: int
    """n"""
    firings_BTK: np.ndarray
    """[n_blocks, T, d_sae] windows of each text block in which the feature fires at t, BOS included"""
    amplitude_BTK: np.ndarray
    """[n_blocks, T, d_sae] sum of f, BOS included"""
    observed: dict[str, np.ndarray]
    """labelling -> [bins, d_sae] firings on tokens of each bin"""
    null: dict[str, np.ndarray]
    """labelling -> [R, bins, d_sae] the same under R permutations of the labels"""
    bin_sizes: dict[str, np.ndarray]
    """labelling -> [bins] tokens; a permutation does not change them"""
    permuted_firings_RTK: np.ndarray
    """[R', T-1, d_sae] firings by position after shifting each window's text positions by a random circular offset"""
    runs_K: np.ndarray
    """[d_sae] maximal runs of consecutive firings within the text positions of a window"""
    expected_runs_K: np.ndarray
    """[d_sae] their expectation when each window's firings are permuted over its P text positions: a window with n_i
    firings has n_i (P - n_i + 1) / P runs (Wald and Wolfowitz 1940)"""
    lag_products_LK: np.ndarray
    """[lags + 1, d_sae] sum over windows and t of f_t f_{t+l}, both at text positions"""
    window_means_NK: np.ndarray
    """[n, d_sae] mean of f over each window's text positions"""
    token_share_K: np.ndarray | None
    """[d_sae] share of the feature's firings that are on its most frequent token; nan if silent"""

    @property
    def firings_TK(self) -> np.ndarray:
        """[T-1, d_sae] firings at text positions, all blocks."""
        return self.firings_BTK[:, 1:].sum(0, dtype=np.int64)

    @property
    def amplitude_TK(self) -> np.ndarray:
        """[T-1, d_sae] E[f | t] at text positions, all blocks."""
        return self.amplitude_BTK[:, 1:].sum(0, dtype=np.float64) / self.windows


def position_labelling(n: int, T: int, first: int = 1, circular: bool = True) -> Labelling:
    """Positions first..T-1 of n windows in bins that double: 1, 2-3, 4-7, ...; with first = 8: 8-15, 16-31, ..."""
    if not 1 <= first < T:
        raise ValueError(f"first = {first} is not a text position of a window of {T}: choose 1..{T - 1}")
    edges = [first]
    while edges[-1] < T:
        edges.append(2 ** (edges[-1].bit_length()))
    edges[-1] = T
    t = torch.arange(T)
    bins = torch.bucketize(t, torch.tensor(edges), right=True) - 1
    names = tuple(str(a) if b == a + 1 else f"{a}-{b - 1}" for a, b in zip(edges, edges[1:], strict=False))
    return Labelling(bins.expand(n, T), names, circular=circular)


def clock_bins(clock_nT: Tensor) -> Tensor:
    """Bins of a count of tokens since some event [n, T]: 0, 1, 2-3, 4-7, ..., 64+ (`CLOCK_NAMES`); -1 stays -1."""
    edges = torch.tensor([0, *(2**i for i in range(len(CLOCK_NAMES) - 1))])
    return torch.bucketize(clock_nT, edges, right=True) - 1


def clock_labelling(clock_nT: Tensor) -> Labelling:
    """Bins of a count since some event [n, T] that double as those of `clock_bins`, as many as the count needs; text
    positions (1..T-1) alone are in the set."""
    widest = int(clock_nT.max()).bit_length()  # 2^(widest - 1) <= the largest < 2^widest
    edges = torch.tensor([0, *(2**i for i in range(widest))])
    bins = torch.bucketize(clock_nT, edges, right=True) - 1
    bins[:, 0] = -1
    names = ["0", "1", *(f"{2**i}-{2 ** (i + 1) - 1}" for i in range(1, widest))]
    return Labelling(bins, tuple(names[: len(edges)]))


@torch.no_grad()
def profile(
    dictionaries: Mapping[K, Dictionary],
    activations: Tensor,
    block: Tensor,
    n_blocks: int,
    labellings: Mapping[str, Labelling],
    *,
    permutations: int = PERMUTATIONS,
    profile_permutations: int = 10,
    lags: int = 32,
    tokens: Tensor | None = None,
    seed: int = 0,
) -> dict[K, Profile]:
    """Profiles of all dictionaries of a layer on held-out activations [n, T, d], in one pass.

    The permutations are the same for all dictionaries and do not depend on which ones are asked for. Costs grow with
    the number of firings, not with tokens x d_sae.

    Args:
        block: [n] index of each window's text block.
        labellings: by name, at least one; labels of windows [n, T].
        permutations: R, of the labels. The smallest p they can give is 1 / (R + 1).
        profile_permutations: R', of whole profiles.
        lags: longest lag of the lag products.
        tokens: [n, T] token ids, for the share of the most frequent one; needs a table [distinct tokens, d_sae] per
            dictionary while it runs.

    Raises:
        ValueError: labels or tokens do not fit the activations, the lags do not fit the window, or a count or seed is
            negative.
    """
    n, T, _ = activations.shape
    counts = {"permutations": permutations, "profile_permutations": profile_permutations, "lags": lags, "seed": seed}
    for name, value in counts.items():
        whole(name, value, 0)
    _check(n, T, lags, labellings, tokens)
    classes = None if tokens is None else tokens[:, 1:].unique(return_inverse=True)[1]
    width = sum(len(labelling.names) for labelling in labellings.values())
    sums = {
        key: _Sums(n, n_blocks, T, sae.info.d_sae, permutations + 1, width, profile_permutations, lags, classes)
        for key, sae in dictionaries.items()
    }
    chunk = at_once(CHUNK, T)
    for start in track(range(0, n, chunk), "profile features", "chunks"):
        rows = slice(start, min(start + chunk, n))
        x = activations[rows].float()
        draws = _keys(seed, start, (max(permutations, profile_permutations), len(x), T))
        order = (torch.arange(T - 1) + (draws[:profile_permutations, :, :1] * (T - 1)).long()) % (T - 1)
        labels = [_with_permutations(labelling, rows, draws[:permutations]) for labelling in labellings.values()]
        bags = {}
        for key, sae in dictionaries.items():
            codes = sae.encode(x)
            f, on = codes.dense(), codes.fired()
            sums[key].add(f, on.float(), rows, block[rows], order)
            bags[key] = _firing_tokens(on)
        for first in range(0, permutations + 1, DRAWS):
            part = slice(first, first + DRAWS)
            one_hot = _one_hot([x[part] for x in labels], labellings)
            for key, (token, offsets) in bags.items():
                counts = embedding_bag(token, one_hot.flatten(1), offsets, mode="sum")
                sums[key].counts[:, part] += counts.int().view(-1, *one_hot.shape[1:])
    return {key: sums.pop(key).profile(n, labellings) for key in dictionaries}  # frees each one's tables


def _check(n: int, T: int, lags: int, labellings: Mapping[str, Labelling], tokens: Tensor | None) -> None:
    shapes = {f"labelling {name!r}": labelling.bins.shape for name, labelling in labellings.items()}
    shapes |= {f"strata of {name!r}": v.strata.shape for name, v in labellings.items() if v.strata is not None}
    if tokens is not None:
        shapes["tokens"] = tokens.shape
    for name, shape in shapes.items():
        if tuple(shape) != (n, T):
            raise ValueError(f"{name} has shape {tuple(shape)}, the activations are {n} windows of {T}")
    for name, labelling in labellings.items():
        if int(labelling.bins.max()) >= len(labelling.names) or int(labelling.bins.min()) < -1:
            raise ValueError(f"labelling {name!r} has bins outside -1..{len(labelling.names) - 1}, its number of names")
    if not 0 <= lags < T - 1:
        raise ValueError(f"lags = {lags} does not fit {T - 1} text positions: choose 0..{T - 2}")


def _keys(seed: int, start: int, shape: tuple[int, ...]) -> Tensor:
    """Random sort keys in [0, 1) of the chunk that begins at window `start`."""
    state = np.random.SeedSequence((seed, start)).generate_state(1, np.uint64)[0]
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(int(state)))


def _with_permutations(labelling: Labelling, rows: slice, keys_RmT: Tensor) -> Tensor:
    """Labels of a chunk, [R + 1, m, T]: as they are, then permuted within window and stratum."""
    labels = labelling.bins[rows].long()
    strata = torch.zeros_like(labels) if labelling.strata is None else labelling.strata[rows].long()
    strata = strata.masked_fill(labels < 0, int(strata.max()) + 1)  # tokens outside the set stay outside
    keys = keys_RmT
    if labelling.circular:
        shift = keys_RmT[..., :1]
        keys = _rotated_each(strata, shift) if labelling.each_stratum else _rotated(labels >= 0, shift)
    order = (keys + strata).argsort(-1)  # strata one after the other, in random order inside each
    slots = labels.gather(-1, strata.argsort(dim=-1, stable=True))
    permuted = torch.empty_like(order).scatter_(-1, order, slots.expand_as(order))
    return torch.cat([labels[None], permuted])


def _rotated(inside_mT: Tensor, u_Rm1: Tensor) -> Tensor:
    """Sort keys in [0, 1) that rotate the tokens inside a set by a share u in [0, 1) of their number."""
    count = inside_mT.sum(-1, keepdim=True).clamp_min(1)
    rank = inside_mT.cumsum(-1) - 1
    return (rank + (u_Rm1 * count).long()) % count / count.double()


def _rotated_each(strata_mT: Tensor, u_Rm1: Tensor) -> Tensor:
    """Sort keys in [0, 1) that rotate the tokens of each stratum by a share u in [0, 1) of their number."""
    ordered, order = strata_mT.sort(dim=-1, stable=True)
    place = torch.arange(strata_mT.shape[-1]).expand_as(ordered)
    first = torch.searchsorted(ordered, ordered)
    count = torch.searchsorted(ordered, ordered, right=True) - first
    rank, count = (torch.empty_like(x).scatter_(-1, order, x) for x in (place - first, count))
    return (rank + (u_Rm1 * count).long()) % count / count.double()


def _one_hot(labels: list[Tensor], labellings: Mapping[str, Labelling]) -> Tensor:
    """[m * T, r, bins of all labellings] from labels [r, m, T]."""
    return torch.cat(
        [
            (x.flatten(1).T[:, :, None] == torch.arange(len(labelling.names))).float()
            for x, labelling in zip(labels, labellings.values(), strict=True)
        ],
        dim=-1,
    )


def _firing_tokens(on_mTK: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens (rows of the flattened chunk) on which each feature fires, feature after feature, and where each begins.

    Counting labels over these costs one addition per firing and label; a dense product pays for the zeros too.
    """
    on = on_mTK.flatten(0, 1)
    firings = on.sum(0)
    return on.T.nonzero()[:, 1], firings.cumsum(0) - firings


class _Sums:
    """Running sums of one dictionary."""

    def __init__(self, n, n_blocks, T, d_sae, labels, width, profile_permutations, lags, classes):
        double = torch.float64
        self.lags, self.padded, self.classes = lags, next_fast_len(T - 1 + lags, real=True), classes
        self.firings, self.amplitude = torch.zeros(n_blocks, T, d_sae), torch.zeros(n_blocks, T, d_sae)
        self.window_means = torch.zeros(n, d_sae)
        self.counts = torch.zeros(d_sae, labels, width, dtype=torch.int32)
        self.permuted_firings = torch.zeros(profile_permutations, T - 1, d_sae)
        self.runs, self.expected_runs = torch.zeros(d_sae, dtype=double), torch.zeros(d_sae, dtype=double)
        self.power = torch.zeros(self.padded // 2 + 1, d_sae, dtype=double)
        if classes is not None:
            self.by_token = torch.zeros(int(classes.max()) + 1, d_sae)

    def add(self, f: Tensor, on: Tensor, rows: slice, block: Tensor, order_RmP: Tensor) -> None:
        """Add a chunk of features f [m, T, d_sae], with firings `on` as 0 and 1."""
        m, T, _ = f.shape
        self.firings.index_add_(0, block.long(), on)
        self.amplitude.index_add_(0, block.long(), f)
        source = (order_RmP + 1 + T * torch.arange(m)[:, None]).transpose(1, 2)  # [R, P, m] rows of the chunk
        shifted = embedding_bag(source.flatten(0, 1), on.flatten(0, 1), mode="sum")
        self.permuted_firings += shifted.view_as(self.permuted_firings)
        text, text_on = f[:, 1:], on[:, 1:]
        n_i, P = text_on.sum(1).double(), T - 1
        self.runs += text_on[:, 0].sum(0) + (text_on[:, 1:] * (1 - text_on[:, :-1])).sum((0, 1))
        self.expected_runs += (n_i * (P - n_i + 1) / P).sum(0)
        # Window by window: of several at once, MKL computes some lengths in another order on more than one thread.
        spectrum = torch.stack([torch.view_as_real(torch.fft.rfft(window, n=self.padded, dim=0)) for window in text])
        self.power += spectrum.square().sum((0, 3))  # of all windows: its inverse transform is the lag products
        self.window_means[rows] = text.mean(1)
        if self.classes is not None:
            self.by_token.index_add_(0, self.classes[rows].flatten(), text_on.flatten(0, 1))

    def profile(self, n: int, labellings: Mapping[str, Labelling]) -> Profile:
        widths = [len(labelling.names) for labelling in labellings.values()]
        counts = dict(zip(labellings, self.counts.permute(1, 2, 0).split(widths, dim=1), strict=True))
        return Profile(
            windows=n,
            firings_BTK=self.firings.numpy().astype(np.uint32),
            amplitude_BTK=self.amplitude.numpy(),
            observed={name: c[0].contiguous().numpy() for name, c in counts.items()},
            null={name: c[1:].contiguous().numpy() for name, c in counts.items()},
            bin_sizes={
                name: np.bincount(v.bins[v.bins >= 0].numpy(), minlength=len(v.names)) for name, v in labellings.items()
            },
            permuted_firings_RTK=self.permuted_firings.numpy().astype(np.uint32),
            runs_K=self.runs.numpy().astype(np.int64),
            expected_runs_K=self.expected_runs.numpy(),
            lag_products_LK=torch.fft.irfft(self.power, n=self.padded, dim=0)[: self.lags + 1].numpy(),
            window_means_NK=self.window_means.numpy(),
            token_share_K=None if self.classes is None else self._token_share(),
        )

    def _token_share(self) -> np.ndarray:
        return (self.by_token.amax(0) / self.by_token.sum(0, dtype=torch.float64)).numpy()
