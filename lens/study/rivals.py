"""Dictionaries of all kinds at one L0, on one layer: each is trained until it has it, and measured on held-out text.

A row is a variant and a seed. Where an architecture doesn't say its L0, the field that decides it is searched for;
every try is a whole training, and counts in `tries`. A row is kept in `rows/` beside the tables as soon as it is
finished: a call that was stopped goes on with the next one, on another machine too.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from math import log

import pandas as pd
import torch
from torch import Tensor

from lens import files
from lens.activations.store import LayerStore
from lens.dictionaries import parts
from lens.dictionaries.dictionary import Dictionary
from lens.profiling.layer_data import LayerData
from lens.profiling.reconstruction import reconstruction_tables
from lens.progress import track
from lens.study.params import Study
from lens.training.recipe import Recipe
from lens.training.train import shuffle_positions, train_layer
from lens.versions import version

TOLERANCE = 0.05  # of the L0
TRIES = 8
LARGEST_STEP = 4.0  # a field is multiplied or divided by at most this from one try to the next
METRICS = ("fvu", "fvu_without_outliers", "l0", "silent_features")


def rivals_table(study: Study, data: LayerData, target: float) -> pd.DataFrame:
    """One row per variant and seed, those of the first seed first.

    Columns: variant, seed, fvu, fvu_without_outliers, silent_features, l0 (features that a token costs: a code that
    tokens share counts once for all of them), knob and its value, tries, visits (vectors trained on, in all tries),
    parameters (learned), predicted (share of the squared norm that is predicted from earlier vectors), and processor
    (instructions or GPU that it was made with: rows of one table may come from several machines).

    Raises:
        StoreError: the activations are missing or altered.
        TrainingError: see `lens.training.train.train_layer`.
    """
    wanted = [(variant, seed) for seed in study.seeds_at(data.layer) for variant in study.variants]
    rows = [_row(study, data, variant, seed, target) for variant, seed in track(wanted, "rivals", "dictionaries")]
    return pd.DataFrame(rows).fillna({"knob": ""})


def distinct_tokens(store: LayerStore) -> int:
    """Text tokens in the windows of a store, each place of the text counted once."""
    n = store.tokens.shape[1] - 1
    places = store.start.long()[:, None] + torch.arange(n)
    document = store.document.long()[:, None].expand_as(places)
    return len(torch.stack([document, places], dim=-1).flatten(0, 1).unique(dim=0))


def next_value(tried: list[tuple[float, float]], target: float, slope: float) -> float:
    """The value to try after those tried, [(value, L0)]: log L0 as a line in the log of the value, through the two
    nearest tries if it rises or falls as `slope` says, else through the nearest one with that slope."""
    near = sorted(tried, key=lambda one: abs(log(one[1] / target)))[:2]
    (value, l0), *others = near
    for other, other_l0 in others:
        found = log(l0 / other_l0) / log(value / other)
        slope = found if found * slope > 0 else slope
    factor = (target / l0) ** (1 / slope)
    return value * min(max(factor, 1 / LARGEST_STEP), LARGEST_STEP)


def _row(study: Study, data: LayerData, variant: str, seed: int, target: float) -> dict:
    """A row as it was kept, if all that decides it but the processor is the same; else made and kept."""
    recipe = study.train_recipe(variant)
    of_data = [_without_digests(store.manifest) for store in (data.train, data.test)]
    identity = [recipe.identity(), variant, seed, target, of_data, study.model, str(data.layer), study.windows.seed]
    key = hashlib.sha256(json.dumps([identity, version("train"), version("analyse")], sort_keys=True).encode())
    path = study.results / "rows" / f"layer_{data.layer}" / f"{variant}-seed{seed}.json"
    kept = files.read_json(path, f"delete {path} and run again") if path.is_file() else {}
    if kept.get("made_from") != key.hexdigest():
        kept = {"made_from": key.hexdigest(), "row": _searched(study, data, variant, seed, recipe, target)}
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, (json.dumps(files.with_digest(kept), indent=1) + "\n").encode())
    return kept["row"]


def _without_digests(manifest: dict) -> dict:
    """What decides the activations, without their bytes, which differ by the processor's rounding."""
    return {key: value for key, value in manifest.items() if key != "sha256"}


def _processor() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else torch.backends.cpu.get_cpu_capability()


def _searched(study: Study, data: LayerData, variant: str, seed: int, recipe: Recipe, target: float) -> dict:
    """The try whose L0 is nearest to the target; the first one that is near enough ends the search."""
    kind = parts.architecture(recipe.architecture)
    knob, slope = kind.l0_setting, kind.l0_slope
    value = recipe.setting(knob) if knob else 0
    found: dict[float, dict] = {}
    for _ in range(TRIES):
        one = dataclasses.replace(recipe, settings={**recipe.settings, **({knob: value} if knob else {})})
        found[value] = _measured(data, _trained(study, data, variant, seed, one), recipe.positions == "shuffled")
        tried = [(v, max(row["l0"], target / 1000)) for v, row in found.items()]
        if not knob or abs(found[value]["l0"] / target - 1) <= TOLERANCE:
            break
        value = next_value(tried, target, slope)
        value = max(1, round(value)) if knob == "k" else value
        if value in found:
            break
    value = min(found, key=lambda v: abs(found[v]["l0"] - target))
    visits = len(found) * recipe.steps * recipe.batch_windows * (data.train.tokens.shape[1] - 1)
    about = {"variant": variant, "seed": seed, **found[value], "processor": _processor()}
    return about | {"knob": knob, "value": value if knob else None, "tries": len(found), "visits": visits}


def _trained(study: Study, data: LayerData, variant: str, seed: int, recipe: Recipe) -> Dictionary:
    folder = (study.out or study.artifacts) / "rivals" / f"layer_{data.layer}" / f"{variant}-seed{seed}"
    trained = train_layer(
        data.train.activations, {variant: recipe}, (seed,), folder, study.pool,
        data_digest=data.train.manifest["sha256"]["train.safetensors"], model=study.model, layer=data.layer,
        bos=study.windows.bos, order_seed=study.windows.seed, log_every=study.training.log_every,
    )  # fmt: skip
    return Dictionary.load(trained.folders[variant, seed], trust=True)


def _measured(data: LayerData, sae: Dictionary, shuffled: bool) -> dict:
    """Measures of held-out text, of a twin whose training had positions permuted: with positions permuted."""
    test = data.test
    x = test.activations
    if shuffled:
        x = torch.cat([x[:, :1], shuffle_positions(x[:, 1:], 0, 0)], dim=1)
    tables = reconstruction_tables({("", 0): sae}, x, test.document, test.documents, data.scale)
    summary = tables["summary"].query("variant == '' and positions == 'text'").set_index("metric")["value"]
    learned = sum(p.numel() for p in sae.weights().values() if p.requires_grad)
    if sae.architecture.free_decoder:
        learned -= sae.W_enc.numel()
    found = {metric: float(summary[metric]) for metric in METRICS}
    found["l0"] /= sae.architecture.span
    return found | {"parameters": learned, "predicted": _predicted_share(sae, x)}


@torch.no_grad()
def _predicted_share(sae: Dictionary, x: Tensor) -> float:
    part = whole = 0.0
    for windows in x.split(32):
        sae.encode(windows.float())
        if sae.predicted is None:
            return 0.0
        part += sae.predicted[:, 1:].square().sum().item()
        whole += (sae.scaled(windows.float()) - sae.b_dec)[:, 1:].square().sum().item()
    return part / whole
