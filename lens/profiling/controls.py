"""Dictionaries that learned nothing, or know everything: what measures of trained ones are read against."""

from __future__ import annotations

import torch

from lens.dictionaries.dictionary import Dictionary, Info


def random_dictionary(d_in: int, d_sae: int, scale: float, seed: int) -> Dictionary:
    """ReLU of random unit encoder rows, for inputs that are multiplied by `scale`: what is there before training."""
    return Dictionary.initialise(Info(d_in, d_sae, input_scale=scale), torch.zeros(d_in), seed)


def zero_dictionary(d_in: int, d_sae: int) -> Dictionary:
    """All weights 0, all features 0. Every probe of it scores exactly .5."""
    sae = random_dictionary(d_in, d_sae, 1.0, 0)
    return Dictionary(sae.info, {name: torch.zeros_like(weight) for name, weight in sae.weights().items()})


def identity_dictionary(d_in: int) -> Dictionary:
    """Feature j is coordinate j where that is positive: of planted features [n, T, k] it makes no error."""
    zeros, eye = torch.zeros(d_in), torch.eye(d_in)
    weights = {"W_enc": eye, "b_enc": zeros, "W_dec": eye.clone(), "b_dec": zeros.clone()}
    return Dictionary(Info(d_in, d_in, name="identity"), weights)


def untrained(sae: Dictionary) -> Dictionary:
    """The dictionary that a run began with, but for its b_dec: null N6."""
    start = Dictionary.initialise(sae.info, torch.zeros(sae.info.d_in), sae.info.seed, sae.input_centre)
    for name in start.position_term.prepared:
        start.position_term.get_parameter(name).data.copy_(sae.position_term.get_parameter(name).detach())
    return start
