"""The figures of a study, by the name of their files."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pandas as pd

from lens.errors import ConfigError
from lens.figures.ablations import ablation_effects
from lens.figures.agreement import mask_agreement
from lens.figures.calibration import calibration
from lens.figures.clusters import profile_clusters
from lens.figures.forest import early_late_forest, variant_changes
from lens.figures.masks import mask_heat_map
from lens.figures.plot import FigureError, Plot
from lens.figures.positional import positional_share
from lens.figures.positions import per_position_error
from lens.figures.probing import probing_accuracy
from lens.figures.spans import spans_by_layer
from lens.figures.splice import splice_matrix
from lens.figures.training import training_curves
from lens.figures.weights import position_weight_evolution
from lens.study import tables
from lens.study.params import Study
from paper.calibration import read_table
from paper.registry import load_registry

CALIBRATION = "calibration/"  # before the name of a table that is about planted truth, not about a layer
Read = Callable[[str], pd.DataFrame]  # name of a table -> the table


def reader(study: Study, *, over_depth: bool = False) -> Read:
    """How figures read the tables of a study; each is read once.

    Args:
        over_depth: rows of all layers; otherwise of those that claims are judged on and of the embedding, since a panel
            for each of many layers is no longer legible.
    """
    few = {*map(str, study.main), "embedding"}

    @functools.cache
    def read(name: str) -> pd.DataFrame:
        if name.startswith(CALIBRATION):
            return read_table(study, name.removeprefix(CALIBRATION))
        table = tables.read(study, name)
        return table if over_depth else table[table["layer"].isin(few)].reset_index(drop=True)

    return read


def _paper(*claims: str) -> list:
    """What the paper states, as registered: its values by claim."""
    values = {claim["id"]: claim["paper_value"] for claim in load_registry()}
    return [values[name] for name in claims]


def _optional(read: Read, name: str, made: str) -> pd.DataFrame:
    """A table that not every study has.

    Raises:
        FigureError: this one does not; the message says how it is `made`, and names no path, since notebooks print it.
    """
    try:
        return read(name)
    except ConfigError as error:
        raise FigureError(f"no table {name!r}: {made}") from error


FIGURES: dict[str, Callable[[Read], Plot]] = {
    "per_position_error": lambda read: per_position_error(read("positions")),
    "per_position_error_bos": lambda read: per_position_error(read("positions"), bos=True),
    "per_position_fvu": lambda read: per_position_error(read("positions"), metric="fvu_position"),
    "per_position_l0": lambda read: per_position_error(read("positions"), metric="l0"),
    "early_late_forest": lambda read: early_late_forest(read("blocks"), paper_value=_paper("C01")[0]),
    "position_weight_evolution": lambda read: position_weight_evolution(read("position_weights"), read("positions")),
    "mask_heat_map": lambda read: mask_heat_map(read("masks")),
    "variant_changes": lambda read: variant_changes(read("summary")),
    "ablation_effects": lambda read: ablation_effects(read("summary")),
    "training_curves": lambda read: training_curves(read("history")),
    "spans_by_layer": lambda read: spans_by_layer(read("summary"), paper_spans=_paper("C05", "C06", "C07")),
    "positional_share": lambda read: positional_share(read("summary")),
    "mask_agreement": lambda read: mask_agreement(read("summary")),
    "profile_clusters": lambda read: profile_clusters(read("profiles"), read("summary")),
    "splice_matrix": lambda read: splice_matrix(
        _optional(read, "splice", "dictionaries are spliced into a causal model if windows.fidelity is above 0")
    ),
    "probing_accuracy": lambda read: probing_accuracy(read("probing"), paper_baseline=_paper("C14")[0]),
    "calibration": lambda read: calibration(
        *(_optional(read, CALIBRATION + name, "07_calibration makes it") for name in ("estimators", "training"))
    ),
}
"""Draw one with `FIGURES[name](read)`, where `read` gives a table by its name, as `reader(study)` does."""

OVER_DEPTH = ("spans_by_layer", "positional_share", "mask_agreement")
"""figures of trends, which show every layer of a study"""


def drawn(read: Read, read_over_depth: Read) -> tuple[dict[str, Plot], dict[str, str]]:
    """Every figure that a study has the data for, and for each of the others why it is left out; both by name."""
    plots, left_out = {}, {}
    for name, draw in FIGURES.items():
        try:
            plots[name] = draw(read_over_depth if name in OVER_DEPTH else read)
        except FigureError as error:
            left_out[name] = str(error)
    return plots, left_out
