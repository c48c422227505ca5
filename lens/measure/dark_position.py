"""Dark position: what a dictionary leaves of position in its error, and what the model loses by that.

Every measure is one number for a dictionary, beside the same without each held-out document, so that whatever is made
of measures has an interval over seeds and documents (`lens.measure.headroom.crossed`).

`fvu`: fraction of variance unexplained, of ordinary tokens. `path share`: variance of the activations' mean path along
the window over all of their variance; `path left`: that of the error's path over it (`lens.measure.position_path`).
`r2 REPRESENTATION SHARE WHERE`: log2(1 + t), read with SHARE of d_model as degrees of freedom, WHERE all text positions
(`all`), those from 16 on (`late`), or, as the null, in windows whose positions are permuted (`permuted`). `delta_ce ARM
WHERE`: nats by which the model's loss rises, of predictions made in a bucket of positions, `early`, `late` or `all`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lens.dictionaries.dictionary import Dictionary
from lens.measure.decoding import Represent
from lens.measure.fidelity import Replace
from lens.measure.headroom import LATE, buckets, crossed
from lens.measure.matched_decoding import matched_decoding
from lens.measure.position_path import path_of, path_size, path_sums, plus, turned
from lens.measure.reconstruction import InputMoments, Reconstruction
from lens.measure.stats import Interval

SHARES = (0.025, 0.1, 0.4)
"""degrees of freedom over d_model; of the largest, few dictionaries have too few features"""
ACTIVATIONS, CODE, REBUILT, ERROR = "activations", "code", "reconstruction", "error"

Measures = dict[str, list[float]]
"""by name: the measure, and what it is without each document"""


def representations(sae: Dictionary) -> dict[str, Represent]:
    """Of raw activations [b, T, d]: themselves, and what a dictionary makes of them."""
    return {
        ACTIVATIONS: lambda x: x,
        CODE: lambda x: sae.encode(x).dense(),
        REBUILT: lambda x: sae(x),
        ERROR: lambda x: x - sae(x),
    }


def variance_left(
    sae: Dictionary, x: Tensor, block: Tensor, moments: InputMoments, found: Reconstruction, scale: float
) -> Measures:
    """`fvu`, `path share` and `path left` of raw activations [n, T, d]; `moments` and `found` are of x times scale."""
    n_blocks = len(moments.count)
    errors, of = (part[:, 1:].sum(1) for part in (found.sq_error_ordinary, moments.sq_deviation_ordinary))
    tokens = moments.count_ordinary[:, 1:].sum(1)
    represent = representations(sae)
    own, left = (
        scale**2 * np.array(_listed(*path_size(path_sums(represent[name], x, block, n_blocks, moments.ordinary))))
        for name in (ACTIVATIONS, ERROR)
    )
    variance, error = (np.array(_without_each(part)) for part in (of, errors))
    mean_square = variance / np.array(_without_each(tokens))
    return {
        "fvu": list(error / variance), "path share": list(own / mean_square), "path left": list(left / own),
    }  # fmt: skip


def read_off(sae: Dictionary, x: Tensor, shuffled: Tensor, block: Tensor, n_blocks: int) -> tuple[Measures, float]:
    """All `r2`, and the fewest degrees of freedom, over those asked for, that a representation had.

    Args:
        shuffled: the same windows with their text positions permuted.
    """
    d = x.shape[-1]
    found, fewest = {}, 1.0
    for name, represent in representations(sae).items():
        for where, windows, first, shares in (
            ("all", x, 1, SHARES), ("late", x, LATE, SHARES), ("permuted", shuffled, 1, SHARES[-1:]),
        ):  # fmt: skip
            freedoms = [share * d for share in shares]
            each = matched_decoding(represent, windows, block, n_blocks, freedoms, d, first)
            for share, freedom, one in zip(shares, freedoms, each, strict=True):
                sse, sst = (np.array(_without_each(part)) for part in (one.decoded.sse_B, one.decoded.sst_B))
                found[f"r2 {name} {share:g} {where}"] = list(1 - sse / sst)
                fewest = min(fewest, one.freedom / freedom)
    return found, fewest


def arms(sae: Dictionary, train: Tensor, ordinary: Tensor, seed: int) -> dict[str, Replace]:
    """What takes the place of the residual stream: the reconstruction, alone, with the error's mean path given back, or
    with another that is as long.

    Args:
        train: windows [n, T, d] that paths are read off; `ordinary` [n, T] says which of their tokens count.
        seed: draws the turns of the other paths.
    """
    left = _path(representations(sae)[ERROR], train, ordinary)
    return {"reconstruction": sae, "given back": plus(sae, left), "another given": plus(sae, turned(left, seed))}


def arms_of_model(train: Tensor, ordinary: Tensor, seed: int) -> dict[str, Replace]:
    """The same, whatever the dictionary: activations without their mean path, or without another that is as long."""
    own = _path(lambda x: x, train, ordinary)
    return {"taken away": plus(lambda x: x, -own), "another taken away": plus(lambda x: x, -turned(own, seed))}


def _path(represent: Represent, train: Tensor, ordinary: Tensor) -> Tensor:
    block = torch.zeros(len(train), dtype=torch.long)
    return path_of(path_sums(represent, train, block, 1, ordinary))


def losses(delta_ce: Mapping[str, np.ndarray], block: np.ndarray, n_blocks: int) -> Measures:
    """All `delta_ce`, of rises [n, T - 1] of the loss by arm; the prediction at position t is of token t + 1."""
    found = {}
    for arm, values in delta_ce.items():
        T = values.shape[1]
        for where, positions in (
            buckets(T) | {"early": slice(1, LATE), "late": slice(LATE, T), "all": slice(1, T)}
        ).items():
            if part := values[:, positions].shape[1]:
                sums = np.bincount(block, values[:, positions].sum(1, dtype=np.float64), n_blocks)
                count = part * np.bincount(block, minlength=n_blocks)
                found[f"delta_ce {arm} {where}"] = list(np.array(_without_each(sums)) / np.array(_without_each(count)))
    return found


def rows_of(measures: Measures, documents: list[str]) -> pd.DataFrame:
    """Rows of measure, document (left out; empty: none) and value."""
    names = ["", *documents]
    return pd.concat(
        [pd.DataFrame({"measure": name, "document": names, "value": values}) for name, values in measures.items()],
        ignore_index=True,
    )


def estimate(values: pd.DataFrame, of: Callable[[pd.DataFrame], pd.Series]) -> Interval:
    """Mean over seeds of what is made of measures, with the interval of `lens.measure.headroom.crossed`.

    Args:
        values: rows of seed, measure, document and value, of one variant and L0.
        of: from a frame with a column for each measure to what is asked, as `lambda m: m["path left"] - m["fvu"]`.
    """
    wide = values.pivot(index=["seed", "document"], columns="measure", values="value")
    asked = of(wide).unstack("document")
    left_out = asked.drop(columns="").apply(lambda column: column.fillna(asked[""]))  # it was not that seed's
    return crossed(asked[""].to_numpy(), left_out.mean().to_numpy())


def estimates(measures: pd.DataFrame, of: Callable[[pd.DataFrame], pd.Series]) -> pd.DataFrame:
    """`estimate` for each variant and L0: rows of variant, target, estimate, low, high, se and df."""
    each = [(*key, *estimate(part, of)) for key, part in measures.groupby(["variant", "target"])]
    return pd.DataFrame(each, columns=["variant", "target", *Interval._fields])


def estimates_of(measures: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """`estimates` of measures by what they are called, in the column `of`."""
    each = [estimates(measures, lambda m, name=name: m[name]).assign(of=of) for of, name in names.items()]
    return pd.concat(each, ignore_index=True)


def _listed(whole: float, left_out: np.ndarray) -> list[float]:
    return [whole, *left_out.tolist()]


def _without_each(sums_B: np.ndarray) -> list[float]:
    total = float(sums_B.sum())
    return _listed(total, total - sums_B)
