"""How variants look: a label, a colour, dashes and a marker for each; the last two tell them apart without colour."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import pandas as pd
from matplotlib.typing import LineStyleType

from lens.figures.plot import FigureError
from lens.figures.style import FAINT, layer_name


@dataclass(frozen=True)
class Look:
    """Name in the legend and the marks of one series."""

    label: str
    color: str
    dashes: LineStyleType
    marker: str


MEASURED = {
    "language_model": Look("language model", "#000000", "-", "P"),
    "random_dictionary": Look("random dictionary", "#8c6d00", (0, (6, 1.4, 1, 1.4)), "D"),
    "zero_dictionary": Look("zero dictionary", FAINT, (0, (2, 2)), "X"),
    "untrained": Look("untrained", FAINT, (0, (3, 1.2, 1, 1.2, 1, 1.2)), "*"),
    "mean": Look("mean", FAINT, (0, (1, 4)), "|"),
    "position_mean": Look("mean of the position", FAINT, (0, (4, 4)), "_"),
    "pca_64": Look("PCA of rank 64", "#009e73", (0, (7, 1.4)), "2"),
    "pca_l0": Look("PCA of rank L0", "#b0609a", (0, (7, 3)), "1"),
    "activations": Look("the input itself", FAINT, "-", "x"),
}
"""what tables hold beside the study's dictionaries"""

_ROLES = {  # no two of these, nor of `MEASURED`, share a marker or dashes
    "method": ("#0072b2", "-", "o"),
    "baseline": ("#333333", (0, (4, 1.6)), "s"),
    "null": ("#d55e00", (0, (1, 1.2)), "^"),
}
_SPARE = [
    ("#56b4e9", (0, (8, 2)), "v"), ("#8c6d00", (0, (5, 1, 1, 1)), "<"), ("#7a7a7a", (0, (3, 1)), ">"),
    ("#009e73", (0, (6, 2, 2, 2)), "d"), ("#b0609a", (0, (1, 2.4)), "p"), ("#3d8fc4", "-", "h"),
    ("#e69f00", (0, (7, 1, 2, 1)), "8"), ("#5a3d8f", (0, (2, 1)), "H"),
]  # fmt: skip


@dataclass(frozen=True)
class Looks:
    """The variants of a study, as figures show them; whatever is not said has a default."""

    method: str | None = None
    baseline: str | None = None
    null: str | None = None
    """the method, trained with the positions of each window shuffled"""
    variants: tuple[str, ...] = ()
    ablations: tuple[str, ...] = ()
    """further variants, for which only forest plots have the room"""
    labels: Mapping[str, str] = field(default_factory=dict)
    """by variant; a variant without a label goes by its name"""
    marks: Mapping[str, tuple] = field(default_factory=dict)
    """colour, dashes and marker by variant, in the order in which variants without a role stand"""

    def role(self, role: str, what: str) -> str:
        """The variant that plays a role.

        Raises:
            FigureError: none does; `what` is the figure that needs it.
        """
        if (variant := getattr(self, role)) is None:
            raise FigureError(f"{what}: the study says under `roles` of no variant that it is the {role}")
        return variant

    def label(self, variant: str) -> str:
        """What a legend calls a variant."""
        return MEASURED[variant].label if variant in MEASURED else self.labels.get(variant, variant.replace("_", " "))

    def __getitem__(self, variant: str) -> Look:
        """The look of any variant, known or not."""
        if variant in MEASURED:
            return MEASURED[variant]
        roles = {getattr(self, role): marks for role, marks in _ROLES.items()}
        marks = roles.get(variant) or self.marks.get(variant)
        if marks is None:
            others = [v for v in (*self.variants, *self.ablations) if v not in roles and v not in self.marks]
            marks = _SPARE[others.index(variant) % len(_SPARE) if variant in others else 0]
        return Look(self.label(variant), *marks)

    @property
    def side_by_side(self) -> list[str]:
        """The study's variants but for its ablations."""
        return self.in_order(v for v in (self.baseline, self.method, self.null, *self.variants) if v)

    def main(self, table: pd.DataFrame) -> pd.DataFrame:
        """The rows of a table that are of no ablation."""
        return table[~table["variant"].isin(self.ablations)]

    def in_order(self, names: Iterable[str]) -> list[str]:
        """Baseline, method and null, what was measured beside them, the rest; the input last but for strangers."""
        order = ["language_model", self.baseline, self.method, self.null, *MEASURED]
        order = [v for v in order if v != "activations"]
        order += [*self.variants, *self.marks, *self.ablations, "activations"]
        return sorted(set(names), key=lambda name: (order.index(name) if name in order else len(order), name))

    def told(self, head: str, layers: Iterable[str], variants: Iterable[str], say: Callable[[str, str], str]) -> str:
        """An alt text: `head`, then what `say` has to say of each layer and variant."""
        said, variants = [head], list(variants)
        for layer in layers:
            for variant in variants:
                if text := say(layer, variant):
                    said.append(f"{layer_name(layer)}, {self.label(variant)}: {text}.")
        return " ".join(said)
