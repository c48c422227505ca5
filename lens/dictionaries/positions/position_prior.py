"""Position prior: how often a feature fires at a position decides with its score whether it is selected (eqs. below).

    s = u + b_enc + c_t        selection score
    f = ReLU(u + b_enc)        where s is selected, else 0

For a feature that is on with probability pi_t, and whose score is N(m, sigma^2) when it is on and N(0, sigma^2) when it
is off, Bayes' rule shifts the threshold by (sigma^2 / m) log odds(pi_t): the score moves, the amplitude does not. So
c_t = strength m (log odds at t, without their mean), with strength = (sigma / m)^2 and m its mean value when it fires.
Log odds are a penalised logistic regression of firing on splines of position. Selection has no gradient: in training
they are fitted again every few steps to moving counts. For trained dictionaries see `lens.dictionaries.post_hoc`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lens.dictionaries import splines
from lens.dictionaries.architectures.gated import Gated
from lens.dictionaries.codes import Codes
from lens.dictionaries.parts import Architecture, PositionTerm, check_settings
from lens.dictionaries.replace import KINDS, TEXT, replaced
from lens.errors import DictionaryError

FORGET = 0.01  # share of the counts that a step forgets
EVERY = 10  # steps between two fits
NEWTON_STEPS = 12


@dataclass(frozen=True)
class Settings:
    """Fields of a recipe."""

    splines: int = 8
    """parameters of each feature"""
    prior_strength: float = 0.1
    """(sigma / m)^2: noise of a score over the mean value of a feature, squared"""

    def __post_init__(self):
        check_settings(self, not_negative=("prior_strength",))


class PositionPrior(PositionTerm):
    """Scores u + c_t, which are taken off again from the features that were selected."""

    Settings = Settings
    acts_on = "score"
    basis: Tensor
    firings: Tensor
    windows: Tensor
    amount: Tensor

    def __init__(self, d_in: int, d_sae: int, n_positions: int | None, settings: Settings):
        super().__init__(d_in, d_sae, n_positions, settings)
        self.prior = nn.Parameter(torch.zeros(settings.splines, d_sae), requires_grad=False)
        self.register_buffer("basis", splines.basis(self.T, settings.splines), persistent=False)
        self.register_buffer("firings", torch.zeros(self.T, d_sae))
        self.register_buffer("windows", torch.zeros(()))
        self.register_buffer("amount", torch.zeros(d_sae))  # sum of values over firings

    @classmethod
    def check(cls, architecture: type[Architecture]) -> None:
        if issubclass(architecture, Gated):
            raise DictionaryError(
                "position term position_prior on architecture gated: a prior is taken off again from selected values, "
                "which are no scores there; choose another architecture"
            )

    def values(self, positions: Tensor | None = None) -> Tensor:
        basis = self.basis if positions is None else self.basis[positions]
        return basis.to(self.prior.dtype) @ self.prior

    def apply(self, target: Tensor, values: Tensor) -> Tensor:
        return target + values

    def gate(self, codes: Codes, values: Tensor) -> Codes:
        f = codes.dense()
        return Codes(torch.where(f > 0, torch.relu(f - values), 0), None, codes.d_sae)

    def before_step(self, step: int, steps: int) -> None:
        if step and step % EVERY == 0:
            self.fit()
        for counted in (self.firings, self.windows, self.amount):
            counted *= 1 - FORGET

    @torch.no_grad()
    def after_step(self, codes: Codes, first_position: int) -> None:
        first_text = max(first_position, 1)  # values at BOS are of another size
        f = codes.dense().float()[:, first_text - first_position :]
        rows = slice(first_text, first_text + f.shape[1])
        fired = (f > 0).sum(0)
        self.firings[rows] += fired
        self.windows += len(f)
        self.amount += f.sum((0, 1)) - (fired * self.values()[rows]).sum(0)

    @torch.no_grad()
    def fit(self) -> None:
        """Set the prior to what was counted."""
        mean = self.amount / self.firings[TEXT].sum(0).clamp_min(1)
        slopes = log_odds(self.firings[TEXT], self.windows, self.basis[TEXT])
        self.prior.copy_(self.settings.prior_strength * mean * slopes)

    def interventions(self) -> tuple[str, ...]:
        return (*KINDS, "zeros")

    def intervention(self, kind: str, generator: torch.Generator) -> Tensor:
        """Those of `replaced`, and `zeros`: no prior at all."""
        values = self.values().detach()
        return torch.zeros_like(values) if kind == "zeros" else replaced(values, kind, generator)


def log_odds(firings: Tensor, windows: Tensor, basis: Tensor) -> Tensor:
    """Slopes [S, d_sae] of log odds of firing on `basis` [P, S], given firings [P, d_sae] of so many windows.

    Maximum a posteriori for slopes ~ N(0, 1), by Newton's method; a feature that never fired has slopes near 0.
    """
    design = torch.cat([torch.ones_like(basis[:, :1]), basis], dim=1)
    rate = (firings.sum(0) + 0.5) / (windows * len(basis) + 1)
    start = torch.zeros(design.shape[1], firings.shape[1], device=firings.device)
    start[0] = rate.logit()
    now, one = start, torch.eye(len(start), device=firings.device)
    for _ in range(NEWTON_STEPS):
        p = (design @ now).clamp(-15, 15).sigmoid()
        gradient = design.T @ (firings - windows * p) - (now - start)
        curvature = torch.einsum("ps,pk,pr->ksr", design, windows * p * (1 - p), design) + one
        now = now + torch.linalg.solve(curvature, gradient.T).T.clamp(-1, 1)
    return now[1:]
