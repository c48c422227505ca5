"""The recipe of a training run. Recipes by name are data: the paper's lie in `paper/recipes.yaml`, yours in a study."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_type_hints

from lens.dictionaries import by_name
from lens.dictionaries.info import split
from lens.errors import ConfigError, DictionaryError, suggest
from lens.fields import convert

Fields = Mapping[str, object]


@dataclass(frozen=True)
class Recipe:
    """How one dictionary is trained; the defaults are our reading of the paper.

    A recipe is written as one flat mapping. Fields that are not here are those of the architecture and of the position
    term, for instance `l1_coef` (`lens.dictionaries.architectures.relu`) or `tau_end` (`positions.mask`).
    """

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
    lr_warmup: float = 0.0
    """share of the steps, the first ones, over which the learning rate rises evenly"""
    lr_decay: float = 0.0
    """share of the steps, the last ones, over which it falls evenly towards 0"""
    sparsity_warmup: float = 0.0
    """share of the steps, the first ones, over which what multiplies the penalty rises evenly"""
    betas: tuple[float, float] = (0.9, 0.999)
    """moment decay of AdamW (section 5)"""
    weight_decay: float = 0.01
    """decoupled decay, on the encoder only: on masks it would pull them to 1/2, on the decoder eq. 7 undoes it"""
    gradient_clip: float = 0.0
    """norm of the gradient of the mean loss of a vector above which it is scaled down to that; 0: never"""
    architecture: str = "relu"
    """how features are selected: a file in `lens/dictionaries/architectures/`, or one of your own"""
    position: str = "mask"
    """what position does: a file in `lens/dictionaries/positions/`, or one of your own; none = a standard SAE"""
    settings: Fields = field(default_factory=dict)
    """those of the architecture and of the position term that were given"""
    position_weights: Literal["squared", "norm", "uniform"] = "squared"
    """what the moving average of eq. 6 follows: the squared error, its root, or nothing (all weights 1)"""
    weight_normalisation: Literal["on_use", "in_place"] = "on_use"
    """sum-to-T: of a copy, leaving the moving average of eq. 6 as written, or of the stored average at each step"""
    ema_beta: float = 0.99
    """momentum of eq. 6"""
    weight_l1: bool = True
    """whether w_t multiplies the penalty too, as eq. 8 is written"""
    window_order: Literal["shared", "per_seed"] = "shared"
    """shared: seeds differ in the initial weights alone; per_seed: each also sees the windows in an order of its own"""
    positions: Literal["true", "shuffled"] = "true"
    """shuffled: vectors are permuted within each window, so masks and weights learn nothing about position"""
    include_bos: bool = False
    """train on position 0 too; its squared norm is 10^3 to 10^5 times that of a text position"""
    input_centre: Literal["none", "mean"] = "none"
    """mean: inputs are taken less their mean over training text positions, and `input_scale` is that of what is left;
    both are undone after decoding"""
    input_scale: Literal["unit_mean_square", "raw"] = "unit_mean_square"
    """divide inputs by their root mean squared norm over training text positions, or leave them as they are"""
    processes: Literal["runs", "batch", "features"] = "runs"
    """what the processes of a `torchrun` call share: the runs, or each run by windows of the batch or by features; the
    latter two differ from one process by the rounding of sums (`lens.training.sharing`)"""
    precision: Literal["bf16_autocast", "bf16", "fp32"] = "bf16_autocast"
    """fp32 master weights and bf16 matrix products, everything in bf16, or everything in fp32"""

    def setting(self, name: str) -> Any:
        """A setting of the architecture or position term, or its default."""
        return {name: value for part in self._parts() for name, value in vars(part).items()}[name]

    def values(self) -> dict:
        """All fields, those of the architecture and position term among them, as JSON; own code by its content."""
        own = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "settings"}
        settings = {name: value for part in self._parts() for name, value in vars(part).items()}
        return settings | own | self._named()

    def _named(self) -> dict[str, str]:
        version = by_name.architecture(self.architecture).version
        architecture = by_name.identity(self.architecture) + (f" {version}" if version > 1 else "")
        return {"architecture": architecture, "position": by_name.identity(self.position)}

    def _parts(self) -> list:
        kinds = by_name.architecture(self.architecture), by_name.position_term(self.position)
        return split(self.settings, *(kind.Settings for kind in kinds))

    def identity(self) -> dict:
        """What tells this recipe from others, as JSON: all that differs from a default, and code of your own."""
        given = {}
        for part in (self, *self._parts()):
            for f in dataclasses.fields(part):
                if f.name != "settings" and (value := getattr(part, f.name)) != f.default:
                    given[f.name] = value
        return given | self._named() | {"steps": self.steps}


def recipe(name: str, recipes: Mapping[str, Fields], steps: int, overrides: Fields | None = None) -> Recipe:
    """The recipe of a variant: what the study changes for all, then what the variant changes.

    A variant with larger batches takes fewer steps, so that all variants of a study see the same number of windows.

    Args:
        recipes: fields of each variant by its name.
        overrides: fields for all variants; those of a position term or architecture count where a variant has it.

    Raises:
        ConfigError: unknown variant, field or part, or a value that the field does not take.
    """
    if name not in recipes:
        raise ConfigError(f"unknown variant {name!r}{suggest(name, recipes)}; recipes there are: {', '.join(recipes)}")
    where, common, changed = f"recipe {name!r}", dict(overrides or {}), dict(recipes[name] or {})
    allowed = _types(common | changed, where)
    for key in common:
        if key not in allowed and key not in (known := _names()):
            raise ConfigError(f"training.overrides: unknown field {key!r}{suggest(str(key), known)}")
    built = build({k: v for k, v in common.items() if k in allowed} | changed, where)
    if steps < 1:
        raise ConfigError(f"steps must be at least 1, found {steps}: a dictionary is not trained in zero steps")
    batch = convert(int, common.get("batch_windows", Recipe.batch_windows), "training.overrides: batch_windows")
    return dataclasses.replace(built, steps=max(1, steps * batch // built.batch_windows))


def build(fields: Fields, where: str = "recipe") -> Recipe:
    """A recipe from one flat mapping, each key routed to what has it.

    Raises:
        ConfigError: an unknown field or part, or a value that the field does not take.
    """
    types = _types(fields, where)
    for key in fields:
        if key not in types:
            raise ConfigError(
                f"{where}: unknown field {key!r}{suggest(str(key), types)} of a recipe with architecture "
                f"{fields.get('architecture', Recipe.architecture)}, position {fields.get('position', Recipe.position)}"
            )
    values = {key: convert(types[key], value, f"{where}: {key}") for key, value in fields.items()}
    own = {key: values.pop(key) for key in tuple(values) if key in Recipe.__dataclass_fields__}
    built = Recipe(**own, settings=values)
    try:
        built._parts()
        by_name.check_together(by_name.position_term(built.position), by_name.architecture(built.architecture))
    except DictionaryError as error:
        raise ConfigError(f"{where}: {error}") from None
    for name in ("steps", "expansion", "batch_windows"):
        if getattr(built, name) < 1:
            raise ConfigError(f"{where}: {name} must be at least 1, found {getattr(built, name)}")
    if built.micro_batch_windows < 0:
        raise ConfigError(f"{where}: micro_batch_windows must be at least 0, found {built.micro_batch_windows}")
    for names in (("lr_warmup", "lr_decay"), ("sparsity_warmup",)):
        shares = [getattr(built, name) for name in names]
        if min(shares) < 0 or not sum(shares) <= 1:
            raise ConfigError(f"{where}: {' and '.join(names)} are shares of the steps, 0 to 1 in all, found {shares}")
    for name, shares in (("betas", built.betas), ("ema_beta", (built.ema_beta,))):
        if not all(0 <= share < 1 for share in shares):
            raise ConfigError(f"{where}: {name} must be at least 0 and below 1, found {getattr(built, name)}")
    for name in ("lr", "gradient_clip", "weight_decay"):
        if (value := getattr(built, name)) < 0:
            raise ConfigError(f"{where}: {name} must be at least 0, found {value}")
    if built.micro_batch_windows and built.batch_windows % built.micro_batch_windows:
        raise ConfigError(
            f"{where}: batch_windows ({built.batch_windows}) is not a multiple of "
            f"micro_batch_windows ({built.micro_batch_windows})"
        )
    return built


def _types(fields: Fields, where: str) -> dict[str, object]:
    """Type of each field that a recipe may have: its own, and the settings of the parts that it names."""
    named = (str(fields.get(part, getattr(Recipe, part))) for part in ("architecture", "position"))
    try:
        kinds = [find(name) for find, name in zip((by_name.architecture, by_name.position_term), named, strict=True)]
    except DictionaryError as error:
        raise ConfigError(f"{where}: {error}") from None
    own = {name: hint for name, hint in get_type_hints(Recipe).items() if name != "settings"}
    return own | {name: hint for kind in kinds for name, hint in get_type_hints(kind.Settings).items()}


def _names() -> set[str]:
    """Names of all fields that a recipe of the library's parts may have."""
    architectures, positions = (by_name.names(f"lens.dictionaries.{kind}") for kind in ("architectures", "positions"))
    recipes = [{"architecture": name, "position": "none"} for name in architectures]
    return set().union(*(_types(fields, "") for fields in [*recipes, *({"position": name} for name in positions)]))
