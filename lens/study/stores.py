"""What an activation store holds, as a table."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd


def manifest_table(manifests: Mapping[int | str, dict]) -> pd.DataFrame:
    """One row per layer: where it is hooked, its relative depth, its size, and the first digits of its digests."""
    rows = []
    for layer, m in manifests.items():
        windows = m["windows"]
        rows.append(
            {
                "layer": layer,
                "model": m["model"],
                "weights": m["quantisation"] or "as published",
                "hook": m["hook"],
                "relative depth": round(m["depth"], 3),
                "width": m["d_in"],
                "positions": windows["length"],
                "training windows": windows["train"]["count"],
                "held-out windows": windows["test"]["count"],
                "sha256 (training)": m["sha256"]["train.safetensors"][:12],
                "sha256 (held-out)": m["sha256"]["test.safetensors"][:12],
            }
        )
    return pd.DataFrame(rows).set_index("layer").T
