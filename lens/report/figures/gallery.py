"""The figures of a study, by the name of their files."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from lens.report.figures.forest import early_late_forest, variant_changes
from lens.report.figures.masks import mask_heat_map
from lens.report.figures.plot import Plot
from lens.report.figures.positions import per_position_error
from lens.report.figures.training import training_curves
from lens.report.figures.weights import position_weight_evolution

Read = Callable[[str], pd.DataFrame]  # name of a table -> the table

FIGURES: dict[str, Callable[[Read], Plot]] = {
    "error_by_position": lambda read: per_position_error(read("positions")),
    "error_by_position_bos": lambda read: per_position_error(read("positions"), bos=True),
    "fvu_by_position": lambda read: per_position_error(read("positions"), metric="fvu_position"),
    "sparsity_by_position": lambda read: per_position_error(read("positions"), metric="l0"),
    "early_late": lambda read: early_late_forest(read("blocks")),
    "weights_and_error": lambda read: position_weight_evolution(read("position_weights"), read("positions")),
    "masks": lambda read: mask_heat_map(read("masks")),
    "ablations": lambda read: variant_changes(read("summary")),
    "training": lambda read: training_curves(read("history")),
}
"""Draw one with `FIGURES[name](read)`, where `read` gives a table by its name: `partial(tables.read, study)`."""
