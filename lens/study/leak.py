"""How many features the usual test of position finds, and what is left of them: dictionaries of several makers.

The usual test asks whether a feature's profile is flat, given its windows. What it finds may be the feature's own, come
from other features, or be the text that windows begin with; `lens.profiling.specialisation` tells them apart.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lens.activations import corpus, models
from lens.activations.language_model import LanguageModel
from lens.activations.layers import Layer
from lens.activations.offset_windows import OffsetWindows, draw_offset_windows
from lens.dictionaries.dictionary import Dictionary
from lens.measure.verdicts import VERDICTS
from lens.profiling.features import FIRST, labellings, measure_features
from lens.profiling.layer_data import LayerData
from lens.profiling.specialisation import specialisation
from lens.progress import track
from lens.study import equal_l0
from lens.study.layer_data import open_layer_data
from lens.study.params import Study

STRETCHES, READINGS = 96, 4  # of text, and at how many offsets each is read
THEIRS = -1  # seed of dictionaries that others' trainers made


def leak_table(study: Study, layer: Layer) -> pd.DataFrame:
    """A row for each dictionary that the study trains at a layer, and for each in `theirs_in`.

    Columns beside those of `equal_l0.of_layer`: tested (features that fire often enough), usual (those that the usual
    test finds at a false discovery rate of 5 %), usual_null (the same where positions are shifted in a circle), moved
    (that change with the position while the text stays), and a column for each of `lens.measure.verdicts.VERDICTS`.
    Raises as `equal_l0.of_layer` does.
    """
    measure = _Verdicts(study)
    rows = equal_l0.of_layer(study, layer, lambda data, sae, x, target: {"l0": _l0(sae, x)}, measure)
    folders = sorted(theirs_in(study, layer).glob("*")) if theirs_in(study, layer).is_dir() else []
    if folders:
        data = open_layer_data(study.of_seed(study.seeds[0]), layer)
    for folder in folders:
        sae = Dictionary.load(folder)
        x = data.test.activations
        rows.append({"variant": folder.name, "seed": THEIRS, "l0": _l0(sae, x), **measure(data, sae, x)})
    return pd.DataFrame(rows).fillna({"knob": ""})


def theirs_in(study: Study, layer: Layer) -> Path:
    """Where dictionaries lie that trainers of other libraries made (`python -m benchmarks.theirs`)."""
    return study.artifacts / "theirs" / f"layer_{layer}"


@torch.no_grad()
def _l0(sae: Dictionary, x: Tensor) -> float:
    fired = sum(int(sae.encode(windows.float()).fired()[:, 1:].sum()) for windows in x.split(32))
    return fired / (len(x) * (x.shape[1] - 1))


class _Readings(NamedTuple):
    """The same text at several offsets, of the held-out text of one seed."""

    drawn: OffsetWindows
    activations: list[Tensor]
    """of each stretch, [READINGS, windows, T, d]"""


class _Verdicts:
    """What the tests say of a dictionary's features; the model is opened, and a seed's text read, once."""

    def __init__(self, study: Study):
        self.study = study
        self._read = functools.lru_cache(1)(self._readings)

    def __call__(self, data: LayerData, sae: Dictionary, x: Tensor) -> dict:
        seed = sae.info.seed
        n, T = x.shape[:2]
        blocks = len(data.test.documents)
        found = measure_features({("", 0): sae}, x, data.test.document, blocks, labellings(n, T, {}))["", 0]
        usual = found.position[FIRST]
        drawn, read = self._read(seed if seed in self.study.seeds else self.study.seeds[0], data.layer)
        told = specialisation(sae, data.test, drawn, read, found.positional_K, seed=seed)
        counts = told["verdict"].value_counts()
        return {
            "tested": int(usual.eligible_K.sum()),
            "usual": int((usual.significant_K & usual.eligible_K).sum()),
            "usual_null": float(np.nan_to_num(usual.null_share)),
            "moved": int(told["moved"].sum()),
            **{verdict: int(counts.get(verdict, 0)) for verdict in VERDICTS},
        }

    def _readings(self, seed: int, layer: Layer) -> _Readings:
        model, part = self._model, self.study.of_seed(seed)
        windows = part.windows
        drawn = draw_offset_windows(
            corpus.load(part.corpus.test),
            model.tokenizer,
            min(STRETCHES, windows.test // 4),
            windows.length,
            readings=READINGS,
            bos_id=model.bos_id if windows.bos else None,
            seed=windows.seed,
        )
        read = []
        for tokens in track(drawn.tokens, f"text read at {READINGS} offsets", "stretches"):
            flat = torch.from_numpy(tokens).flatten(0, 1)
            read.append(model.residual_stream(flat, [layer])[layer].cpu().unflatten(0, tokens.shape[:2]))
        return _Readings(drawn, read)

    @functools.cached_property
    def _model(self) -> LanguageModel:
        return models.load(self.study.model)
