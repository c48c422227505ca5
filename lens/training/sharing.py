"""How processes share what is to be trained (`processes` of a recipe): by runs, or each run by batch or by features.

By runs, every process trains some of them, to the bytes that one process gives. By batch or by features all train one
dictionary together, which is the same up to the rounding of sums. See `lens.processes` and `lens.dictionaries.shards`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch

from lens.dictionaries import by_name, parts
from lens.dictionaries.dictionary import CENTRE, Dictionary
from lens.dictionaries.shards import ALONE, Shards, gathered
from lens.errors import ConfigError
from lens.processes import count, rank
from lens.training.recipe import Recipe

T = TypeVar("T")


def check(recipes: Mapping[str, Recipe], seeds: int, d_in: int) -> None:
    """Raise ConfigError unless these recipes with so many seeds can be trained by as many processes as there are."""
    n, apart = count(), seeds * sum(recipe.processes == "runs" for recipe in recipes.values())
    if 0 < apart < n:
        raise ConfigError(
            f"{n} processes for {apart} runs: start {apart} at most, or let them train one dictionary together "
            "(processes: batch, or features)"
        )
    for variant, recipe in recipes.items():
        if (by := recipe.processes) == "runs":
            continue
        ways = {kind: vars(kind).get("shared_by", ()) for kind in _parts(recipe)}
        for kind, known in ways.items():
            if by not in known:
                also = [way for way in ("batch", "features") if all(way in other for other in ways.values())]
                raise ConfigError(
                    f"{variant}: processes can't share {parts.name_of(kind)} by {by}: choose processes "
                    f"{' or '.join([*also, 'runs'])}"
                )
        size, what, least = recipe.batch_windows, "windows of a batch", 1
        if by == "features":
            size, what, least = recipe.expansion * d_in, "features", recipe.values().get("k", 1)
        if size % n or size // n < least:
            fits = [m for m in range(1, size + 1) if size % m == 0 and size // m >= least]
            raise ConfigError(
                f"{variant}: {size} {what}{f' with k {least}' if least > 1 else ''} don't divide among {n} processes: "
                f"start {' or '.join(map(str, fits))}"
            )


def _parts(recipe: Recipe) -> list[type]:
    return [by_name.architecture(recipe.architecture), by_name.position_term(recipe.position)]


def share_of(runs: Sequence[T]) -> list[T]:
    """Those of a sequence that this process trains."""
    return list(runs[rank() :: count()])


def shards(by: str) -> Shards:
    """What this process has of runs whose recipe says `processes: <by>`."""
    return ALONE if by == "runs" or count() == 1 else Shards(by, rank(), count())  # type: ignore


def local(dictionary: Dictionary, shards: Shards) -> Dictionary:
    """The features of this process, of a dictionary that is shared by features; others are left as they are."""
    if shards.by != "features":
        return dictionary
    n = dictionary.info.d_sae // shards.size
    rows = slice(shards.rank * n, (shards.rank + 1) * n)
    weights = _weights(dictionary)
    weights |= {name: weights[name][rows].clone() for name in _by_feature(dictionary)}
    weights["W_enc"] = weights["W_enc"][:, rows].contiguous()
    return Dictionary(dataclasses.replace(dictionary.info, d_sae=n), weights)


def whole(dictionary: Dictionary, shards: Shards) -> Dictionary:
    """The dictionary of which `local` took a part, in every process, with what its architecture counted."""
    if shards.by != "features":
        return dictionary
    weights = _weights(dictionary)
    weights |= {name: torch.cat(gathered(weights[name])) for name in _by_feature(dictionary)}
    weights["W_enc"] = torch.cat(gathered(weights["W_enc"]), dim=1)
    d_sae = dictionary.info.d_sae * shards.size
    found = Dictionary(dataclasses.replace(dictionary.info, d_sae=d_sae), weights)
    for name, value in dictionary.architecture.named_buffers():
        found.architecture.get_buffer(name).copy_(torch.cat(gathered(value)) if value.ndim else value)
    return found


def _weights(dictionary: Dictionary) -> dict[str, torch.Tensor]:
    weights = {name: p.detach() for name, p in dictionary.weights().items()}
    return weights if dictionary.input_centre is None else weights | {CENTRE: dictionary.input_centre}


def _by_feature(dictionary: Dictionary) -> list[str]:
    """Names of the weights whose first axis is that of the features."""
    return ["W_dec", *dict(dictionary.architecture.named_parameters())]
