"""The tables of `lens.profile`, from what was measured of one dictionary."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lens.measure.profiles import Profile
from lens.measure.verdicts import VERDICTS
from lens.profiling.features import FIRST, Measured, per_feature
from lens.profiling.late_spans import late_measures


def own_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the dictionary and of the activations, without the columns that tell dictionaries apart."""
    return table.drop(columns=["variant", "seed"])


def feature_rows(found: Measured, has_tokens: bool) -> pd.DataFrame:
    features = per_feature(found)
    features["information"] = features["information"].where(found.position[FIRST].eligible_K)
    unmeasured = {"mask_run": found.mask_TK is None, "token_share": not has_tokens}
    return features.drop(columns=[name for name, absent in unmeasured.items() if absent])


def positional_rows(found: Measured) -> pd.DataFrame:
    position = found.position[FIRST]
    eligible, K = int(position.eligible_K.sum()), len(position.eligible_K)
    rows = [
        ("text", "eligible_features", float(eligible), K, "features"),
        ("text", "positional_share", position.share_significant, eligible, "fraction of eligible features"),
        ("text", "positional_share_null", position.null_share, eligible, "fraction of eligible features"),
    ]
    late, tested = late_measures(found.late, found.spans.density_K), int(found.late.get("depth", pd.Series()).count())
    rows += [("text", name, value, tested, unit) for name, (value, unit) in late.items()]
    return pd.DataFrame(rows, columns=["positions", "metric", "value", "n", "unit"]).dropna(subset="value")


def verdict_rows(features: pd.DataFrame) -> pd.DataFrame:
    counts = features["verdict"].value_counts() if "verdict" in features else {}
    rows = [
        ("text", f"verdict: {verdict}", float(counts[verdict]), len(features), "features")
        for verdict in VERDICTS
        if verdict in counts
    ]
    return pd.DataFrame(rows, columns=["positions", "metric", "value", "n", "unit"])


def null_band(found: Profile) -> pd.DataFrame:
    """A circular shift makes all positions alike, so the band of a feature is one for all of them."""
    rates = found.permuted_firings_RTK.reshape(-1, found.permuted_firings_RTK.shape[-1]) / found.windows
    low, high = np.quantile(rates, [0.025, 0.975], axis=0)
    return pd.DataFrame({"low": low, "high": high}, index=pd.RangeIndex(len(low), name="feature"))
