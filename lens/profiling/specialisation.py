"""Is a feature tuned to position, does it inherit its profile from others, or does it follow the text?

Three questions, each answered by a measure of its own: does the feature change with the position when the text is the
same (`lens.measure.offsets`), whose drive its profile is made of (`lens.measure.ledger`), and whether position still
tells when it fires once the others' drive is known (`lens.measure.conditional`). The verdict is that of
`lens.measure.verdicts`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.sparse import csc_array, vstack
from torch import Tensor

from lens.activations.offset_windows import OffsetWindows
from lens.activations.store import LayerStore
from lens.dictionaries.dictionary import Dictionary
from lens.measure.at_once import at_once
from lens.measure.conditional import ConditionalGain, conditional_gain
from lens.measure.ledger import PARTS, Ledger, ledger
from lens.measure.offsets import OffsetEffect, offset_effect
from lens.measure.position_bins import position_bins
from lens.measure.position_information import MIN_FIRINGS, benjamini_hochberg
from lens.measure.reliability import reliability
from lens.measure.verdicts import HALF, INHERITS, verdicts
from lens.profiling.layer_data import FEW_DOCUMENTS, independent_blocks, sets_of
from lens.profiling.swap import swap_columns

CHUNK = 16  # windows in fp32 at a time, fewer of long ones
SOURCES = 3  # features that are named as the ones a profile is inherited from


class _Means(NamedTuple):
    """What the ledger and the encoding model read, from one pass over held-out windows; text positions alone."""

    code: Tensor
    """[R, T-1, K] mean code of each set of windows"""
    inputs: Tensor
    """[R, T-1, d] mean input, scaled; as a term that acts on it leaves it, since that is what features rebuild"""
    term: Tensor | None
    """[R, T-1, K] mean of the score with the position term less the score without, if one acts on the score"""
    ungated: Tensor | None
    """[R, T-1, K] mean code before a term acted on it, if one acts on the code"""
    windows: Tensor
    """[R] windows of each set"""
    sets: Tensor
    """[n] the set of each window"""
    sparse: csc_array
    """[N, K] codes of all text tokens"""
    block: Tensor
    """[n] document of each window, or its stretch of text where there are few documents"""


def specialisation(
    sae: Dictionary,
    test: LayerStore,
    drawn: OffsetWindows,
    read: Iterable[Tensor],
    positional_K: np.ndarray,
    *,
    permutations: int = 299,
    seed: int = 0,
) -> pd.DataFrame:
    """One row per feature: verdict, and the numbers that it rests on.

    Costs an encoding of the windows of `drawn` and four of the held-out windows. For dictionaries whose code is no
    linear score of the input (`Dictionary.linear`), the source of tuning can't be told.

    Args:
        test: held-out windows with their activations.
        drawn: windows in which the same text is read at several offsets.
        read: activations of the windows of each stretch in turn, [M, TILES + 1, T, d].
        positional_K: whether the test that permutes positions within windows calls a feature positional.

    Returns:
        columns feature, verdict (one of `lens.measure.verdicts.VERDICTS`), offset_share, offset_low, offset_high,
        offset_p, offset_depth, moved_share, moved (found by the false discovery rate of 5 %), reliability (of the
        profile of the code, see `lens.measure.reliability`), swap, swap_wrong_means and swap_random of those that
        moved (see `lens.profiling.swap`; like reliability they describe, and decide nothing), then for a linear
        dictionary own, others, error, term (shares of the score's tuning), own_low, others_high, term_code,
        conditional_gain, conditional_se, conditional_p, position_gain, alone (found by the false discovery rate among
        those that moved), and inherits_from (features, strongest first, of those that inherit).

    Raises:
        ValueError: too few stretches of text or documents for a test; the number needed is named.
    """
    effect = _offsets(sae, drawn, read, permutations, seed)
    means = _pass(sae, test, sae.linear)
    firings = np.diff(means.sparse.indptr)
    eligible = firings >= MIN_FIRINGS
    moved = benjamini_hochberg(effect.p_K, eligible)
    rows = {
        "offset_share": effect.share_K,
        "offset_low": effect.low_K,
        "offset_high": effect.high_K,
        "offset_p": effect.p_K,
        "offset_depth": effect.depth_K,
        "moved_share": effect.moved_share_K,
        "moved": moved,
        "reliability": reliability(means.code.numpy(), means.windows.numpy()),
    }
    swap = swap_columns(sae, test.activations, means.sets, means.code, seed)
    rows |= {name: np.where(moved, values, np.nan) for name, values in swap.items()}
    excluded = _excluded(effect, means, position_bins(means.code.shape[1] + 1, 1))
    if not sae.linear:
        verdict = verdicts(eligible, positional_K, moved, excluded)
    else:
        shares, gain = _source(sae, means, np.flatnonzero(moved), seed)
        alone = benjamini_hochberg(np.nan_to_num(gain.p_K, nan=1), moved & ~np.isnan(gain.p_K))
        verdict = verdicts(eligible, positional_K, moved, excluded, alone, gain.gain_K - gain.se_K, shares.code)
        rows |= {part: shares.score[part] for part in PARTS}
        rows |= {"own_low": shares.low["own"], "others_high": shares.high["others"], "term_code": shares.code["term"]}
        rows |= {"conditional_gain": gain.gain_K, "conditional_se": gain.se_K, "conditional_p": gain.p_K}
        rows |= {"position_gain": gain.position_gain_K, "alone": alone}
        rows["inherits_from"] = _sources(sae, means, np.flatnonzero(verdict == INHERITS), len(firings))
    return pd.DataFrame({"feature": np.arange(len(firings)), "verdict": verdict, **rows})


@torch.no_grad()
def _offsets(
    sae: Dictionary, drawn: OffsetWindows, read: Iterable[Tensor], permutations: int, seed: int
) -> OffsetEffect:
    first = int(drawn.bos)
    bins = position_bins(drawn.tokens.shape[-1], max(first, 1))

    def segments() -> Iterator[tuple[Tensor, Tensor]]:
        for x, phase, position in zip(read, drawn.phase, drawn.positions, strict=True):
            windows = x.flatten(0, 1)
            parts = windows.split(at_once(len(windows), windows.shape[1]))
            code = torch.cat([sae.encode(part.float()).dense()[:, first:] for part in parts])
            text = code.unflatten(0, x.shape[:2]).flatten(1, 2)
            yield torch.stack([text[m, p : p + drawn.places] for m, p in enumerate(phase)]), torch.from_numpy(position)

    documents = drawn.document.tolist() if len(set(drawn.document)) >= FEW_DOCUMENTS else None
    return offset_effect(
        segments(), bins, n_segments=len(drawn.tokens), groups=documents, permutations=permutations, seed=seed
    )


def _excluded(effect: OffsetEffect, means: _Means, bins_T: Tensor) -> np.ndarray:
    """Whether position makes less than half of each feature's profile on the held-out windows, text held fixed [K]."""
    one_hot = torch.nn.functional.one_hot(bins_T[1:]).float()  # [T-1, B]
    curves = torch.einsum("tb,rtk->rbk", one_hot / one_hot.sum(0), means.code).numpy()
    would_be = effect.share_if(curves, means.windows.numpy())
    with np.errstate(invalid="ignore"):
        return np.isposinf(would_be) | (effect.high_K < HALF * would_be)


@torch.no_grad()
def _pass(sae: Dictionary, test: LayerStore, linear: bool) -> _Means:
    n, T, d = test.activations.shape
    block, K = independent_blocks(test), sae.info.d_sae
    sets = sets_of(block)  # a mean for each of many documents would not fit into memory
    windows = torch.bincount(sets)
    shape = len(windows), T - 1, K
    code, changed = torch.zeros(shape), torch.zeros(shape)
    inputs, sparse = torch.zeros(len(windows), T - 1, d), []
    values = None if sae.info.n_positions is None else sae.position_term.values(torch.arange(T))
    acts_on = None if values is None else sae.position_term.acts_on
    chunk = at_once(CHUNK, T)
    for start in range(0, n, chunk):
        rows = slice(start, start + chunk)
        x, where = test.activations[rows].float(), sets[rows]
        f = sae.encode(x).dense()[:, 1:]
        code.index_add_(0, where, f)
        sparse.append(csc_array(f.flatten(0, 1).numpy()))
        if not linear:
            continue
        scaled = sae.scaled(x)
        seen = scaled if values is None else sae.position_term.of_input(scaled, values)
        inputs.index_add_(0, where, seen[:, 1:])
        if values is not None and acts_on != "input":
            plain = sae.scores(seen, None)[:, 1:]
            with_term = sae.scores(scaled, values)[:, 1:]
            on_code = acts_on == "code"
            changed.index_add_(0, where, sae.architecture.select(plain).dense() if on_code else with_term - plain)
    code, inputs, changed = (total / windows[:, None, None] for total in (code, inputs, changed))
    term, ungated = (None, changed) if acts_on == "code" else (changed, None)
    return _Means(code, inputs, term, ungated, windows, sets, csc_array(vstack(sparse, format="csc")), block)


def _source(sae: Dictionary, means: _Means, tested: np.ndarray, seed: int) -> tuple[Ledger, ConditionalGain]:
    W_enc, W_dec, b_dec = sae.W_enc.detach(), sae.W_dec.detach(), sae.b_dec.detach()
    shares = ledger(
        means.code, means.inputs, W_enc, W_dec, b_dec,
        windows_R=means.windows, term_score_RTK=means.term, ungated_RTK=means.ungated,
    )  # fmt: skip
    T = means.code.shape[1]
    rebuilt = torch.from_numpy(means.sparse @ W_dec.numpy())
    position = torch.arange(1, T + 1).repeat(len(means.block))
    gain = conditional_gain(
        means.sparse, rebuilt, W_enc, W_dec, position, means.block.repeat_interleave(T), features=tested, seed=seed
    )
    return shares, gain


def _sources(sae: Dictionary, means: _Means, inheriting: np.ndarray, K: int) -> np.ndarray:
    """Names of the features whose drive makes most of the tuning of each that inherits, [K]."""
    names = np.full(K, "", object)
    code = (means.code * means.windows[:, None, None]).sum(0) / means.windows.sum()  # [T-1, K]
    code = code - code.mean(0)
    drive = sae.W_dec.detach() @ sae.W_enc.detach()[:, inheriting]  # [K, J]
    profile = code @ drive
    part = (code.T @ profile) * drive
    part[inheriting, np.arange(len(inheriting))] = -torch.inf
    for j, best in zip(inheriting, part.topk(min(SOURCES, K), dim=0).indices.T.tolist(), strict=True):
        names[j] = " ".join(map(str, best))
    return names
