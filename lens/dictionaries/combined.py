"""Two position terms in one: `centred+gain` is a gain on the scores of inputs without the mean of their position."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, get_type_hints

import torch
from torch import Tensor

from lens.activations.statistics import PositionMoments
from lens.dictionaries.codes import Codes
from lens.dictionaries.parts import Architecture, PositionTerm
from lens.errors import DictionaryError

if TYPE_CHECKING:
    import pandas as pd


@functools.cache
def combined(name: str, inner: type[PositionTerm], outer: type[PositionTerm]) -> type[PositionTerm]:
    """The term of this name that acts on the input as `inner`, and on scores or codes as `outer`.

    Raises:
        DictionaryError: they act on other places than these.
    """
    if inner.acts_on != "input" or outer.acts_on == "input" or not outer.needs_positions:
        raise DictionaryError(
            f"position term {name}: the first of two acts on the input, the second on scores or codes: centred+gain"
        )
    fields = [
        (f.name, get_type_hints(kind.Settings)[f.name], dataclasses.field(default=f.default))
        for kind in (inner, outer)
        for f in dataclasses.fields(kind.Settings)
    ]
    settings = dataclasses.make_dataclass(
        "Settings", fields, frozen=True, namespace={"__post_init__": lambda self: _split(self, inner, outer)}
    )
    shared_by = tuple(way for way in vars(inner).get("shared_by", ()) if way in vars(outer).get("shared_by", ()))
    place = {"acts_on": outer.acts_on, "kinds": (inner, outer), "Settings": settings, "_name": name}
    place["shared_by"] = shared_by
    return type(name, (_Combined,), place)


def _split(settings, *kinds: type[PositionTerm]) -> list:
    """Settings of each of two kinds."""
    names = [[f.name for f in dataclasses.fields(kind.Settings)] for kind in kinds]
    return [kind.Settings(**{n: getattr(settings, n) for n in own}) for kind, own in zip(kinds, names, strict=True)]


class _Combined(PositionTerm):
    """Values are those of both, side by side: the last d_sae are the outer one's, which interventions replace."""

    kinds: ClassVar[tuple[type[PositionTerm], type[PositionTerm]]]

    def __init__(self, d_in: int, d_sae: int, n_positions: int | None, settings):
        super().__init__(d_in, d_sae, n_positions, settings)
        own = _split(settings, *self.kinds)
        self.inner, self.outer = (
            kind(d_in, d_sae, n_positions, part) for kind, part in zip(self.kinds, own, strict=True)
        )
        self.copies = self.outer.copies
        self.prepared = tuple(f"{part}.{n}" for part in ("inner", "outer") for n in getattr(self, part).prepared)

    @property
    def on_input(self) -> bool:
        return True

    @property
    def keeps_scores(self) -> bool:
        return self.outer.keeps_scores

    def initialise(self, generator: torch.Generator) -> None:
        self.inner.initialise(generator)
        self.outer.initialise(generator)

    def prepare(self, moments: Callable[[], PositionMoments]) -> None:
        self.inner.prepare(moments)
        self.outer.prepare(moments)

    @classmethod
    def check(cls, architecture: type[Architecture]) -> None:
        for kind in cls.kinds:
            kind.check(architecture)

    def values(self, positions: Tensor | None = None) -> Tensor:
        inner, outer = self.inner.values(positions), self.outer.values(positions)
        assert inner is not None and outer is not None  # they need positions
        return torch.cat([inner, outer.to(inner.dtype)], dim=-1)

    def of_input(self, x: Tensor, values: Tensor) -> Tensor:
        return self.inner.apply(x, values[..., : -self.d_sae])

    def undo(self, x_hat: Tensor, values: Tensor) -> Tensor:
        return self.inner.undo(x_hat, values[..., : -self.d_sae])

    def apply(self, target: Tensor, values: Tensor) -> Tensor:
        return self.outer.apply(target, values[..., -self.d_sae :])

    def scores(self, x: Tensor, W_enc: Tensor, values: Tensor) -> Tensor:
        return self.outer.scores(x, W_enc, values[..., -self.d_sae :])

    def opened(self, values: Tensor) -> Tensor | None:
        return self.outer.opened(values[..., -self.d_sae :])

    def gate(self, codes: Codes, values: Tensor) -> Codes:
        return self.outer.gate(codes, values[..., -self.d_sae :])

    def factors(self) -> Tensor | None:
        return self.outer.factors()

    def before_step(self, step: int, steps: int) -> None:
        self.inner.before_step(step, steps)
        self.outer.before_step(step, steps)

    def change_gradients(self, gradients: dict[str, Tensor]) -> None:
        self.inner.change_gradients(gradients)
        self.outer.change_gradients(gradients)

    def after_step(self, codes: Codes, first_position: int) -> None:
        self.inner.after_step(codes, first_position)
        self.outer.after_step(codes, first_position)

    def statistics(self, first_position: int, start: Mapping[str, Tensor]) -> dict[str, float]:
        own = {n.removeprefix("outer."): value for n, value in start.items() if n.startswith("outer.")}
        return self.outer.statistics(first_position, own)

    def summary(self, history: pd.DataFrame, steps: int) -> dict[str, float]:
        return self.outer.summary(history, steps)

    def interventions(self) -> tuple[str, ...]:
        return self.outer.interventions()

    def intervention(self, kind: str, generator: torch.Generator) -> Tensor:
        outer = self.outer.intervention(kind, generator)
        return torch.cat([self.values().detach()[:, : -self.d_sae], outer], dim=1)
