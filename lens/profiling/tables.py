"""The shape of tables of measures: which dictionaries they are of, and their columns."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from lens.dictionaries.dictionary import Dictionary

Key = tuple[str, int]  # variant and seed
Dictionaries = Mapping[Key, Dictionary]
Tables = dict[str, pd.DataFrame]  # by name: positions, summary, blocks, ...
INPUT = ("activations", -1)  # the pseudo-variant and seed of rows about the activations themselves

POSITIONS = ["variant", "seed", "position", "metric", "value", "n", "unit"]
BLOCKS = ["variant", "seed", "block", "bucket", "metric", "value", "n", "unit"]
SUMMARY = ["variant", "seed", "positions", "metric", "value", "n", "unit"]


def join(*parts: Tables) -> Tables:
    """One set of tables from several."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: pd.concat([part[name] for part in parts if name in part], ignore_index=True) for name in names}
