"""Does position tell when a feature fires, once the drive of the other features is known?

    logit P(f_j > 0) = b + covariates + h(c_j) [+ g(t)],  c_j = sum over k != j of f_k (w_j d_k)

with a spline h, and g piecewise linear in log2(1 + t) with knots where the bins of positions begin. A feature that
inherits its profile from others has it in c_j already, and g gains nothing. Features whose decoder row is close to that
of j (cosine above .7) are left out of c_j: they would be j itself under another name.

Without g the model is fitted; what g would gain is read from the scores of the log-likelihood by its coefficients,
less what the fitted terms explain of them, summed by document. A likelihood ratio would take neighbouring tokens as
independent, which they aren't. Under the null the sign of a document's score is a matter of chance, whatever the
persistence of firing within it: the test flips them (Hemerik, Goeman and Finos 2020, J. R. Stat. Soc. B 82). Where
firing persists, the gain of a tuned feature is found less often. Firings are rare: silent tokens are sampled, which
moves the intercept alone (Prentice and Pyke 1979).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csc_array
from torch import Tensor

from lens.measure.position_bins import edges, hats
from lens.measure.position_information import permutation_p

MIN_FIRINGS = 100
MIN_DOCUMENTS = 8
CLOSE = 0.7  # cosine of decoder rows
ROWS = 4096  # tokens a feature's model sees
DRIVE_KNOTS = (0.05, 0.35, 0.65, 0.95)  # quantiles of c_j
RIDGE = 1e-3
STEPS = 12  # of Newton's method
FLIPS = 999


@dataclass(frozen=True)
class ConditionalGain:
    """What position adds to a feature's encoding model; nan where there are too few firings, or firing documents."""

    gain_K: np.ndarray
    """what position tells of the feature's firing, given the drive, nats per firing: half the sum over pairs of
    different documents of the products of their scores, as if all silent tokens were seen; 0 on average where it tells
    nothing, and about half the variance of (rate at t) / (mean rate) where the drive is of no use"""
    se_K: np.ndarray
    """its standard error, by a jackknife over documents"""
    position_gain_K: np.ndarray
    """the same without the drive in the model: all that position tells"""
    p_K: np.ndarray
    """one-sided, of `gain_K`, signs of the documents' scores flipped; beyond all flips the tail of a gamma"""
    documents_K: np.ndarray
    """documents in which the feature fires"""


def natural_spline(x: Tensor, knots: Tensor) -> Tensor:
    """Natural cubic spline basis [..., n, m - 1] of x [..., n] with m knots [..., m]: linear beyond the outer ones.

    Hastie, Tibshirani and Friedman (2009), equations 5.4 and 5.5, without the constant; x and knots are brought to
    [0, 1] of the outer knots.
    """
    first, last = knots[..., :1], knots[..., -1:]
    width = (last - first).clamp_min(1e-12)
    x, knots = ((x - first) / width)[..., None], ((knots - first) / width)[..., None, :]
    cubes = (x - knots).clamp_min(0).pow(3)
    d = (cubes[..., :-1] - cubes[..., -1:]) / (knots[..., -1:] - knots[..., :-1]).clamp_min(1e-6)
    return torch.cat([x, d[..., :-1] - d[..., -1:]], dim=-1)


