"""The training recipe: one configuration, the three readings of the paper, and the variants that test it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from lens.config import ConfigError, suggest


@dataclass(frozen=True)
class TrainConfig:
    """How one dictionary is trained; the defaults are the `paper` reading."""

    steps: int = 1000
    """optimiser steps S; the paper does not give it"""
    batch_windows: int = 16
    """whole windows per optimiser step: 16 x 128 = the 2048 activation vectors of the paper's public code"""
    micro_batch_windows: int = 0
    """windows per forward pass, gradients added up; 0 = the whole batch at once"""
    lr: float = 3e-4
    """learning rate (section 5)"""
    betas: tuple[float, float] = (0.9, 0.999)
    """moment decay of AdamW (section 5)"""
    weight_decay: float = 0.01
    """decoupled decay, on the encoder only: on masks it would pull them to 1/2, on the decoder eq. 7 undoes it"""
    l1_coef: float = 0.04
    """the lambda of eq. 8"""
    masks: Literal["learned", "frozen", "none"] = "learned"
    """position masks of eqs. 3-4; frozen = kept at their initial logits; none = a standard SAE"""
    tau_start: float = 5.0
    """temperature at the first step (eq. 5)"""
    tau_end: float = 0.1
    """temperature at the last step (eq. 5)"""
    position_weights: Literal["squared", "norm", "uniform"] = "squared"
    """what the moving average of eq. 6 follows: the squared error, its root, or nothing (all weights 1)"""
    weight_normalisation: Literal["on_use", "in_place"] = "on_use"
    """sum-to-T: of a copy, leaving the moving average of eq. 6 as written, or of the stored average at each step"""
    ema_beta: float = 0.99
    """momentum of eq. 6"""
    weight_l1: bool = True
    """whether w_t multiplies the L1 term too, as eq. 8 is written"""
    positions: Literal["true", "shuffled"] = "true"
    """shuffled: vectors are permuted within each window, so masks and weights learn nothing about position"""
    include_bos: bool = False
    """train on position 0 too; its squared norm is 10^3 to 10^5 times that of a text position"""
    input_scale: Literal["unit_mean_square", "raw"] = "unit_mean_square"
    """divide inputs by their root mean squared norm over training text positions, or leave them as they are"""
    precision: Literal["bf16_autocast", "bf16", "fp32"] = "bf16_autocast"
    """fp32 master weights and bf16 matrix products, everything in bf16, or everything in fp32"""


PRESETS: dict[str, dict] = {
    # The reading we take as the paper's; differs from the text only where the text cannot be run.
    "paper": {},
    # Every sentence as printed: 2048 *sequences* per step, 32 per forward pass, BOS and raw inputs included.
    "literal": {
        "batch_windows": 2048,
        "micro_batch_windows": 32,
        "include_bos": True,
        "input_scale": "raw",
        "precision": "bf16",
    },
    # The paper's public companion code where it differs: plain Adam, un-squared norm, weights renormalised in place.
    "companion": {
        "weight_decay": 0.0,
        "position_weights": "norm",
        "weight_normalisation": "in_place",
    },
}

VARIANTS: dict[str, dict] = {
    "temporallens": {},
    "standard": {"masks": "none", "position_weights": "uniform"},
    "shuffled_positions": {"positions": "shuffled"},
    "uniform_weights": {"position_weights": "uniform"},
    "frozen_masks": {"masks": "frozen"},
    "masks_off": {"masks": "none"},
    "recon_only_weights": {"weight_l1": False},
    "bos_included": {"include_bos": True},
}


def train_config(preset: str, variant: str, steps: int, overrides: dict | None = None) -> TrainConfig:
    """The recipe of one run: preset, then the study's overrides, then what the variant changes.

    Raises:
        ConfigError: unknown preset, variant or field, or a value that the field does not take.
    """
    for kind, name, known in (("preset", preset, PRESETS), ("variant", variant, VARIANTS)):
        if name not in known:
            raise ConfigError(f"unknown {kind} {name!r}{suggest(name, known)}; known: {', '.join(known)}")
    fields = {f.name for f in dataclasses.fields(TrainConfig)}
    for key in overrides or {}:
        if key not in fields:
            raise ConfigError(f"training.overrides: unknown field {key!r}{suggest(str(key), fields)}")
    values = {**PRESETS[preset], **(overrides or {}), **VARIANTS[variant], "steps": steps}
    if "betas" in values:
        values["betas"] = tuple(values["betas"])
    return _checked(TrainConfig(**values))


def _checked(config: TrainConfig) -> TrainConfig:
    if config.steps < 1:
        raise ConfigError(f"steps must be at least 1, found {config.steps}: a dictionary is not trained in zero steps")
    if config.batch_windows < 1:
        raise ConfigError(f"batch_windows must be at least 1, found {config.batch_windows}")
    if config.tau_start <= 0 or config.tau_end <= 0:
        raise ConfigError(f"temperatures must be positive, found {config.tau_start} and {config.tau_end}")
    if config.micro_batch_windows and config.batch_windows % config.micro_batch_windows:
        raise ConfigError(
            f"batch_windows ({config.batch_windows}) is not a multiple of "
            f"micro_batch_windows ({config.micro_batch_windows})"
        )
    return config
