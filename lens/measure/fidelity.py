"""What the language model loses when a dictionary's reconstruction replaces the residual stream (splicing)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lens.activations.language_model import LanguageModel
from lens.activations.layers import Layer
from lens.dictionaries.dictionary import Dictionary
from lens.measure.at_once import at_once
from lens.progress import progress

Replace = Callable[[Tensor], Tensor]  # residual stream [B, T, d] -> what takes its place
LOGIT_ROWS = 256  # positions whose logits exist at a time: 256 x 262,144 x 4 bytes = 268 MB for Gemma-3
CACHE_ROWS = 4  # of these, rows that are worked on at a time: 4 MB stay in the cache of a CPU


@dataclass(frozen=True)
class Fidelity:
    """Per window and position [n, T-1]: position t holds the prediction of token t + 1."""

    ce_clean: np.ndarray
    """next-token cross-entropy of the untouched model, nats"""
    ce: dict[str, np.ndarray]
    """the same with each replacement spliced in, by name"""
    kl: dict[str, np.ndarray]
    """KL(p_clean || p_spliced), nats, by name"""


def keep_bos(replace: Replace) -> Replace:
    """Leave position 0 as it is: dictionaries are not trained on it, and the model leans on it."""

    def kept(x: Tensor) -> Tensor:
        return torch.cat([x[:, :1], replace(x)[:, 1:].to(x.dtype)], dim=1)

    return kept


def only(positions: slice, replace: Replace) -> Replace:
    """Replace at `positions` and leave all others as they are."""

    def replaced(x: Tensor) -> Tensor:
        x = x.clone()
        x[:, positions] = replace(x)[:, positions].to(x.dtype)
        return x

    return replaced


def dictionary(sae: Dictionary) -> Replace:
    """Splice in the dictionary's reconstruction."""
    return lambda x: sae.to(x.device)(x.float()).to(x.dtype)


def constant(vector: Tensor) -> Replace:
    """Splice in one vector [d] at every position: zero and mean ablation."""
    return lambda x: vector.to(x).expand_as(x)


@torch.inference_mode()
def splice(model: LanguageModel, tokens: Tensor, layer: Layer, replacements: dict[str, Replace]) -> Fidelity:
    """Cross-entropy and KL of next-token predictions with each replacement spliced in after block `layer`.

    Logits are formed for a few hundred positions at a time and never kept. Splicing the identity gives exactly the
    clean model.

    Args:
        tokens: windows [n, T].
        replacements: by name; each maps the residual stream [B, T, d] to its replacement, and leaves what it is
            given as it is. Wrap in `keep_bos`.

    Raises:
        ValueError: the model is an encoder.
    """
    device = next(model.model.parameters()).device
    tokens = tokens.long().to(device)
    n, T = tokens.shape
    with progress(f"splice into the model, {n} windows", n * (T - 1), "predictions") as advance:
        each = (model.spliced_each(x, layer, [None, *replacements.values()]) for x in tokens.split(at_once(n, T)))
        clean_hidden, *others = (torch.cat(parts)[:, :-1].flatten(0, 1) for parts in zip(*each, strict=True))
        hidden = dict(zip(replacements, others, strict=True))
        targets = tokens[:, 1:].flatten()
        ce_clean = torch.empty(n * (T - 1))
        ce = {name: torch.empty(n * (T - 1)) for name in replacements}
        kl = {name: torch.empty(n * (T - 1)) for name in replacements}
        for start in range(0, len(targets), LOGIT_ROWS):
            rows = slice(start, start + LOGIT_ROWS)
            clean = torch.empty(len(targets[rows]), model.vocab_size, device=device)
            for part, log_p in _log_probabilities(model, clean_hidden[rows]):
                clean[part] = log_p
            ce_clean[rows] = -clean.gather(1, targets[rows, None])[:, 0].cpu()
            p = clean.exp()
            for name, x in hidden.items():
                for part, log_q in _log_probabilities(model, x[rows]):
                    where = slice(start + part.start, start + part.stop)
                    ce[name][where] = -log_q.gather(1, targets[where, None])[:, 0].cpu()
                    kl[name][where] = torch.linalg.vecdot(p[part], torch.sub(clean[part], log_q, out=log_q)).cpu()
            advance(len(targets[rows]))
    shaped = lambda values: values.view(n, T - 1).numpy()  # noqa: E731
    return Fidelity(shaped(ce_clean), {k: shaped(v) for k, v in ce.items()}, {k: shaped(v) for k, v in kl.items()})


