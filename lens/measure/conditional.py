"""Does position tell when a feature fires, once the drive of the other features is known?

    logit P(f_j > 0) = b + h(c_j) + covariates [+ spline(log2(1 + t))],  c_j = sum over k != j of f_k (w_j d_k)

fitted with and without the last term, on documents that the gain is not measured on. A feature that inherits its
profile from others has it in c_j already, and gains nothing. Features whose decoder row is close to that of j (cosine
above .7) are left out of c_j: they would be j itself under another name.

The gain is a difference of held-out log-likelihoods, summed by document; under the null its sign over documents is a
matter of chance, whatever the persistence of firing within them. A likelihood ratio on the same data would take
neighbouring tokens as independent, which they aren't. Where firing persists, the gain of a tuned feature is found less
often. Firings are rare: silent tokens are sampled, which moves the intercept alone (Prentice and Pyke 1979).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csc_array
from scipy.stats import norm
from torch import Tensor

MIN_FIRINGS = 100
MIN_DOCUMENTS = 6
CLOSE = 0.7  # cosine of decoder rows
ROWS = 4096  # tokens a feature's model sees
DRIVE_KNOTS = (0.05, 0.35, 0.65, 0.95)  # quantiles of c_j
POSITION_KNOTS = 6
RIDGE = 1e-3
STEPS = 12  # of Newton's method
FLIPS = 4999


@dataclass(frozen=True)
class ConditionalGain:
    """What position adds to a feature's encoding model; nan where there are too few firings, or firing documents."""

    gain_K: np.ndarray
    """held-out log-likelihood with position less without, nats per token that the models see"""
    drive_gain_K: np.ndarray
    """the same of the drive and covariates over a constant: how well the others predict the feature"""
    p_K: np.ndarray
    """one-sided, signs of the documents' gains flipped; beyond all flips the normal tail of their sum"""
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
    folds: int = 5,
    chunk: int = 64,
    seed: int = 0,
) -> ConditionalGain:
    """Gain of position in each feature's conditional encoding model, on held-out documents.

    Args:
        codes: [N, K] code of each text token, sparse.
        rebuilt_Nd: code times W_dec, without b_dec [N, d].
        W_enc, W_dec: [d, K] and [K, d].
        position_N: position in the window, 1 and above.
        document_N: document of each token, from 0; folds are made of whole documents.
        classes_N: integer class of each token from 0 (token class, clock since newline), as a further covariate.
        features: which ones to test; by default all.
        seed: draws silent tokens, folds and signs.

    Raises:
        ValueError: fewer than 6 documents, fewer documents than folds, or sizes that don't fit.
    """
    N, K = codes.shape
    documents = int(document_N.max()) + 1
    if documents < max(MIN_DOCUMENTS, folds):
        raise ValueError(f"{documents} documents, at least {max(MIN_DOCUMENTS, folds)} are needed: use more documents")
    if {len(rebuilt_Nd), len(position_N), len(document_N)} != {N} or W_enc.shape[1] != K or W_dec.shape[0] != K:
        raise ValueError(
            f"codes of {N} tokens and {K} features don't fit {len(rebuilt_Nd)} reconstructions, {len(position_N)} "
            f"positions, {len(document_N)} documents, W_enc {tuple(W_enc.shape)} and W_dec {tuple(W_dec.shape)}"
        )
    rng = np.random.default_rng(seed)
    fold_D = torch.from_numpy(rng.permutation(documents) % folds)
    shared = _shared(position_N, classes_N)
    signs = torch.from_numpy(rng.choice(np.array([-1.0, 1.0]), (FLIPS, documents)))
    asked = np.arange(K) if features is None else features
    firings, documents_K = np.diff(codes.indptr), _firing_documents(codes, document_N.numpy())
    able = [j for j in asked if MIN_FIRINGS <= firings[j] <= N - MIN_FIRINGS and documents_K[j] >= MIN_DOCUMENTS]
    out = np.full((3, K), np.nan)
    for first in range(0, len(able), chunk):
        j = np.asarray(able[first : first + chunk])
        rows, y = _sampled(codes, j, rng)
        drive = _drive(codes, rebuilt_Nd, W_enc, W_dec, j, rows)
        knots = torch.quantile(drive, torch.tensor(DRIVE_KNOTS), dim=1).T
        covariates, spline = (part[rows] for part in shared)
        null = torch.cat([covariates, natural_spline(drive, knots)], dim=-1)
        gain = _gains(
            [covariates[..., :1], null, torch.cat([null, spline], -1)], y, document_N[rows], fold_D, documents
        )
        tokens = rows.shape[1]
        by_document = gain[2] - gain[1]  # [J, D]
        out[0, j], out[1, j] = by_document.sum(1) / tokens, (gain[1] - gain[0]).sum(1) / tokens
        out[2, j] = _flip_p(by_document, signs)
    return ConditionalGain(out[0], out[1], out[2], documents_K)


