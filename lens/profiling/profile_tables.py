"""The tables of `lens.profile`, from what was measured of one dictionary."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lens.measure.position_information import PositionInformation
from lens.measure.profiles import Labelling, Profile
from lens.measure.verdicts import VERDICTS
from lens.profiling.features import FIRST, Measured, per_feature
from lens.profiling.late_spans import late_measures


def own_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the dictionary and of the activations, without the columns that tell dictionaries apart."""
    return table.drop(columns=["variant", "seed"])


def feature_rows(found: Measured, has_tokens: bool) -> pd.DataFrame:
    features = per_feature(found)
    features["information"] = features["information"].where(found.position[FIRST].eligible_K)
    for name in clocks_of(found):
        since = found.position[f"since_{name}"]
        features[f"since_{name}"] = since.significant_K
        features[f"since_{name}_p"] = since.p_K
        features[f"since_{name}_information"] = np.where(since.eligible_K, since.u_corrected_K, np.nan)
        features[f"positional_given_{name}"] = found.position[f"given_{name}"].significant_K
    unmeasured = {"mask_run": found.mask_TK is None, "token_share": not has_tokens}
    return features.drop(columns=[name for name, absent in unmeasured.items() if absent])


def clocks_of(found: Measured) -> list[str]:
    """Names of the clocks that were measured beside the position."""
    return [name.removeprefix("since_") for name in found.position if name.startswith("since_")]


def clock_rates(found: Measured, labels: Mapping[str, Labelling]) -> pd.DataFrame | None:
    """Rate of firing by clock: a row for each clock and bin of it that any token is in."""
    parts = []
    for name in clocks_of(found):
        size, firings = found.profile.bin_sizes[f"since_{name}"], found.profile.observed[f"since_{name}"]
        there = size > 0
        since = np.array(labels[f"since_{name}"].names)[there]
        about = pd.DataFrame({"clock": name, "since": since, "tokens": size[there]})
        parts.append(pd.concat([about, pd.DataFrame(firings[there] / size[there, None])], axis=1))
    return pd.concat(parts, ignore_index=True) if parts else None


def positional_rows(found: Measured) -> pd.DataFrame:
    position = found.position[FIRST]
    eligible, K = int(position.eligible_K.sum()), len(position.eligible_K)
    rows = [("text", "eligible_features", float(eligible), K, "features"), *_shares(position, "positional_share")]
    for name in clocks_of(found):
        rows += _shares(found.position[f"since_{name}"], f"since_{name}_share")
        rows += _shares(found.position[f"given_{name}"], f"positional_given_{name}_share")
    late, tested = late_measures(found.late, found.spans.density_K), int(found.late.get("depth", pd.Series()).count())
    rows += [("text", name, value, tested, unit) for name, (value, unit) in late.items()]
    return pd.DataFrame(rows, columns=["positions", "metric", "value", "n", "unit"]).dropna(subset="value")


def _shares(position: PositionInformation, name: str) -> list[tuple]:
    eligible, unit = int(position.eligible_K.sum()), "fraction of eligible features"
    values = {name: position.share_significant, f"{name}_null": position.null_share}
    return [("text", metric, value, eligible, unit) for metric, value in values.items()]


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
