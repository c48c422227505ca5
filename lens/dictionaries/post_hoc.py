"""Position terms for dictionaries that are trained already, whose weights stay as they are."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lens.dictionaries.architectures.jumprelu import JumpReLU
from lens.dictionaries.dictionary import Dictionary
from lens.dictionaries.positions.position_prior import PositionPrior
from lens.errors import DictionaryError

CHUNK = 16  # windows at a time
CANDIDATES = 4  # for each firing, scores that might fire instead


@torch.no_grad()
def with_position_prior(sae: Dictionary, activations: Tensor, **settings: float) -> Dictionary:
    """The dictionary with a position prior (`positions.position_prior`), counted on windows; at equal L0.

    Thresholds of a JumpReLU are moved by one number, so that as many features fire on text of these windows as before.
    A TopK keeps k anyway; a ReLU has no threshold to move, so that L0 changes.

    Args:
        sae: without a position term, or with one on the input.
        activations: training windows [n, T, d_in].
        settings: of the prior, `prior_strength` and `splines`.

    Raises:
        DictionaryError: the dictionary has a position term, or the prior means nothing for its architecture.
    """
    on_input = sae.position_term.on_input
    if sae.info.position != "none" and not on_input or "+" in sae.info.position:
        raise DictionaryError(f"{sae.info.name or 'the dictionary'} has the position term {sae.info.position} already")
    T, d_sae = activations.shape[1], sae.info.d_sae
    info, weights = sae.on_disk()
    position = f"{info.position}+position_prior" if on_input else "position_prior"
    info = replace(info, position=position, n_positions=T, settings={**info.settings, **settings})
    empty = PositionPrior(sae.info.d_in, d_sae, T, PositionPrior.Settings(**settings)).prior.detach()  # type: ignore
    weights = {name: value.clone() for name, value in weights.items()}
    if on_input:
        of_term = dict(sae.position_term.named_parameters())
        weights = {f"inner.{n}" if n in of_term else n: value for n, value in weights.items()}
    new = Dictionary(info, weights | {"outer.prior" if on_input else "prior": empty})
    term = new.position_term.get_submodule("outer" if on_input else "")
    assert isinstance(term, PositionPrior)
    for x in activations.split(CHUNK):
        term.after_step(sae.encode(x.float()), 0)
    term.fit()
    if isinstance(new.architecture, JumpReLU):
        new.architecture.threshold.data += _shift(sae, new, activations)
        new.architecture.threshold.data.clamp_(min=0)
    return new


def _shift(sae: Dictionary, new: Dictionary, activations: Tensor) -> float:
    """By what thresholds must rise for as many features to fire as before."""
    assert isinstance(new.architecture, JumpReLU)
    b_enc, threshold, fired, margins = new.architecture.b_enc, new.architecture.threshold, 0, []
    for x in activations.split(CHUNK):
        scaled = sae.scaled(x.float())
        u = sae.scores(scaled, sae.position_term.values())[:, 1:] + b_enc
        here = int((u > threshold).sum())
        s = new.scores(scaled, new.position_term.values())[:, 1:] + b_enc
        margin = torch.where(u > 0, s - threshold, -torch.inf).flatten()
        margins.append(margin.topk(min(CANDIDATES * here + 1, len(margin))).values)
        fired += here
    ordered = torch.cat(margins).sort(descending=True).values
    return float(ordered[fired - 1 : fired + 1].mean()) if 0 < fired < len(ordered) else 0.0
