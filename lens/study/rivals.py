"""The table of rivals: how dictionaries of all kinds reconstruct at one L0, and what those gain that read sequences."""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor

from lens.activations.store import LayerStore
from lens.dictionaries.dictionary import Dictionary
from lens.profiling.layer_data import LayerData
from lens.profiling.reconstruction import reconstruction_tables
from lens.study import equal_l0
from lens.study.params import Study

METRICS = ("fvu", "fvu_without_outliers", "l0", "silent_features")


def rivals_table(study: Study, data: LayerData, target: float) -> pd.DataFrame:
    """One row per variant and seed, those of the first seed first; raises as `equal_l0.rows` does.

    Columns beside those of `equal_l0.rows`: fvu, fvu_without_outliers, silent_features, l0 (features that a token
    costs: a code that tokens share counts once for all of them), parameters (learned), and predicted (share of the
    squared norm that is predicted from earlier vectors).
    """
    rows = equal_l0.rows(study, lambda seed: data, [target], _measured)
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