@torch.inference_mode()
def cross_entropies(
    model: LanguageModel, tokens: Tensor, layer: Layer, replacements: Mapping[str, Replace | None]
) -> dict[str, np.ndarray]:
    """Cross-entropy [n, T-1] of next-token predictions in nats with each replacement spliced in after block `layer`, by
    name: what `splice` answers, for less where the clean model is known and no KL is asked for.

    Args:
        tokens: windows [n, T].
        replacements: see `splice`; None: the untouched model.

    Raises:
        ValueError: the model is an encoder.
    """
    tokens = tokens.long().to(next(model.model.parameters()).device)
    n, T = tokens.shape
    targets, ce = tokens[:, 1:].flatten(), {name: torch.empty(n * (T - 1)) for name in replacements}
    with progress(f"splice into the model, {n} windows", len(targets) * len(ce), "predictions") as advance:
        each = (model.spliced_each(x, layer, list(replacements.values())) for x in tokens.split(at_once(n, T)))
        states = [torch.cat(parts)[:, :-1].flatten(0, 1) for parts in zip(*each, strict=True)]
        for name, hidden in zip(replacements, states, strict=True):
            for start in range(0, len(targets), LOGIT_ROWS):
                rows = hidden[start : start + LOGIT_ROWS]
                for part, log_p in _log_probabilities(model, rows):
                    where = slice(start + part.start, start + part.stop)
                    ce[name][where] = -log_p.gather(1, targets[where, None])[:, 0].cpu()
                advance(len(rows))
    return {name: values.view(n, -1).numpy() for name, values in ce.items()}


def splice_matrix(
    model: LanguageModel, tokens: Tensor, layer: Layer, replace: Replace, buckets: Mapping[str, slice]
) -> np.ndarray:
    """Where in a window the loss rises when only one bucket of positions is replaced: Delta CE, nats, [B, B].

    Row: the bucket replaced after block `layer`; column: the bucket whose predictions of the next token are scored,
    mean over windows and its positions. A causal model gives exactly 0 before the replaced bucket.

    Args:
        tokens: windows [n, T].
        buckets: by name, as in `lens.measure.reconstruction.buckets`; leave BOS out.

    Raises:
        ValueError: a bucket in which no prediction is made, or the model is an encoder.
    """
    positions = range(tokens.shape[1] - 1)  # nothing follows the last token
    empty = [name for name, where in buckets.items() if not positions[where]]
    if empty:
        raise ValueError(f"no prediction in bucket {', '.join(empty)}: windows of {tokens.shape[1]} are too short")
    result = splice(model, tokens, layer, {name: only(where, replace) for name, where in buckets.items()})
    delta = {name: result.ce[name].astype(np.float64) - result.ce_clean for name in buckets}
    return np.array([[delta[row][:, where].mean() for where in buckets.values()] for row in buckets])


def _log_probabilities(model: LanguageModel, hidden: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Log-probabilities [m, vocab] of the next token for a few rows of `hidden` [n, d] after the other."""
    every = model.logits(hidden)
    for first in range(0, len(every), CACHE_ROWS):
        part = slice(first, min(first + CACHE_ROWS, len(every)))
        logits = every[part].float()
        largest = logits.amax(-1, keepdim=True)  # `logsumexp` takes twice as long for so few and so long rows
        yield part, logits.sub_((logits - largest).exp_().sum(-1, keepdim=True).log_().add_(largest))


def ce_recovered(clean: float, spliced: float, ablated: float) -> float:
    """Share of the ablation's damage that the dictionary avoids: 1 - (CE_sae - CE_clean)/(CE_ablated - CE_clean)."""
    return 1 - (spliced - clean) / (ablated - clean)
