"""Position masks (eq. 4), their temperature (eq. 5), and what can be put in their place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from lens.dictionaries.parts import Architecture, PositionTerm, name_of
from lens.dictionaries.replace import TEXT, replaced
from lens.errors import DictionaryError

if TYPE_CHECKING:
    import pandas as pd

SATURATED = 1e3  # a logit at which eq. 4 gives exactly 0 or 1 in fp32, at every temperature in use
SHARP = 0.05  # a mask value outside (SHARP, 1 - SHARP) counts as sharp
KINDS = ("mean", "shuffled", "hard", "gauge_hard")


@dataclass(frozen=True)
class Settings:
    """Fields of a recipe."""

    tau_start: float = 5.0
    """temperature at the first step (eq. 5)"""
    tau_end: float = 0.1
    """temperature at the last step (eq. 5), and from then on"""
    mask_start: Literal["normal", "windows", "windows_wrapped"] = "normal"
    """initial logits: N(0, 1/T), or binary windows of T/4 positions at a random start, cut at the end or wrapped"""
    frozen: bool = False
    """masks are kept at their initial logits"""

    def __post_init__(self):
        if self.tau_start <= 0 or self.tau_end <= 0:
            raise DictionaryError(f"temperatures must be positive, found {self.tau_start} and {self.tau_end}")


def position_mask(pos_logits: Tensor, tau: float) -> Tensor:
    """Eq. 4: m = sigmoid(alpha / tau), in (0, 1), for logits alpha of any shape."""
    return torch.sigmoid(pos_logits / tau)


def temperature(step: int, steps: int, start: float = 5.0, end: float = 0.1) -> float:
    """Eq. 5, tau(s) = tau_0 exp(-kappa s), with kappa such that the first and the last step hit both ends exactly.

    Args:
        step: index of the optimiser step, 0 <= step < steps.
        steps: number of optimiser steps; with a single step the end value is used.
        start, end: tau_0 and the value "at completion".

    Raises:
        ValueError: the step is outside the schedule.
    """
    if not 0 <= step < steps:
        raise ValueError(f"step {step} is outside a schedule of {steps} steps (0 to {steps - 1})")
    if step == steps - 1:
        return end  # not left to rounding: training's last step and every evaluation see exactly this value
    return start * (end / start) ** (step / (steps - 1))


def init_pos_logits(n_positions: int, d_sae: int, generator: torch.Generator, start: str = "normal") -> Tensor:
    """Initial logits alpha [T, d_sae].

    Args:
        start: `normal`: alpha ~ N(0, 1/T) (section 4.1), with 1/T read as the variance; `windows`: each feature is open
            on T/4 neighbouring positions, of the T - T/4 + 1 places where they fit, and closed elsewhere (the static
            masks of the paper's public code); `windows_wrapped`: the same at any of T places, wrapping at the end, so
            that every position is open for as many features.
    """
    if start == "normal":
        return torch.randn(n_positions, d_sae, generator=generator) / n_positions**0.5
    width = max(1, n_positions // 4)
    places = n_positions if start == "windows_wrapped" else n_positions - width + 1
    first = torch.randint(places, (d_sae,), generator=generator)
    is_open = (torch.arange(n_positions)[:, None] - first) % n_positions < width
    return torch.where(is_open, SATURATED, -SATURATED)


def intervention(mask: Tensor, kind: str, generator: torch.Generator) -> Tensor:
    """Masks [T, d_sae] in place of the learned `mask` [T, d_sae]; the row of BOS is left as it is.

    - `mean`: each feature's mean over text positions. What is lost is what the masks are needed for.
    - `shuffled`: text positions permuted, by one permutation for all features.
    - `hard`: open where m > 1/2 (alpha > 0), the gate that the soft mask is read as. An open gate has the mean of the
      feature's m over its open positions, so that the loss is that of the shape and not of the scale; a closed one has
      0. A feature that is open nowhere is lost.
    - `gauge_hard`: the same with open where m > max_t m / 2. The level of m is free, since the encoder can undo any
      factor; this threshold does not depend on it, and every feature is open somewhere.

    Args:
        generator: draws the permutation of `shuffled`.

    Raises:
        DictionaryError: an unknown kind.
    """
    text = mask[TEXT]
    if kind in ("mean", "shuffled"):
        return replaced(mask, kind, generator)
    if kind == "hard":
        new = _gate(text, text > 0.5)
    elif kind == "gauge_hard":
        new = _gate(text, text > text.amax(0) / 2)
    else:
        raise DictionaryError(f"no intervention {kind!r} on masks: expected {', '.join(KINDS)}")
    return torch.cat([mask[:1], new])


def _gate(text: Tensor, opened: Tensor) -> Tensor:
    level = (text * opened).sum(0) / opened.sum(0).clamp_min(1)
    return level * opened


class Mask(PositionTerm):
    """f * m, with m = sigmoid(pos_logits / tau) (eqs. 3 and 4)."""

    Settings = Settings
    shared_by = ("batch",)

    def __init__(self, d_in: int, d_sae: int, n_positions: int | None, settings: Settings):
        super().__init__(d_in, d_sae, n_positions, settings)
        self.pos_logits = nn.Parameter(torch.zeros(self.T, d_sae), requires_grad=not settings.frozen)
        self.tau = settings.tau_end

    def initialise(self, generator: torch.Generator) -> None:
        start = init_pos_logits(self.T, self.d_sae, generator, self.settings.mask_start)
        self.pos_logits.data.copy_(start)

    @classmethod
    def check(cls, architecture: type[Architecture]) -> None:
        if not architecture.separable:
            raise DictionaryError(
                f"position term mask on architecture {name_of(architecture)}: a mask gates features one by one, "
                "and this architecture selects them by rank among the others; choose position none, or another "
                "architecture"
            )

    def values(self, positions: Tensor | None = None) -> Tensor:
        logits = self.pos_logits if positions is None else self.pos_logits[positions]
        return position_mask(logits, self.tau)

    def before_step(self, step: int, steps: int) -> None:
        self.tau = temperature(step, steps, self.settings.tau_start, self.settings.tau_end)

    def statistics(self, first_position: int, start: Mapping[str, Tensor]) -> dict[str, float]:
        """Drift of the logits from their start, relative to it, and shares of open and of sharp mask values."""
        now = self.pos_logits.detach()[first_position:].float()
        first = start["pos_logits"][first_position:].float()
        m = position_mask(now, self.tau)
        return {
            "tau": self.tau,
            "mask_drift": ((now - first).norm() / first.norm()).item(),  # 1 = as far as the start is from zero
            "mask_open_share": (m > 0.5).float().mean().item(),
            "mask_sharp_share": ((m < SHARP) | (m > 1 - SHARP)).float().mean().item(),
        }

    def summary(self, history: pd.DataFrame, steps: int) -> dict[str, float]:
        taus, start = history["tau"], self.settings.tau_start
        kappa = torch.tensor(start / self.settings.tau_end).log().item() / max(steps - 1, 1)
        expected = torch.log(torch.tensor(start)) - kappa * torch.tensor(taus.index.to_numpy())
        return {
            "tau_first": taus.iloc[0],
            "tau_last": taus.iloc[-1],
            "tau_loglinearity_error": (torch.tensor(taus.to_numpy()).log() - expected).abs().max().item(),
            "mask_drift": history["mask_drift"].iloc[-1],
            "mask_open_share": history["mask_open_share"].iloc[-1],
            "sharp_share": history["mask_sharp_share"].iloc[-1],
        }

    def interventions(self) -> tuple[str, ...]:
        return KINDS

    def intervention(self, kind: str, generator: torch.Generator) -> Tensor:
        return intervention(self.values().detach(), kind, generator)
