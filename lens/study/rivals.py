"""The table of rivals: how dictionaries of all kinds reconstruct at one L0, and what those gain that read sequences."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lens.activations import models
from lens.activations.language_model import LanguageModel
from lens.activations.store import LayerStore
from lens.dictionaries.dictionary import Dictionary
from lens.measure.fidelity import Replace, cross_entropies, dictionary, keep_bos
from lens.profiling.features import SETTLED, finite_median, labellings, measure_features
from lens.profiling.layer_data import LayerData
from lens.profiling.reconstruction import reconstruction_tables
from lens.study import equal_l0
from lens.study.analysis import spread
from lens.study.params import Study

METRICS = ("fvu", "fvu_without_outliers", "l0", "silent_features")


def rivals_table(study: Study, data: LayerData, target: float) -> pd.DataFrame:
    """One row per variant and seed, those of the first seed first; raises as `equal_l0.rows` does.

    Columns beside those of `equal_l0.rows`: fvu, fvu_without_outliers, silent_features, l0 (features that a token
    costs: a code that tokens share counts once for all of them), parameters (learned), and predicted (share of the
    squared norm that is predicted from earlier vectors); delta_ce and ce_clean (nats, on `windows.fidelity` held-out
    windows; nan for a twin, whose vectors are not where the model has them); of features, medians of dwell (positions
    that a feature stays on) and autocorrelation_time, and from position 8 on the information about position in firing
    (fraction of its entropy) and the share of features with any, beside that among features with permuted positions.
    """
    wanted = [(seed, target, variant) for seed in study.seeds for variant in study.variants]
    rows = equal_l0.rows(study, lambda seed: data, wanted, _measured, _Finish(study))
    return pd.DataFrame(rows).fillna({"knob": ""})


def distinct_tokens(store: LayerStore) -> int:
    """Text tokens in the windows of a store, each place of the text counted once."""
    n = store.tokens.shape[1] - 1
    places = store.start.long()[:, None] + torch.arange(n)
    document = store.document.long()[:, None].expand_as(places)
    return len(torch.stack([document, places], dim=-1).flatten(0, 1).unique(dim=0))


def _measured(data: LayerData, sae: Dictionary, x: Tensor, _target: float) -> dict:
    test = data.test
    tables = reconstruction_tables({("", 0): sae}, x, test.document, test.documents, data.scale)
    summary = tables["summary"].query("variant == '' and positions == 'text'").set_index("metric")["value"]
    learned = sum(p.numel() for p in sae.weights().values() if p.requires_grad)
    if sae.architecture.free_decoder:
        learned -= sae.W_enc.numel()
    found = {metric: float(summary[metric]) for metric in METRICS}
    found["l0"] /= sae.architecture.span
    return found | {"parameters": learned, "predicted": _predicted_share(sae, x)}


class _Finish:
    """Measures of a dictionary that take longer; the model is opened, and its clean loss measured, once for all."""

    def __init__(self, study: Study):
        self.study = study
        self._clean = functools.cache(self._cross_entropy)

    def __call__(self, data: LayerData, sae: Dictionary, x: Tensor) -> dict:
        found = _of_features(data, sae, x)
        if not self.study.windows.fidelity or x is not data.test.activations:
            return found | {"delta_ce": None, "ce_clean": None}
        replace = keep_bos(dictionary(sae))
        clean, spliced = self._clean(data), self._cross_entropy(data, replace)
        return found | {"delta_ce": spliced - clean, "ce_clean": clean}

    @functools.cached_property
    def _model(self) -> LanguageModel:
        return models.load(self.study.model)

    def _cross_entropy(self, data: LayerData, replace: Replace | None = None) -> float:
        """Mean over text positions of windows that are spread over the held-out text."""
        windows = spread(len(data.test.tokens), self.study.windows.fidelity)
        ce = cross_entropies(self._model, data.test.tokens[windows], data.layer, {"": replace})
        return float(ce[""][:, 1:].astype(np.float64).mean())


def _of_features(data: LayerData, sae: Dictionary, x: Tensor) -> dict:
    n, T = x.shape[:2]
    labels, blocks = labellings(n, T, {}), len(data.test.documents)
    found = measure_features({("", 0): sae}, x, data.test.document, blocks, labels)["", 0]
    values = {
        "dwell": finite_median(found.spans.dwell_K),
        "autocorrelation_time": finite_median(found.spans.autocorrelation_time_K),
    }
    if settled := found.position.get(SETTLED):  # windows can be too short for it
        values |= {
            "information": finite_median(settled.u_corrected_K[settled.eligible_K]),
            "positional_share": settled.share_significant,
            "positional_share_null": settled.null_share,
        }
    return {name: float(value) if np.isfinite(value) else None for name, value in values.items()}


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
