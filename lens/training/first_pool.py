"""Runs of earlier pools are used, not trained again: those whose keys held digests of code (until commit 04afd0d), and
those of before a finished run had digests of its files.

Delete this file once version `train` is above 1: the numbers of those runs are then others.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from lens.dictionaries.dictionary import Dictionary
from lens.errors import DictionaryError
from lens.training.recipe import Recipe
from lens.training.run import weight_steps

_CODE = {  # digests of the syntax of 04afd0d
    "lens.sae.model": "625df138b72fcf8e19932edc96752f502dbd2a84c437d019965fc4862ea8cacf",
    "lens.sae.optim": "7d9ab52422f99aeda63e27002409925383725b34833251c5a4e15c9afd70dacf",
    "lens.sae.run": "656a0c6a6e429ccc93d86663970bbc7f351cd83c3e742ff479b25a0fb1efced6",
    "lens.sae.schedule": "157e212f8c22658621e343cac30456aa34abe2db54b79583fbf866a5668c2080",
    "lens.sae.stability": "a5895274dab07ee4846292e4b9f0d19b46bff37a8edb5b8abf9b2b0bc9adfcc5",
    "lens.sae.step": "c1ad31e454decc8088218e4b04b06b7096eef6ad7cb1092be15f3ca3d6a8e8a6",
    "lens.sae.train": "9996ee90475c9243bed77a90894ee0e6fea2f0db7507eef4a52ea3dd82bd72db",
}
_SAME = (
    "steps", "expansion", "batch_windows", "micro_batch_windows", "lr", "betas", "weight_decay", "position_weights",
    "weight_normalisation", "ema_beta", "weight_l1", "positions", "include_bos", "input_scale", "precision",
)  # fmt: skip
_MASK = {"mask_start": "normal", "tau_start": 5.0, "tau_end": 0.1}  # said of runs without masks too


def first_key(recipe: Recipe, variant: str, seed: int, shared: Mapping[str, object]) -> str | None:
    """The key under which a run was kept; None for a recipe that there was not.

    Args:
        shared: data, model, layer, order_seed, log_every, device and torch, as in the present key.
    """
    known = {*_SAME, *_MASK, "architecture", "position", "frozen", "l1_coef"}
    if recipe.architecture != "relu" or recipe.position not in ("mask", "none") or set(recipe.identity()) - known:
        return None
    masked = recipe.position == "mask"
    config = {name: getattr(recipe, name) for name in _SAME}
    config |= {name: recipe.setting(name) if masked else default for name, default in _MASK.items()}
    config["masks"] = ("frozen" if recipe.setting("frozen") else "learned") if masked else "none"
    config["l1_coef"] = recipe.setting("l1_coef")
    identity = {"config": config, "variant": variant, "seed": seed, **shared, "code": _CODE}
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


_COLUMNS = {
    "history": ["variant", "seed", "step", "metric", "value"],
    "position_weights": ["variant", "seed", "step", "position", "value"],
    "late_weights": ["variant", "seed", "position", "value"],
    "summary": ["variant", "seed", "metric", "value"],
}


def damage(folder: Path, recipe: Recipe, name: str, log_every: int) -> str:
    """What makes no sense in a finished run without digests, whose files name themselves by it; empty if all does.

    Its weights have a digest. Of its tables the columns and the numbers of rows are known, not the values.
    """
    try:
        trained = Dictionary.load(folder / name, trust=True)
        if recipe.position == "mask" and trained.info.settings["tau_end"] != recipe.setting("tau_end"):
            return f"{folder / name / 'cfg.json'} has another temperature than its recipe"
    except DictionaryError as error:
        return str(error)
    frames = {}
    for table, columns in _COLUMNS.items():
        path = folder / f"{table}.csv"
        try:
            frames[table] = pd.read_csv(path)
            if list(frames[table]) != columns or not path.read_bytes().endswith(b"\n"):
                return f"{path} is truncated or altered"
        except (OSError, ValueError) as error:
            return f"{path} cannot be read: {error}"
    for table, rows in _rows(frames, recipe, trained, log_every).items():
        if len(frames[table]) != rows:
            return f"{folder / table}.csv is truncated or altered: {len(frames[table])} rows, {rows} expected"
    return ""


def _rows(frames: Mapping[str, pd.DataFrame], recipe: Recipe, trained: Dictionary, log_every: int) -> dict[str, int]:
    """Numbers of rows that the tables of a run have."""
    logged = len({*range(0, recipe.steps, log_every), recipe.steps - 1})
    metrics = set(frames["history"]["metric"])
    positions = 0
    if recipe.position_weights != "uniform":
        positions = (trained.info.n_positions or 0) - (not recipe.include_bos)
    in_summary = {"steps", "max_decoder_norm_error", "weight_sum_error", "weight_max", "weight_effective_positions"}
    in_summary |= {"late_loss"} | {"lost_update_share"} & metrics
    in_summary |= {"loss_spike_rate", "gradient_norm_cv"} & set(frames["summary"]["metric"])  # not of short runs
    if recipe.position == "mask":
        in_summary |= {
            "tau_first",
            "tau_last",
            "tau_loglinearity_error",
            "mask_drift",
            "mask_open_share",
            "sharp_share",
        }
    return {
        "history": logged * max(len(metrics), 1),
        "position_weights": len([step for step in weight_steps(recipe.steps) if step < recipe.steps]) * positions,
        "late_weights": positions,
        "summary": len(in_summary),
    }