def _shared(position_N: Tensor, classes_N: Tensor | None) -> tuple[Tensor, Tensor]:
    """Constant and covariates [N, 1 + classes - 1], and the spline of position [N, knots - 1]."""
    columns = [torch.ones(len(position_N), 1)]
    if classes_N is not None:
        columns.append(torch.nn.functional.one_hot(classes_N.long())[:, 1:].float())
    place = torch.log2(1 + position_N.float())
    return torch.cat(columns, 1), natural_spline(place, torch.linspace(place.min(), place.max(), POSITION_KNOTS))


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
    drive = torch.einsum("jnd,dj->jn", rebuilt_Nd[rows].float(), w)
    own = torch.from_numpy(features)
    close = d @ d[own].T > CLOSE  # [K, J]
    close[own, torch.arange(len(own))] = True
    for k, i in close.nonzero().tolist():
        column = codes[:, [k]].toarray()[:, 0]
        drive[i] -= torch.from_numpy(column[rows[i].numpy()]).float() * (W_dec[k].float() @ w[:, i])
    return drive


def _gains(designs: list[Tensor], y: Tensor, document: Tensor, fold_D: Tensor, documents: int) -> Tensor:
    """Log-likelihood [models, J, D] of each document under models fitted without its fold."""
    fold = fold_D[document]
    found = torch.zeros(len(designs), len(y), documents, dtype=torch.float64)
    for m, design in enumerate(designs):
        design = design / design.square().mean(1, keepdim=True).sqrt().clamp_min(1e-6)
        start = None
        for k in range(int(fold_D.max()) + 1):
            inside = fold == k
            start = _fit(design, y, (~inside).float(), start)
            score = (design @ start[..., None])[..., 0]
            likelihood = -torch.nn.functional.binary_cross_entropy_with_logits(score, y, reduction="none")
            found[m].scatter_add_(1, document, (likelihood * inside).double())
    return found


def _fit(design: Tensor, y: Tensor, weight: Tensor, start: Tensor | None) -> Tensor:
    """Coefficients [J, p] of logistic regressions with a small ridge, by Newton's method."""
    J, _, p = design.shape
    beta = torch.zeros(J, p) if start is None else start
    ridge = RIDGE * weight.sum(1)[:, None, None] * torch.eye(p)
    for _ in range(STEPS if start is None else STEPS // 3):
        mean = torch.sigmoid((design @ beta[..., None])[..., 0])
        slope = (design.mT @ (weight * (y - mean))[..., None])[..., 0] - (ridge @ beta[..., None])[..., 0]
        curvature = (design * (weight * mean * (1 - mean))[..., None]).mT @ design + ridge
        step = torch.linalg.solve(curvature, slope)
        beta = beta + step * (4 / step.norm(dim=1, keepdim=True).clamp_min(4))  # where classes separate, steps explode
    return beta


def _flip_p(by_document_JD: Tensor, signs_RD: Tensor) -> np.ndarray:
    observed, spread = by_document_JD.sum(1), by_document_JD.square().sum(1).sqrt()
    flipped = signs_RD @ by_document_JD.T  # [R, J]
    p = (1 + (flipped >= observed - 1e-12).sum(0)) / (len(signs_RD) + 1)
    tail = torch.from_numpy(norm.sf((observed / spread.clamp_min(1e-300)).numpy()))
    return torch.where(p <= 1 / (len(signs_RD) + 1), torch.minimum(p, tail), p).numpy()
