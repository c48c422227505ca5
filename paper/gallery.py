"""The figures of a study, by the name of their files."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from lens import files
from lens.figures.by_layer import mask_agreement, positional_share, spans_by_layer
from lens.figures.calibration import calibration
from lens.figures.forest import ablation_effects, early_late_forest, variant_changes
from lens.figures.heat_maps import mask_heat_map, profile_clusters
from lens.figures.looks import Looks
from lens.figures.plot import FigureError, Plot
from lens.figures.positions import per_position_error
from lens.figures.probing import probing_accuracy
from lens.figures.spans import span_distributions
from lens.figures.splice import splice_matrix
from lens.figures.training import training_curves
from lens.figures.weights import position_weight_evolution
from lens.study import tables
from lens.study.params import Study
from paper.calibration_tables import read_table
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


def looks_of(study: Study) -> Looks:
    """How figures of a study show its variants: their roles are the study's, labels and marks those of `looks.yaml`."""
    path, advice = Path(__file__).parent / "looks.yaml", "`git checkout` brings it back"
    said = files.read_yaml(path, advice)
    with files.intact(path, advice):
        labels = {variant: x["label"] for variant, x in said.items()}
        marks = {variant: x["marks"] for variant, x in said.items() if "marks" in x}
        marks = {v: (color, d if isinstance(d, str) else tuple(d), marker) for v, (color, d, marker) in marks.items()}
    return Looks(
        **dataclasses.asdict(study.roles),
        variants=study.variants,
        ablations=study.ablations.variants,
        labels=labels,
        marks=marks,
    )


def _paper(*claims: str) -> list:
    """What the paper states, as registered: its values by claim."""
    values = {claim["id"]: claim["paper_value"] for claim in load_registry()}
    return [values[name] for name in claims]


OPTIONAL = {  # tables that not every study has, and why
    "splice": "dictionaries are spliced into a causal model if windows.fidelity is above 0",
    "masks": "no variant has masks",
    "position_weights": "no variant weighs positions",
    "profiles": "the study names no method, or none of its features depends on position",
    "probing": "the held-out text has too few documents to probe for",
    CALIBRATION + "estimators": "07_calibration makes it",
    CALIBRATION + "training": "07_calibration makes it",
}


def _or_why(read: Read) -> Read:
    """Reads the same, but an optional table that is not there leaves a figure out, and says why.

    The message names no path, since notebooks print it.
    """

    def reading(name: str) -> pd.DataFrame:
        try:
            return read(name)
        except tables.NoTable as error:
            if name not in OPTIONAL:
                raise
            raise FigureError(f"no table {name!r}: {OPTIONAL[name]}") from error

    return reading


EARLY = "the early ones of the claim"
FIGURES: dict[str, Callable[[Read, Looks], Plot]] = {
    "per_position_error": lambda read, looks: per_position_error(read("positions"), looks, early_are=EARLY),
    "per_position_error_bos": lambda read, looks: per_position_error(
        read("positions"), looks, bos=True, early_are=EARLY
    ),
    "per_position_fvu": lambda read, looks: per_position_error(
        read("positions"), looks, metric="fvu_position", early_are=EARLY
    ),
    "per_position_l0": lambda read, looks: per_position_error(read("positions"), looks, metric="l0", early_are=EARLY),
    "early_late_forest": lambda read, looks: early_late_forest(
        read("blocks"), looks, ablations=("uniform_weights", "recon_only_weights"), paper_value=_paper("C01")[0]
    ),
    "position_weight_evolution": lambda read, looks: position_weight_evolution(
        read("position_weights"), read("positions"), looks
    ),
    "mask_heat_map": lambda read, looks: mask_heat_map(read("masks"), looks),
    "variant_changes": lambda read, looks: variant_changes(read("summary"), looks),
    "ablation_effects": lambda read, looks: ablation_effects(read("summary"), looks),
    "training_curves": lambda read, looks: training_curves(read("history"), looks),
    "spans_by_layer": lambda read, looks: spans_by_layer(
        read("summary"), looks, paper_spans=_paper("C05", "C06", "C07")
    ),
    "span_distributions": lambda read, looks: span_distributions(
        read("features"), looks, int(read("positions")["position"].max())
    ),
    "positional_share": lambda read, looks: positional_share(read("summary"), looks),
    "mask_agreement": lambda read, looks: mask_agreement(read("summary"), looks),
    "profile_clusters": lambda read, looks: profile_clusters(read("profiles"), read("summary"), looks),
    "splice_matrix": lambda read, looks: splice_matrix(read("splice"), looks),
    "probing_accuracy": lambda read, looks: probing_accuracy(read("probing"), looks, paper_baseline=_paper("C14")[0]),
    "calibration": lambda read, looks: calibration(
        read(CALIBRATION + "estimators"), read(CALIBRATION + "training"), looks
    ),
}
"""Draw one with `FIGURES[name](read, looks_of(study))`, where `read` gives a table by name, as `reader(study)` does."""

OVER_DEPTH = ("spans_by_layer", "positional_share", "mask_agreement")
"""figures of trends, which show every layer of a study"""


def drawn(read: Read, read_over_depth: Read, looks: Looks) -> tuple[dict[str, Plot], dict[str, str]]:
    """Every figure that a study has the data for, and for each of the others why it is left out; both by name."""
    plots, left_out = {}, {}
    read, read_over_depth = _or_why(read), _or_why(read_over_depth)
    for name, draw in FIGURES.items():
        try:
            plots[name] = draw(read_over_depth if name in OVER_DEPTH else read, looks)
        except FigureError as error:
            left_out[name] = str(error)
    return plots, left_out
