"""Values of a position term in the place of the learned ones: what is lost is what the learned ones are needed for."""

from __future__ import annotations

import torch
from torch import Tensor

from lens.errors import DictionaryError

TEXT = slice(1, None)  # BOS is not trained on: its row is left as it is
KINDS = ("mean", "shuffled", "moved")


def replaced(values: Tensor, kind: str, generator: torch.Generator) -> Tensor:
    """Values [T, d] in the place of `values` [T, d]; the row of BOS is left as it is.

    - `mean`: the mean over text positions.
    - `shuffled`: text positions permuted, by one permutation for all columns.
    - `moved`: text positions moved on by half of their number, the last ones to the start: neighbours stay neighbours.

    Args:
        generator: draws the permutation of `shuffled`.

    Raises:
        DictionaryError: an unknown kind.
    """
    text = values[TEXT]
    if kind == "mean":
        new = text.mean(0).expand_as(text)
    elif kind == "shuffled":
        new = text[torch.randperm(len(text), generator=generator).to(text.device)]
    elif kind == "moved":
        new = text.roll(len(text) // 2, 0)
    else:
        raise DictionaryError(f"no intervention {kind!r} on values of positions: expected {', '.join(KINDS)}")
    return torch.cat([values[:1], new])
