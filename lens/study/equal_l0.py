"""Dictionaries of all kinds at one L0, on one layer: each is trained until it has it, and measured on held-out text.

Where an architecture doesn't say its L0, the field that decides it is searched for; every try is a whole training. A
row is kept in `rows/` beside the tables as soon as it is finished: a call that was stopped goes on with the next one,
on another machine too, and needs activations only where a row is not kept.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lens import files
from lens.activations.layers import Layer
from lens.dictionaries import by_name
from lens.dictionaries.dictionary import Dictionary
from lens.errors import ConfigError
from lens.measure.at_l0 import next_value
from lens.profiling.layer_data import LayerData
from lens.progress import track
from lens.study.layer_data import open_layer_data
from lens.study.params import EqualL0, Planted, Study
from lens.study.planted import with_planted
from lens.training.recipe import Recipe
from lens.training.train import shuffle_positions, train_layer
from lens.versions import version

TOLERANCE = 0.05  # of the L0
TRIES = 8

Measure = Callable[[LayerData, Dictionary, Tensor, float], dict]
"""of held-out activations [n, T, d] of the data, as a dictionary is to see them, and the L0 that is asked for; its `l0`
is what the search goes by"""
Finish = Callable[[LayerData, Dictionary, Tensor], dict]
"""the same of the dictionary that the search ended with: what takes longer"""


def trained_at(study: Study, layer: Layer) -> list[EqualL0]:
    """What of `equal_l0` of a study concerns a layer, in order; of another one, which is tried out, what concerns all.

    Raises:
        ConfigError: nothing does, or a variant is there twice.
    """
    tried = (layer,) if study.out is not None else ()
    found = [part for part in study.equal_l0 if layer in (part.layers or (*study.layers, *tried))]
    if not found:
        raise ConfigError(f"{study.params_file}: equal_l0 names nothing that is trained at layer {layer}: add it there")
    named = Counter((variant, part.l0, part.planted) for part in found for variant in part.variants)
    if twice := [variant for (variant, *_), count in named.items() if count > 1]:
        raise ConfigError(
            f"{study.params_file}: equal_l0 names {twice[0]} twice for layer {layer} and one l0: once is enough"
        )
    return found


def of_layer(study: Study, layer: Layer, measure: Measure, finish: Finish = lambda *_: {}) -> list[dict]:
    """What was measured of each dictionary that `equal_l0` of a study names at a layer, in its order: see `rows`.

    With planted, what was planted into the layer, in a word (`planted_name`). Raises as `rows` and `trained_at` do.
    """
    return [
        {**row, "planted": planted_name(part.planted)}
        for part in trained_at(study, layer)
        for row in rows(
            study,
            lambda seed, part=part: with_planted(open_layer_data(study.of_seed(seed), layer), part.planted, seed),
            [(seed, part.l0, variant) for seed in study.seeds for variant in part.variants],
            measure,
            finish,
        )
    ]


def planted_name(planted: Planted) -> str:
    """What was planted, in a word; empty: nothing."""
    return f"{planted.share:.3g} of depth {planted.depth:g}" if planted.share else ""


def rows(
    study: Study,
    open_data: Callable[[int], LayerData],
    wanted: Sequence[tuple[int, float, str]],
    measure: Measure,
    finish: Finish = lambda *_: {},
) -> list[dict]:
    """What was measured of each of those wanted, (seed, L0, variant), in this order.

    A `k` in a recipe stands for the L0 that is asked for. A twin that learns on windows with permuted positions is
    measured on such windows. To what `measure` and `finish` answer are added variant, seed, target, knob and its value,
    tries, visits (vectors trained on, in all tries) and processor (instructions or GPU that it was made with: rows of
    one table may come from several machines).

    Args:
        open_data: data of one layer as a seed sees them.

    Raises:
        StoreError: the activations are missing or altered.
        TrainingError: see `lens.training.train.train_layer`.
    """
    found, data, seen = [], None, None
    for seed, target, variant in track(wanted, study.name, "dictionaries"):
        if data is None or seen != seed:
            data, seen = open_data(seed), seed
        found.append(_row(study.of_seed(seed), data, variant, seed, target, measure, finish))
    return found


def permuted(x: Tensor) -> Tensor:
    """Windows [n, T, d] with the vectors of text positions permuted within each, always in the same way."""
    return torch.cat([x[:, :1], shuffle_positions(x[:, 1:], 0, 0)], dim=1)


def _row(
    study: Study, data: LayerData, variant: str, seed: int, target: float, measure: Measure, finish: Finish
) -> dict:  # fmt: skip
    """A row as it was kept, if all that decides it but the processor is the same; else made and kept."""
    recipe = study.train_recipe(variant)
    of_data = [data.decided_by(split) for split in ("train", "test")]
    windows, versions = [study.windows.seed, study.windows.fidelity], [version("train"), version("equal_l0")]
    identity = [recipe.identity(), variant, seed, target, of_data, study.model, str(data.layer), windows, versions]
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode())
    path = study.results / "rows" / f"layer_{data.layer}" / f"l0_{target:g}" / f"{variant}-seed{seed}.json"
    kept = files.read_json(path, f"delete {path} and run again") if path.is_file() else {}
    if kept.get("made_from") != key.hexdigest():
        kept = {
            "made_from": key.hexdigest(),
            "row": _searched(study, data, variant, seed, recipe, target, measure, finish),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, (json.dumps(files.with_digest(kept)) + "\n").encode())
    return kept["row"]


def _searched(
    study: Study, data: LayerData, variant: str, seed: int, recipe: Recipe, target: float, measure: Measure,
    finish: Finish,
) -> dict:  # fmt: skip
    """The try whose L0 is nearest to the target; the first one that is near enough ends the search."""
    kind = by_name.architecture(recipe.architecture)
    knob, slope = kind.l0_setting, kind.l0_slope
    if "k" in recipe.settings:
        recipe = dataclasses.replace(recipe, settings={**recipe.settings, "k": max(1, round(target))})
    value, test = recipe.setting(knob) if knob else 0, data.test.activations
    x = permuted(test) if recipe.positions == "shuffled" else test
    found: dict[float, dict] = {}
    made: dict[float, Dictionary] = {}
    for _ in range(TRIES):
        one = dataclasses.replace(recipe, settings={**recipe.settings, **({knob: value} if knob else {})})
        made[value] = _trained(study, data, variant, seed, one, target)
        found[value] = measure(data, made[value], x, target)
        tried = [(v, max(row["l0"], target / 1000)) for v, row in found.items()]
        if not knob or abs(found[value]["l0"] / target - 1) <= TOLERANCE:
            break
        value = next_value(tried, target, slope)
        value = max(1, round(value)) if knob == "k" else value
        if value in found:
            break
    value = min(found, key=lambda v: abs(found[v]["l0"] - target))
    visits = len(found) * recipe.steps * recipe.batch_windows * (data.train.tokens.shape[1] - 1)
    measured = found[value] | finish(data, made[value], x)
    about = {"variant": variant, "seed": seed, "target": target, **measured, "processor": _processor()}
    return about | {"knob": knob, "value": value if knob else None, "tries": len(found), "visits": visits}


def _trained(
    study: Study, data: LayerData, variant: str, seed: int, recipe: Recipe, target: float
) -> Dictionary:  # fmt: skip
    below = f"equal_l0/layer_{data.layer}/l0_{target:g}/{variant}-seed{seed}"
    trained = train_layer(
        data.train.activations, {variant: recipe}, (seed,), (study.out or study.artifacts) / below, study.pool,
        data_digest=data.train.manifest["sha256"]["train.safetensors"], model=study.model, layer=data.layer,
        bos=study.windows.bos, order_seed=study.windows.seed, log_every=study.training.log_every,
    )  # fmt: skip
    return Dictionary.load(trained.folders[variant, seed], trust=True)


def _processor() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else torch.backends.cpu.get_cpu_capability()