def conditional_gain(
    codes: csc_array,
    rebuilt_Nd: Tensor,
    W_enc: Tensor,
    W_dec: Tensor,
    position_N: Tensor,
    document_N: Tensor,
    *,
    classes_N: Tensor | None = None,
    features: np.ndarray | None = None,
    chunk: int = 64,
    seed: int = 0,
) -> ConditionalGain:
    """Gain of position in each feature's conditional encoding model.

    Args:
        codes: [N, K] code of each text token, sparse.
        rebuilt_Nd: code times W_dec, without b_dec [N, d].
        W_enc, W_dec: [d, K] and [K, d].
        position_N: position in the window, 1 and above.
        document_N: document of each token, from 0.
        classes_N: integer class of each token from 0 (token class, clock since newline), as a further covariate.
        features: which ones to test; by default all.
        seed: draws silent tokens and signs.

    Raises:
        ValueError: fewer than 8 documents, a single position, or sizes that don't fit.
    """
    N, K = codes.shape
    documents = int(document_N.max()) + 1
    if documents < MIN_DOCUMENTS:
        raise ValueError(f"{documents} documents, at least {MIN_DOCUMENTS} are needed: use more documents")
    if {len(rebuilt_Nd), len(position_N), len(document_N)} != {N} or W_enc.shape[1] != K or W_dec.shape[0] != K:
        raise ValueError(
            f"codes of {N} tokens and {K} features don't fit {len(rebuilt_Nd)} reconstructions, {len(position_N)} "
            f"positions, {len(document_N)} documents, W_enc {tuple(W_enc.shape)} and W_dec {tuple(W_dec.shape)}"
        )
    if int(position_N.min()) == int(position_N.max()):
        raise ValueError(f"all tokens are at position {int(position_N.min())}: use windows of more tokens")
    rng = np.random.default_rng(seed)
    shared = _shared(position_N, classes_N)
    signs = torch.from_numpy(rng.choice(np.array([-1, 1], np.float32), (FLIPS, documents)))
    asked = np.arange(K) if features is None else features
    firings, documents_K = np.diff(codes.indptr), _firing_documents(codes, document_N.numpy())
    able = [j for j in asked if MIN_FIRINGS <= firings[j] <= N - MIN_FIRINGS and documents_K[j] >= MIN_DOCUMENTS]
    out = np.full((4, K), np.nan)
    for first in range(0, len(able), chunk):
        j = np.asarray(able[first : first + chunk])
        rows, y = _sampled(codes, j, rng)
        drive = _drive(codes, rebuilt_Nd, W_enc, W_dec, j, rows)
        knots = torch.quantile(drive, torch.tensor(DRIVE_KNOTS), dim=1).T
        covariates, place = (part[rows] for part in shared)
        driven = torch.cat([covariates, natural_spline(drive, knots)], dim=-1)
        given, alone = (_scores(known, place, y, document_N[rows], documents) for known in (driven, covariates))
        per_firing = (
            rows.shape[1] / (y.sum(1) * (1 - y).sum(1))
        ).numpy()  # sampled tokens inform by their harmonic mean
        out[:2, j] = per_firing * np.stack(_gain(*given))
        out[2, j], out[3, j] = per_firing * _gain(*alone)[0], _flip_p(given[0], signs)
    gain, se, position_gain, p = out
    return ConditionalGain(gain, se, position_gain, p, documents_K)


def _shared(position_N: Tensor, classes_N: Tensor | None) -> tuple[Tensor, Tensor]:
    """Constant and covariates [N, 1 + classes - 1], and hats of the position [N, knots - 1]."""
    columns = [torch.ones(len(position_N), 1)]
    if classes_N is not None:
        columns.append(torch.nn.functional.one_hot(classes_N.long())[:, 1:].float())
    last = int(position_N.max())
    scale = lambda t: torch.log2(1 + t.float())  # noqa: E731
    knots = scale(torch.tensor([*edges(last, int(position_N.min())), last]))
    return torch.cat(columns, 1), hats(scale(position_N), knots)[:, 1:]


def _firing_documents(codes: csc_array, document_N: np.ndarray) -> np.ndarray:
    fired = csc_array((np.ones(len(codes.indices)), (document_N[codes.indices], codes.nonzero()[1])))
    fired.resize((fired.shape[0], codes.shape[1]))
    return np.diff(fired.tocsc().indptr)


