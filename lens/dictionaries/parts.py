"""The two parts of a dictionary that are one file each: how features are selected, and what position does to them.

An architecture lies in `lens/dictionaries/architectures/<name>.py`, a position term in `positions/<name>.py`. They
are found by name (`lens.dictionaries.by_name`).
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from lens.activations.statistics import PositionMoments
from lens.dictionaries.codes import Codes
from lens.dictionaries.shards import ALONE, Shards
from lens.errors import DictionaryError

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class NoSettings:
    """Of a part that has none."""


class Forward(NamedTuple):
    """A forward pass in training, of which the terms of a loss are made; differentiable."""

    u: Tensor
    """pre-activations [B, P, d_sae]"""
    u_at: Callable[..., Tensor]
    """those at an index [B, P, k]; for few of them the better way. See `Architecture.select_few`"""
    codes: Codes
    """with the position term, where it acts on codes"""
    residual: Tensor
    """x - x_hat [B, P, d_in], of scaled inputs x"""
    W_dec: Tensor
    """[d_sae, d_in]"""


class Architecture(nn.Module):
    """From pre-activations u = x W_enc to features, and what training adds to the squared error.

    Its own parameters and buffers are made in `__init__`; W_enc, W_dec and b_dec belong to the dictionary. Gradients
    are those of autograd; in training (`self.training`) `select` may differ from what it does afterwards.
    """

    Settings: ClassVar[type] = NoSettings
    """frozen dataclass; its fields are fields of a recipe"""
    separable: ClassVar[bool] = True
    """whether each feature is decided by its own pre-activation alone (ReLU), or among the others (TopK)"""
    in_units_of_u: ClassVar[tuple[str, ...]] = ("b_enc",)
    """parameters that are scaled when the pre-activations are"""
    penalty_name: ClassVar[str] = "l1"
    """what `penalty` is called among the metrics of training"""
    of_windows: ClassVar[bool] = False
    """whether the code of a vector depends on others of its window: whole windows alone are encoded, without a position
    term, and no feature has a score of its own"""
    free_decoder: ClassVar[bool] = False
    """whether W_enc is W_dec transposed, rows of which have any norm, and everything learned has weight decay"""
    l0_setting: ClassVar[str] = ""
    """which setting decides the L0 in use where it is not exactly what a setting says; empty: it is"""
    l0_slope: ClassVar[int] = 1
    """whether L0 rises (1) or falls (-1) with that setting"""
    span: int = 1
    """vectors in a row that share one code; W_enc is then [span d_in, d_sae], W_dec [d_sae, span d_in]"""
    version: ClassVar[int] = 1
    """raised when it trains to other numbers, so that its finished runs, and no others, are trained again"""
    shared_by: ClassVar[tuple[str, ...]] = ()
    """how processes may train one dictionary together: `batch`, `features`; what couples vectors or features of
    different processes has to go through `shards` then. Not said of classes that are derived from this one"""
    shards: Shards = ALONE
    """what this process has of the dictionary and of each batch, in training"""

    def __init__(self, d_in: int, d_sae: int, settings):
        super().__init__()
        self.d_in, self.d_sae, self.settings = d_in, d_sae, settings

    def initialise(self, generator: torch.Generator) -> None:
        """Draw initial parameters, where they are not those of `__init__`."""

    def select(self, u: Tensor) -> Codes:
        """Features of pre-activations u [..., d_sae]."""
        raise DictionaryError(f"{type(self).__name__} has no select: define select(self, u) -> Codes")

    def predict(self, x: Tensor, W_enc: Tensor, W_dec: Tensor) -> Tensor | None:
        """What earlier vectors of a window say of each of x [B, P, d_in] less b_dec: the code is of what is left, and
        reconstructions have it added; None: nothing."""
        return None

    def shifted(self, shift: Tensor) -> dict[str, Tensor]:
        """Parameters with which `select` answers of u what it now answers of u + shift [d_sae]; those that differ.

        Raises:
            DictionaryError: an architecture without b_enc that doesn't say it.
        """
        if (b_enc := dict(self.named_parameters()).get("b_enc")) is None:
            raise DictionaryError(f"{type(self).__name__} has no b_enc: define shifted(self, shift) -> parameters")
        return {"b_enc": b_enc + shift}

    def select_few(self, u: Tensor, u_at: Callable[..., Tensor], opened: Tensor | None = None) -> Codes | None:
        """What `select` answers in training, as values and index; None: not few enough, or not this kind.

        The faster way for architectures that keep few features, whose gradients are then those of few features, too.

        Args:
            u: pre-activations without gradient.
            u_at: those at an index [..., k], with gradient; u_at(feature, vector) those of pairs [K], sorted by vector.
            opened: features [P, m] in rising order that can be selected at each position; None: all of them.
        """
        return None

    @property
    def coefficient(self) -> float:
        """What the penalty is multiplied by in the loss (lambda of eq. 8)."""
        return 0.0

    def penalty(self, forward: Forward) -> Tensor:
        """Penalty of each vector [B, P]; the L1 norm of its code unless an architecture says otherwise."""
        return self.shards.sum_over_features(forward.codes.values.abs().sum(-1))

    def auxiliary(self, forward: Forward) -> Tensor | None:
        """A further term of the loss, a sum over positions and mean over windows, without position weights; or None."""
        return None

    def after_step(self, codes: Codes) -> None:
        """Take in the codes of a forward pass, once the optimiser step is done: thresholds, counts of dead features.

        What it changes are buffers, so that checkpoints hold it.
        """

    def on_disk(self) -> tuple[str, dict, dict[str, Tensor]]:
        """Architecture, settings and parameters of the trained dictionary, as it is saved and used from then on."""
        settings = dataclasses.asdict(self.settings)
        return name_of(type(self)), settings, {n: p.detach() for n, p in self.named_parameters()}


class PositionTerm(nn.Module):
    """What a dictionary does with positions: values [T, d] that act on its input, its scores or its code.

    Parameters and buffers are made in `__init__`; what is saved without being learned is a frozen parameter.
    """

    Settings: ClassVar[type] = NoSettings
    """frozen dataclass; its fields are fields of a recipe"""
    acts_on: ClassVar[Literal["input", "score", "code"]] = "code"
    """the scaled input [..., d_in], the pre-activations [..., d_sae], or the code [..., d_sae]"""

    shared_by: ClassVar[tuple[str, ...]] = ()
    """how processes may train one dictionary with it together: `batch`; `features`, where nothing of it is by feature
    or learned. Not said of classes that are derived from this one"""
    needs_positions: ClassVar[bool] = True
    """whether it is there for windows of a known length alone"""
    prepared: tuple[str, ...] = ()
    """parameters that `prepare` sets"""
    copies: int = 1
    """features in a row that start with the same weights"""

    def __init__(self, d_in: int, d_sae: int, n_positions: int | None, settings):
        super().__init__()
        if n_positions is None and self.needs_positions:
            raise DictionaryError(f"position term {name_of(type(self))} needs a number of positions: set n_positions")
        self.d_in, self.d_sae, self.T, self.settings = d_in, d_sae, n_positions or 0, settings

    def initialise(self, generator: torch.Generator) -> None:
        """Draw initial parameters, where they are not those of `__init__`."""

    def prepare(self, moments: Callable[[], PositionMoments]) -> None:
        """Take in what is known of the scaled training windows, before the first step; saved where it is a parameter.

        Args:
            moments: moments at each position; the windows are read when it is called.
        """

    @classmethod
    def check(cls, architecture: type[Architecture]) -> None:
        """Raise DictionaryError where the term means nothing for this architecture."""

    def values(self, positions: Tensor | None = None) -> Tensor | None:
        """Values at `positions` (all T by default), [..., d]; None: position makes no difference."""
        return None

    def apply(self, target: Tensor, values: Tensor) -> Tensor:
        """`target` (see `acts_on`) with the values of its positions."""
        return target * values

    def scores(self, x: Tensor, W_enc: Tensor, values: Tensor) -> Tensor:
        """Pre-activations [..., d_sae] of what W_enc multiplies [..., d_in], with the values of its positions, where
        the term acts on scores."""
        u = x @ W_enc
        return self.apply(u, values) if self.acts_on == "score" else u

    def gate(self, codes: Codes, values: Tensor) -> Codes:
        """Selected codes as they are decoded: with the values of their positions, where the term acts on codes."""
        if self.acts_on != "code":
            return codes
        return Codes(self.apply(codes.dense(), values), None, codes.d_sae)

    @property
    def keeps_scores(self) -> bool:
        """Whether features that are selected have x W_enc as their score and keep their values: the term acts on the
        input alone, or closes features."""
        return self.acts_on == "input"

    def opened(self, values: Tensor) -> Tensor | None:
        """Features [P, m] in rising order that can be selected at positions of these values; None: all of them."""
        return None

    @property
    def on_input(self) -> bool:
        """Whether the input is changed, and `undo` called."""
        return self.acts_on == "input"

    def of_input(self, x: Tensor, values: Tensor) -> Tensor:
        """Scaled inputs as they are encoded."""
        return self.apply(x, values) if self.acts_on == "input" else x

    def factors(self) -> Tensor | None:
        """[T, d_sae] by which features are multiplied, as by a mask; None: the term does something else."""
        return self.values() if self.acts_on != "input" and type(self).apply is PositionTerm.apply else None

    def undo(self, x_hat: Tensor, values: Tensor) -> Tensor:
        """A reconstruction [..., d_in] of what `apply` made of the input, as one of the input itself.

        Called where the term acts on the input, with the values that `apply` had; in the same units.
        """
        return x_hat

    def before_step(self, step: int, steps: int) -> None:
        """Set what changes over training by rule, before optimiser step `step` of `steps`."""

    def change_gradients(self, gradients: dict[str, Tensor]) -> None:
        """Change the gradients of a step in place, by the name of the weight; not called on the fast path of ReLU."""

    def after_step(self, codes: Codes, first_position: int) -> None:
        """Take in what was selected in a forward pass [B, P, ...] at `first_position` and after it; changes buffers.

        Not called where a mask or no term is on a ReLU.
        """

    def statistics(self, first_position: int, start: Mapping[str, Tensor]) -> dict[str, float]:
        """Metrics of a logged step, given the parameters at the start of training."""
        return {}

    def summary(self, history: pd.DataFrame, steps: int) -> dict[str, float]:
        """Metrics of a finished run from its history (a column per metric, a row per logged step)."""
        return {}

    def interventions(self) -> tuple[str, ...]:
        """Names of the values that may be put in the place of the learned ones, see `intervention`."""
        return ()

    def intervention(self, kind: str, generator: torch.Generator) -> Tensor:
        """Values [T, d] in place of the learned ones, for one of `interventions`."""
        raise DictionaryError(f"no intervention {kind!r} on {name_of(type(self))}: known are {self.interventions()}")


def name_of(kind: type) -> str:
    """The name by which a part is found again."""
    package, _, module = kind.__module__.rpartition(".")
    if package in ("lens.dictionaries.architectures", "lens.dictionaries.positions"):
        return module
    return kind.__dict__.get("_name") or f"{kind.__module__}:{kind.__qualname__}"


def check_settings(
    settings: object,
    *,
    positive: tuple[str, ...] = (),
    not_negative: tuple[str, ...] = (),
    share: tuple[str, ...] = (),
) -> None:
    """Raise DictionaryError unless these settings are above 0, at least 0, or above 0 and at most 1."""
    rules = (
        (positive, "above 0", lambda value: value > 0),
        (not_negative, "at least 0", lambda value: value >= 0),
        (share, "above 0 and at most 1", lambda value: 0 < value <= 1),
    )
    for names_, wanted, holds in rules:
        for name in names_:
            if not holds(value := getattr(settings, name)):
                raise DictionaryError(f"{name} must be {wanted}, found {value}")


def check_codes(architecture: Architecture, u: Tensor) -> None:
    """Raise DictionaryError unless `select` makes codes of pre-activations u [..., d_sae]; changes no state."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        codes = copy.deepcopy(architecture).select(u)
    if not isinstance(codes, Codes):
        found = type(codes).__name__
    elif codes.d_sae != architecture.d_sae:
        found = f"Codes of width {codes.d_sae}"
    else:
        shapes = [tuple(codes.values.shape), None if codes.index is None else tuple(codes.index.shape)]
        if shapes[0] == u.shape if shapes[1] is None else shapes[0] == shapes[1] and shapes[0][:-1] == u.shape[:-1]:
            return
        found = f"values of shape {shapes[0]} and index {shapes[1]} for u of shape {tuple(u.shape)}"
    raise DictionaryError(
        f"{type(architecture).__name__}.select must return Codes of width {architecture.d_sae} (values [..., d_sae] "
        f"and index None, or values and index [..., k]), got {found}"
    )
