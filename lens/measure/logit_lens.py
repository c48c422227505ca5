"""Which next tokens a direction of the residual stream speaks for, and against, if nothing came after it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear

from lens.activations.language_model import LanguageModel

CHUNK = 64  # directions whose logits over the whole vocabulary exist at a time: 64 x 262144 x 4 bytes = 67 MB


@dataclass(frozen=True)
class LogitLens:
    """The tokens at both ends of each direction's logits, the strongest first."""

    promoted_KN: np.ndarray
    """[K, n] ids of the tokens with the largest logits"""
    promoted_z_KN: np.ndarray
    """[K, n] how far above the mean over the vocabulary, in standard deviations over it"""
    suppressed_KN: np.ndarray
    """[K, n] ids of the tokens with the smallest logits"""
    suppressed_z_KN: np.ndarray
    """[K, n] the same, below 0"""


@torch.inference_mode()
def logit_lens(model: LanguageModel, directions: Tensor, n: int = 8) -> LogitLens:
    """Logit lens of directions [K, d]: final norm, then unembedding (nostalgebraist 2020).

    The norm makes a direction's length immaterial, and the scale of its logits is arbitrary: hence standard deviations.
    Soft-capping, which keeps the order of the logits, and a bias of the head, which no direction decides, are left out.

    Raises:
        ValueError: the model is an encoder, which predicts no next token.
    """
    # The model's own final norm, whatever it is called there: the directions take the place of the last block's output.
    rows = directions * directions.shape[1] ** 0.5  # of root mean square 1, so that the norm's epsilon is nothing
    stand_ins = torch.zeros(len(rows), 1, dtype=torch.long)  # windows of one token: no model has too few positions
    hidden = model.spliced(stand_ins, model.n_layers - 1, lambda _: rows[:, None].to(model.device))[:, 0]
    hidden = model.unembedded(hidden)
    # In fp32: in bf16, neighbours among the first tokens would tie.
    head = model.head.weight.float()
    parts = [_ends(linear(chunk.float(), head), n) for chunk in hidden.split(CHUNK)]
    return LogitLens(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _ends(logits_KV: Tensor, n: int) -> tuple[np.ndarray, ...]:
    z = (logits_KV - logits_KV.mean(1, keepdim=True)) / logits_KV.std(1, keepdim=True)
    up, down = z.topk(min(n, z.shape[1]), dim=1), z.topk(min(n, z.shape[1]), dim=1, largest=False)
    return tuple(x.cpu().numpy() for x in (up.indices, up.values, down.indices, down.values))