def _sampled(codes: csc_array, features: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Tokens [J, n] that each feature's model sees, half of them firings where possible, and whether it fires."""
    N, n = codes.shape[0], min(ROWS, codes.shape[0])
    rows, y = np.empty((len(features), n), np.int64), np.zeros((len(features), n), np.float32)
    for i, j in enumerate(features):
        on = codes.indices[codes.indptr[j] : codes.indptr[j + 1]]
        off = np.setdiff1d(np.arange(N), on, assume_unique=True)
        n_on = max(min(len(on), n // 2), n - len(off))
        rows[i, :n_on], y[i, :n_on] = rng.choice(on, n_on, replace=False), 1
        rows[i, n_on:] = rng.choice(off, n - n_on, replace=False)
    return torch.from_numpy(rows), torch.from_numpy(y)


def _drive(
    codes: csc_array, rebuilt_Nd: Tensor, W_enc: Tensor, W_dec: Tensor, features: np.ndarray, rows: Tensor
) -> Tensor:
    """c_j at the sampled tokens [J, n]: w_j times the reconstruction, less j's own part and that of close features."""
    w, d = W_enc[:, features].float(), torch.nn.functional.normalize(W_dec.float(), dim=1)
    drive = (w.T @ rebuilt_Nd.float().T).gather(1, rows)
    own = torch.from_numpy(features)
    close = d @ d[own].T > CLOSE  # [K, J]
    close[own, torch.arange(len(own))] = True
    for k, i in close.nonzero().tolist():
        column = codes[:, [k]].toarray()[:, 0]
        drive[i] -= torch.from_numpy(column[rows[i].numpy()]).float() * (W_dec[k].float() @ w[:, i])
    return drive


def _scores(known: Tensor, place: Tensor, y: Tensor, document: Tensor, documents: int) -> tuple[Tensor, Tensor]:
    """Scores [J, D, p] of the coefficients of `place` [J, n, p] in each document, where `known` [J, n, q] is fitted.

    Less what `known` explains of them, and in units in which their information is 1; and each document's share [J, D]
    of the information.
    """
    known = known / known.square().mean(1, keepdim=True).sqrt().clamp_min(1e-6)
    mean = torch.sigmoid((known @ _fit(known, y)[..., None])[..., 0])
    weight = (mean * (1 - mean))[..., None]
    gram = known.mT @ (weight * known)
    place = place - known @ torch.linalg.solve(gram + _ridge(gram), known.mT @ (weight * place))
    information = place.mT @ (weight * place)
    scores, shares = torch.zeros(len(y), documents, place.shape[-1]), torch.zeros(len(y), documents)
    scores.scatter_add_(1, document[..., None].expand(place.shape), place * (y - mean)[..., None])
    shares.scatter_add_(1, document, weight[..., 0])
    root = torch.linalg.cholesky(information + _ridge(information))
    return torch.linalg.solve_triangular(root, scores.mT, upper=False).mT, shares / shares.sum(1, keepdim=True)


def _ridge(gram: Tensor) -> Tensor:
    """RIDGE of the mean of the diagonal: keeps the columns apart that a feature's tokens don't tell apart."""
    p = gram.shape[-1]
    return RIDGE * gram.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None] * torch.eye(p)


def _fit(design: Tensor, y: Tensor) -> Tensor:
    """Coefficients [J, p] of logistic regressions with a small ridge, by Newton's method."""
    J, n, p = design.shape
    beta, ridge = torch.zeros(J, p), RIDGE * n * torch.eye(p)
    for _ in range(STEPS):
        mean = torch.sigmoid((design @ beta[..., None])[..., 0])
        slope = (design.mT @ (y - mean)[..., None])[..., 0] - beta @ ridge
        curvature = (design * (mean * (1 - mean))[..., None]).mT @ design + ridge
        step = torch.linalg.solve(curvature, slope)
        beta = beta + step * (4 / step.norm(dim=1, keepdim=True).clamp_min(4))  # where classes separate, steps explode
    return beta


def _gain(scores_JDp: Tensor, shares_JD: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Half the sum over pairs of different documents of the products of their scores [J], for what all pairs would
    give; and its standard error, by leaving out one document at a time."""
    z, share = scores_JDp.double().numpy(), shares_JD.double().numpy()
    whole, own, n = z.sum(1, keepdims=True), np.square(z).sum(-1), z.shape[1]
    pairs, weight = (whole[:, 0] ** 2).sum(-1) - own.sum(1), 1 - np.square(share).sum(1)
    without = pairs[:, None] - 2 * (z * (whole - z)).sum(-1)
    left_out = without / (weight[:, None] - 2 * share * (1 - share)) / 2
    se = np.sqrt((n - 1) / n * np.square(left_out - left_out.mean(1, keepdims=True)).sum(1))
    return pairs / weight / 2, se


def _flip_p(scores_JDp: Tensor, signs_RD: Tensor) -> np.ndarray:
    flipped = (signs_RD @ scores_JDp).square().sum(-1)  # [J, R]
    return permutation_p(scores_JDp.sum(1).square().sum(-1).numpy(), flipped.T.numpy())
