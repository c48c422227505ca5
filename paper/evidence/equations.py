"""C26, C27, C28: what the equations fix, checked on every training run."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lens.measure.stats import interval
from lens.training import recipe_file
from paper.evidence.measured import METHOD, Measured
from paper.evidence.readings import Evidence, Reading

RECIPES = Path(__file__).parents[1] / "recipes.yaml"


def decoder_norms(data: Measured) -> Evidence:
    """C26: largest distance of a decoder feature's norm from 1 (eq. 7), of dictionaries kept in float32.

    In bfloat16 a unit vector cannot be written more exactly than to about 1e-3; such runs are listed and do not decide.
    """
    recipes = recipe_file.read(RECIPES)
    by_variant = data.invariant("max_decoder_norm_error")
    coarse = {v: by_variant.pop(v) for v in list(by_variant) if recipes.get(v, {}).get("precision") == "bf16"}
    readings = _largest(by_variant).readings
    return Evidence(readings, context=tuple(_exact(f"{name} (bfloat16)", values) for name, values in coarse.items()))


def weight_sums(data: Measured) -> Evidence:
    """C28: largest distance of the sum of the position weights from their number (eq. 8)."""
    return _largest(data.invariant("weight_sum_error"))


def _largest(by_variant: dict[str, np.ndarray]) -> Evidence:
    everyone = {"every run": np.concatenate(list(by_variant.values())), **by_variant}
    return Evidence(tuple(_exact(name, values) for name, values in everyone.items()))


def temperatures(data: Measured) -> Evidence:
    """C27: end points of the temperature and its distance from an exponential (eq. 5)."""
    off = {
        "first temperature": np.abs(data.invariant("tau_first")[METHOD] - 5.0),
        "last temperature": np.abs(data.invariant("tau_last")[METHOD] - 0.1),
        "log-linearity": data.invariant("tau_loglinearity_error")[METHOD],
    }
    named = {"largest deviation": np.concatenate(list(off.values())), **off}
    return Evidence(tuple(_exact(name, values) for name, values in named.items()))


def _exact(name: str, values: np.ndarray) -> Reading:
    return Reading(name, interval(values.max()), detail="largest over runs; nothing is sampled")
