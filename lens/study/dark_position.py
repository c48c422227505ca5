"""What dictionaries of several L0 and widths leave of position in their error, on held-out text of one layer."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lens.activations import models
from lens.activations.language_model import LanguageModel
from lens.activations.layers import Layer
from lens.dictionaries.dictionary import Dictionary
from lens.measure.dark_position import Measures, arms, arms_of_model, losses, read_off, rows_of, variance_left
from lens.measure.fidelity import Replace, cross_entropies, keep_bos
from lens.measure.reconstruction import InputMoments, Reconstruction, input_moments, reconstruct
from lens.profiling.layer_data import LayerData
from lens.study import equal_l0
from lens.study.analysis import spread
from lens.study.params import Study

DIGITS = 9
CLEAN = "clean"


def dark_position_tables(study: Study, layer: Layer) -> dict[str, pd.DataFrame]:
    """Tables of one layer from all that the study trains there (`equal_l0`); raises as `equal_l0.of_layer` does.

    Returns:
        `dictionaries`: variant, seed, target, l0, width (d_sae), fewest_freedom (degrees of freedom over those asked
        for, of the representation that had fewest) and the rest of `equal_l0.of_layer`; `measures`: variant, seed,
        target, measure, document (left out; empty: none) and value, see `lens.measure.dark_position`.

    Raises:
        ConfigError: see `lens.study.equal_l0.trained_at`.
    """
    measures = _OfDictionary(study)
    rows = equal_l0.of_layer(study, layer, measures.first, measures.rest)
    values = [
        rows_of(row.pop("measures"), row.pop("documents")).assign(
            **{key: row[key] for key in ("variant", "seed", "target")}
        )
        for row in rows
    ]
    return {
        "dictionaries": pd.DataFrame(rows).fillna({"knob": ""}),
        "measures": pd.concat(values, ignore_index=True)[["variant", "seed", "target", "measure", "document", "value"]],
    }


class _Seen:
    """Held-out windows as a dictionary sees them."""

    def __init__(self, data: LayerData, sae: Dictionary, x: Tensor):
        self.data, self.sae, self.x = data, sae.float().cpu(), x
        self.block, self.n_blocks = data.test.document, len(data.test.documents)

    @functools.cached_property
    def moments(self) -> InputMoments:
        return input_moments(self.x, self.block, self.n_blocks, self.data.scale)

    @functools.cached_property
    def found(self) -> Reconstruction:
        return reconstruct(self.sae, self.x, self.block, self.n_blocks, self.data.scale, self.moments.ordinary)

    @property
    def l0(self) -> float:
        return float(self.found.active[1:].sum() / self.found.count[:, 1:].sum())


class _OfDictionary:
    """All measures of a dictionary; the model is opened once."""

    def __init__(self, study: Study):
        self.study = study
        self._seen, self._ordinary = functools.lru_cache(1)(_Seen), functools.lru_cache(1)(_ordinary)
        self._of_model: dict[tuple[Layer, int], dict[str, np.ndarray]] = {}

    def first(self, data: LayerData, sae: Dictionary, x: Tensor, _target: float) -> dict:
        return {"l0": self._seen(data, sae, x).l0, "width": sae.info.d_sae}

    def rest(self, data: LayerData, sae: Dictionary, x: Tensor) -> dict:
        seen = self._seen(data, sae, x)
        left = variance_left(seen.sae, x, seen.block, seen.moments, seen.found, data.scale)
        read, fewest = read_off(seen.sae, x, equal_l0.permuted(x), seen.block, seen.n_blocks)
        measures = left | read | self._losses(seen)
        return {
            "fewest_freedom": fewest,
            "documents": list(data.test.documents),
            "measures": {name: [float(f"{v:.{DIGITS}g}") for v in values] for name, values in measures.items()},
        }

    def _losses(self, seen: _Seen) -> Measures:
        if not (n := self.study.windows.fidelity):
            return {}
        windows, train, seed = spread(len(seen.x), n), seen.data.train.activations, seen.sae.info.seed
        ordinary = self._ordinary(seen.data)
        found = self._losses_of_model(seen.data, seed) | self._spliced(seen.data, arms(seen.sae, train, ordinary, seed))
        clean = found.pop(CLEAN)
        rises = {name: ce.astype(np.float64) - clean for name, ce in found.items()}
        return losses(rises, seen.block[windows].numpy(), seen.n_blocks)

    def _losses_of_model(self, data: LayerData, seed: int) -> dict[str, np.ndarray]:
        """The same for all dictionaries of a seed, each L0 of which opens its data anew."""
        if (key := (data.layer, seed)) not in self._of_model:
            places = arms_of_model(data.train.activations, self._ordinary(data), seed)
            self._of_model[key] = self._spliced(data, {CLEAN: None, **places})
        return self._of_model[key]

    def _spliced(self, data: LayerData, places: Mapping[str, Replace | None]) -> dict[str, np.ndarray]:
        windows = spread(len(data.test.tokens), self.study.windows.fidelity)
        kept = {name: replace and keep_bos(replace) for name, replace in places.items()}
        return cross_entropies(self._model, data.test.tokens[windows], data.layer, kept)

    @functools.cached_property
    def _model(self) -> LanguageModel:
        return models.load(self.study.model)


def _ordinary(data: LayerData) -> Tensor:
    """[n, T] which tokens of the training windows are no massive activations."""
    x = data.train.activations
    return input_moments(x, torch.zeros(len(x), dtype=torch.long), 1, data.scale).ordinary
