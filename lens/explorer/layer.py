"""What the page knows of one layer: a row of the tables, a profile, contexts and relatives for every feature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform
from torch import Tensor

from lens.dictionaries.dictionary import Dictionary
from lens.errors import ConfigError
from lens.explorer.pack import Part, plain
from lens.measure.clusters import MIN_FEATURES, correlation_distance, standardise
from lens.measure.logit_lens import LogitLens
from lens.measure.masks import mask_of
from lens.measure.matching import match
from lens.measure.spans import smooth
from lens.profiling.reading import Reading, neighbours, read_features

COLUMNS = (
    "density", "positional", "p", "information", "fwhm", "centre", "dwell", "token_share", "cluster",
    "shared_with_seeds",
)  # fmt: skip
NUMBERS = (
    "fvu", "l0", "silent_features", "eligible_features", "positional_features", "positional_share_1_null",
    "clusters_favoured", "clusters_stable", "cluster_silhouette", "cluster_silhouette_best",
)  # fmt: skip
OTHER_DICTIONARY = 1e-3  # difference of two densities of one feature that no change of machine explains


@dataclass(frozen=True)
class LayerSource:
    """Everything that the data of one layer is made from."""

    name: str
    dictionaries: Mapping[int, Dictionary]
    """by seed; the first one is shown, the others hold its twins"""
    activations: Tensor
    """[n, T, d] held-out windows"""
    document: Tensor
    """[n] document of each window"""
    features: pd.DataFrame
    """rows of the table `features` of the dictionary shown, by feature; with `verdict` where a profile gives one"""
    numbers: Mapping[str, float]
    """the layer's values in the table `summary`, by metric"""
    lens: LogitLens | None
    """of the dictionary shown; None for a model that predicts no next token"""

    @property
    def shown(self) -> Dictionary:
        return next(iter(self.dictionaries.values()))


@dataclass(frozen=True)
class KeptLayer:
    """A layer of a page that was written before: its dictionaries are here no longer, its tables are."""

    name: str
    part: Part
    windows: int
    """n of the study"""
    shown: np.ndarray
    """[kept] which of them the text of that page has"""
    permutations: int
    features: pd.DataFrame
    numbers: Mapping[str, float]


def describe(source: LayerSource, passages: Sequence[int]) -> tuple[dict, Reading]:
    """The header of the layer's part of the page, and its reading, whose windows the page must hold.

    Numbers of the tables are taken from the tables. What these do not hold (profiles, bands, contexts, twins) is
    measured here, in one pass for profiles and one for contexts.

    Args:
        passages: windows in which the activations of all features are kept.

    Raises:
        ConfigError: the table was measured on another dictionary.
    """
    sae, n = source.shown, len(source.activations)
    T = source.activations.shape[1]
    reading = read_features(sae, source.activations, source.document, passages)
    firings_PK = reading.arrays["firings"].T
    _check_same(source.name, source.features, firings_PK.sum(0) / (n * (T - 1)))
    described = header(source.name, reading, source.features, source.numbers) | {
        "twins": _twins(source.dictionaries),
        "clusters": _clusters(source.features, firings_PK),
    }
    return described, reading._replace(arrays=reading.arrays | neighbours(sae.directions.detach()))


def describe_again(kept: KeptLayer) -> tuple[dict, Reading]:
    """What `describe` gave of a layer when its page was written, with the numbers of today's tables.

    Raises:
        ConfigError: the table was measured on another dictionary.
    """
    arrays, old = kept.part.arrays, kept.part.header
    firings_KP, count = arrays["firings"], arrays["context_count"][..., None]
    _check_same(kept.name, kept.features, firings_KP.sum(1, dtype=np.int64) / (kept.windows * firings_KP.shape[1]))
    there = np.arange(arrays["context_window"].shape[-1]) < count
    window = np.where(there, kept.shown[arrays["context_window"]], -1)
    reading = Reading(arrays | {"context_window": window}, old["band_scale"], kept.permutations)
    described = header(kept.name, reading, kept.features, kept.numbers)
    return described | {name: old[name] for name in ("twins", "clusters")}, reading


def header(name: str, reading: Reading, features: pd.DataFrame, numbers: Mapping[str, float]) -> dict:
    """What the page has of a dictionary's tables: a row for each feature, and measures of the whole."""
    return {
        "layer": name,
        "features": len(features),
        "band_scale": reading.band_scale,
        "columns": {name: plain(features[name]) for name in (*COLUMNS, *_clock_columns(features)) if name in features},
        "verdicts": _verdicts(features),
        "numbers": {name: plain([numbers[name]])[0] for name in NUMBERS if name in numbers},
    }


def _clock_columns(features: pd.DataFrame) -> list[str]:
    """Those of clocks beside the position, of profiles that have any (`lens.profiling.profile_tables`)."""
    return [name for name in features if name.startswith(("since_", "positional_given_"))]


def _verdicts(features: pd.DataFrame) -> dict | None:
    """The verdict on each feature's tuning to position, and the features that it inherits from; None if none was given.

    They are columns of profiles that read the same text at several offsets (`lens.profiling.specialisation`).
    """
    if "verdict" not in features:
        return None
    sources = features.get("inherits_from", pd.Series("", features.index)).fillna("")
    return {"of": features["verdict"].tolist(), "from": sources.astype(str).tolist()}


def _check_same(name: str, features: pd.DataFrame, density_K: np.ndarray) -> None:
    """The numbers on a card come from tables, its curves from a dictionary: they must be of one and the same."""
    table = features["density"].to_numpy()
    if len(table) != len(density_K) or np.abs(table - density_K).max() > OTHER_DICTIONARY:
        raise ConfigError(
            f"the table `features` of layer {name} was measured on other dictionaries than those there are now; "
            "measure them again (the stage 04_analysis)"
        )


def _twins(dictionaries: Mapping[int, Dictionary]) -> list[dict]:
    """The match of every feature in each other seed: its number, cosines, and the correlation of the two masks."""
    (_, shown), *others = dictionaries.items()
    weights = {s: [w.detach().float().numpy() for w in (sae.W_dec, sae.W_enc)] for s, sae in dictionaries.items()}
    rows = []
    for seed, other in others:
        pair = match(*weights[next(iter(dictionaries))], *weights[seed])
        row = {
            "name": str(seed),
            "feature": pair.permutation.tolist(),
            "decoder": plain(pair.cos_dec, 3),
            "encoder": plain(pair.cos_enc, 3),
            "shared": plain(pair.shared),
        }
        masks = [mask[1:] for sae in (shown, other) if (mask := mask_of(sae)) is not None]
        if len(masks) == 2:
            a, b = map(standardise, masks)
            row["mask"] = plain((a * b[:, pair.permutation]).mean(0), 3)
        rows.append(row)
    return rows


def _clusters(features: pd.DataFrame, firings_PK: np.ndarray) -> dict | None:
    """The dendrogram behind the table's clusters: average linkage of 1 - r between smoothed profiles.

    None where the table has no clusters. Rows of `merges` are the two things joined (features first, then earlier
    joints) and the height of the joint; `leaves` is the order in which no branches cross.
    """
    chosen = np.flatnonzero(features["cluster"].to_numpy() >= 0)
    if len(chosen) < MIN_FEATURES:
        return None
    distance = correlation_distance(smooth(firings_PK[:, chosen].astype(float)))
    tree = hierarchy.linkage(squareform(distance, checks=False), "average")
    return {
        "members": chosen.tolist(),
        "merges": [[int(a), int(b), round(float(h), 4)] for a, b, h, _ in tree],
        "leaves": hierarchy.leaves_list(tree).tolist(),
    }
