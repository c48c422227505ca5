"""Runs finished when keys of the pool held digests of code (until commit 04afd0d) are used, not trained again.

Delete this file once version `train` is above 1: the numbers of those runs are then others.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from lens.training.recipe import Recipe

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
