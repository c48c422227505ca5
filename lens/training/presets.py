"""The training recipe: one configuration, the three readings of the paper, and the variants that test it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from lens.errors import ConfigError, suggest


@dataclass(frozen=True)
class TrainConfig:
    """How one dictionary is trained; the defaults are the `paper` reading."""

    steps: int = 1000
    """optimiser steps S; the paper does not give it"""
    expansion: int = 1
    """width of the dictionary as a multiple of the model's width; the paper's k equals d"""
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
    mask_start: Literal["normal", "windows", "windows_wrapped"] = "normal"
    """initial logits: N(0, 1/T), or binary windows of T/4 positions at a random start, cut at the end or wrapped"""
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
    "shuffled_positions": {"positions": "shuffled"},  # null N7: the same parameters without position information
    # adaptive weights taken away, or kept off the L1 term
    "uniform_weights": {"position_weights": "uniform"},
    "recon_only_weights": {"weight_l1": False},
    # static masks: the public code's windows, the initial logits left alone, no masks at all
    "static_windows": {"masks": "frozen", "mask_start": "windows"},
    "static_windows_wrapped": {"masks": "frozen", "mask_start": "windows_wrapped"},
    "frozen_masks": {"masks": "frozen"},
    "all_ones_masks": {"masks": "none"},
    # no annealing
    "fixed_tau_0.1": {"tau_start": 0.1, "tau_end": 0.1},
    "fixed_tau_1": {"tau_start": 1.0, "tau_end": 1.0},
    "fixed_tau_5": {"tau_start": 5.0, "tau_end": 5.0},
    # other schedules
    "end_tau_0.05": {"tau_end": 0.05},
    "end_tau_0.3": {"tau_end": 0.3},
    "end_tau_1": {"tau_end": 1.0},
    # other readings of the text
    "bos_included": {"include_bos": True},
    "bf16_parameters": {"precision": "bf16"},
    "literal": PRESETS["literal"],
    "companion": PRESETS["companion"],
    # width; each at two L1 coefficients, so that widths can be compared at equal L0
    "wide_4": {"expansion": 4},
    "wide_4_sparser": {"expansion": 4, "l1_coef": 0.06},
    "wide_8": {"expansion": 8},
    "wide_8_sparser": {"expansion": 8, "l1_coef": 0.06},
}


def train_config(preset: str, variant: str, steps: int, overrides: dict | None = None) -> TrainConfig:
    """The recipe of one run: preset, then the study's overrides, then what the variant changes.

    A variant with larger batches takes fewer steps, so that all variants of a study see the same number of windows.

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
    common = {**PRESETS[preset], **(overrides or {})}
    values = {**common, **VARIANTS[variant]}
    if "betas" in values:
        values["betas"] = tuple(values["betas"])
    config = TrainConfig(**values)
    windows = steps * TrainConfig(**common).batch_windows
    return _checked(dataclasses.replace(config, steps=max(1, windows // config.batch_windows) if steps > 0 else steps))


def _checked(config: TrainConfig) -> TrainConfig:
    if config.steps < 1:
        raise ConfigError(f"steps must be at least 1, found {config.steps}: a dictionary is not trained in zero steps")
    if config.expansion < 1:
        raise ConfigError(f"expansion must be at least 1, found {config.expansion}")
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
