"""What the stages of one layer read: its activations and its dictionaries."""

from __future__ import annotations

from functools import partial
from typing import Literal

from lens.activations.layers import Layer
from lens.activations.store import open_layer
from lens.dictionaries.dictionary import Dictionary
from lens.errors import ConfigError, DictionaryError
from lens.profiling.layer_data import LayerData
from lens.profiling.tables import Key
from lens.study.extraction import manifest_of, store_for
from lens.study.params import Study

Kind = Literal["dictionaries", "ablations"]


def open_layer_data(study: Study, layer: Layer) -> LayerData:
    """The activations of one layer, which a stage opens once and hands down.

    Reading a split that is missing or altered raises `lens.activations.store.StoreError`.

    Raises:
        ConfigError: the study draws its windows per seed, and this is not one of its `parts`.
    """
    if study.windows.draw == "per_seed" and study.seed is None:
        raise ConfigError(
            f"{study.params_file}: windows.draw is per_seed, so that seeds have no windows in common: 09_headroom "
            "trains on those of each seed; the other notebooks need windows.draw: once"
        )
    return LayerData(layer, partial(open_layer, store_for(study, layer), layer), partial(manifest_of, study, layer))


def asked(study: Study, layer: Layer, kind: Kind) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Variants and seeds that are trained on a layer."""
    if kind == "dictionaries":
        return study.variants, study.seeds_at(layer)
    return study.ablations.variants, study.ablation_seeds


def load_dictionaries(study: Study, layer: Layer, kind: Kind = "dictionaries") -> dict[Key, Dictionary]:
    """The trained dictionaries of one layer, by variant and seed; raises as `load_dictionary` does."""
    variants, seeds = asked(study, layer, kind)
    return {(v, s): load_dictionary(study, layer, v, s, kind) for v in variants for s in seeds}


def load_dictionary(study: Study, layer: Layer, variant: str, seed: int, kind: Kind = "dictionaries") -> Dictionary:
    """One trained dictionary.

    Raises:
        DictionaryError: it is missing or damaged, or says that it is another one than its folder's.
    """
    folder = study.dictionaries(kind, layer) / f"{variant}-seed{seed}"
    found = Dictionary.load(folder, trust=True)
    info = found.info
    if (info.name, info.seed, info.layer) != (variant, seed, str(layer)):
        raise DictionaryError(
            f"{folder} holds {info.name}, seed {info.seed}, of layer {info.layer}; delete {folder} and train again"
        )
    return found
