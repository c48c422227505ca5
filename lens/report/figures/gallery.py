"""The figures of a study, by the name of their files."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from lens.report.claims import load_registry
from lens.report.figures.forest import early_late_forest, variant_changes
from lens.report.figures.masks import mask_heat_map
from lens.report.figures.plot import Plot
from lens.report.figures.positions import per_position_error
from lens.report.figures.training import training_curves
from lens.report.figures.weights import position_weight_evolution

Read = Callable[[str], pd.DataFrame]  # name of a table -> the table


def _early_late(read: Read) -> Plot:
    (paper_value,) = (claim["paper_value"] for claim in load_registry() if claim["id"] == "C01")
    return early_late_forest(read("blocks"), paper_value=paper_value)


FIGURES: dict[str, Callable[[Read], Plot]] = {
    "per_position_error": lambda read: per_position_error(read("positions")),
    "per_position_error_bos": lambda read: per_position_error(read("positions"), bos=True),
    "per_position_fvu": lambda read: per_position_error(read("positions"), metric="fvu_position"),
    "per_position_l0": lambda read: per_position_error(read("positions"), metric="l0"),
    "early_late_forest": _early_late,
    "position_weight_evolution": lambda read: position_weight_evolution(read("position_weights"), read("positions")),
    "mask_heat_map": lambda read: mask_heat_map(read("masks")),
    "variant_changes": lambda read: variant_changes(read("summary")),
    "training_curves": lambda read: training_curves(read("history")),
}
"""Draw one with `FIGURES[name](read)`, where `read` gives a table by its name: `partial(tables.read, study)`."""
