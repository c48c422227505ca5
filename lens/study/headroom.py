"""The headroom of a layer: arms that know the position, their twins that can't, and the dictionary that doesn't.

All are trained once, with the L0 that is asked for as their k, and measured at exactly that L0.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pandas as pd
from torch import Tensor

from lens.activations.layers import Layer
from lens.dictionaries.dictionary import Dictionary
from lens.errors import ConfigError
from lens.measure.at_l0 import at_l0, sums_of
from lens.measure.headroom import PERMUTED, TEXT, error_rows, error_sums, headroom
from lens.measure.reconstruction import input_moments
from lens.profiling.layer_data import LayerData
from lens.study import equal_l0
from lens.study.params import Study


def headroom_tables(study: Study, layer: Layer) -> dict[str, pd.DataFrame]:
    """Tables of one layer from all that the study trains there; raises as `equal_l0.of_layer` does.

    Returns:
        `dictionaries`: variant, seed, target, planted (what was planted into the layer; empty: nothing), l0 and the
        rest of `equal_l0.of_layer`; `errors`: planted, target, variant, seed, arrangement, document, bucket, first,
        sq_error, active (features that fired) and n of ordinary tokens (see `lens.measure.reconstruction`); `headroom`:
        see `lens.measure.headroom.headroom`, with planted and target.

    Raises:
        ConfigError: see `equal_l0.trained_at` and `twins_of`.
    """
    twins = {setting: twins_of(study, variants) for setting, variants in variants_at(study, layer).items()}
    rows = equal_l0.of_layer(study, layer, measured)
    labels = ("planted", "target", "variant", "seed")
    errors = pd.concat(
        [
            error_rows(sums).assign(arrangement=arrangement, **{key: row[key] for key in labels})
            for row in rows
            for arrangement, sums in row.pop("errors").items()
        ],
        ignore_index=True,
    )
    found = [
        headroom(errors.query("planted == @planted and target == @l0"), study.roles.baseline or "", of).assign(
            planted=planted, target=l0
        )
        for (planted, l0), of in twins.items()
    ]
    return {
        "dictionaries": pd.DataFrame(rows).fillna({"knob": ""}),
        "errors": errors,
        "headroom": pd.concat(found, ignore_index=True),
    }


def variants_at(study: Study, layer: Layer) -> dict[tuple[str, float], tuple[str, ...]]:
    """Variants by what was planted and the L0 with which they are trained at a layer; raises as
    `equal_l0.trained_at` does."""
    found: dict[tuple[str, float], tuple[str, ...]] = {}
    for part in equal_l0.trained_at(study, layer):
        setting = equal_l0.planted_name(part.planted), part.l0
        found[setting] = found.get(setting, ()) + part.variants
    return found


def twins_of(study: Study, variants: Sequence[str]) -> dict[str, str]:
    """Of each of these variants but the baseline, the one among them of the same recipe that learns with permuted
    positions.

    Raises:
        ConfigError: a variant has none, or the baseline is not among them.
    """
    blind = study.roles.baseline
    if blind not in variants:
        raise ConfigError(
            f"{study.params_file}: the variant that knows no position, roles.baseline, is not among "
            f"{', '.join(variants)}: add it to equal_l0 with their l0"
        )
    recipes = {variant: study.train_recipe(variant) for variant in variants}
    arms = [v for v, recipe in recipes.items() if recipe.positions == "true" and v != blind]
    twins = {}
    for arm in arms:
        wanted = dataclasses.replace(recipes[arm], positions="shuffled")
        if not (found := [v for v, recipe in recipes.items() if recipe == wanted]):
            raise ConfigError(
                f"{study.params_file}: {arm} has no twin: add a variant of the same recipe with positions: shuffled, "
                "to equal_l0 too"
            )
        twins[arm] = found[0]
    return twins


def measured(data: LayerData, sae: Dictionary, x: Tensor, target: float) -> dict:
    """What is measured at the L0 that is asked for, of ordinary tokens; of a dictionary that is blind, also where
    windows are permuted.

    Returns:
        l0 (over text positions: the one asked for), l0_trained and the rest of how the threshold was scaled (see
        `AtL0`), and errors by arrangement, document and bucket.

    Raises:
        DictionaryError: see `lens.measure.at_l0.at_l0`.
    """
    permuted = x is not data.test.activations
    found, about = _errors(data, sae, x, target)
    errors = {PERMUTED if permuted else TEXT: found}
    if sae.info.position == "none" and not permuted:
        errors[PERMUTED], _ = _errors(data, sae, equal_l0.permuted(x), target)
    return {**about, "errors": errors}


def _errors(data: LayerData, sae: Dictionary, x: Tensor, target: float) -> tuple[dict, dict]:
    documents, block, n = data.test.documents, data.test.document, len(data.test.documents)
    moments = input_moments(x, block, n, data.scale)
    tokens = float(moments.count_ordinary[:, 1:].sum())
    sae = sae.float().cpu()
    found = at_l0(sae, target, tokens, lambda one: sums_of(one, x, block, n, data.scale, moments.ordinary))
    how = {"factor_below": found.factors[0], "factor_above": found.factors[1], "slope": found.slope}
    about = {"l0": target, "l0_trained": found.l0, "l0_below": found.l0s[0], "l0_above": found.l0s[1], **how}
    return error_sums(found.sums, moments.count_ordinary, documents), about
