"""The notebook stages of a study."""

from __future__ import annotations

from lens.study.params import Study


def names(study: Study) -> list[str]:
    """Names of executed notebooks and run records, in order; a folder may hold others, of layers taken out since."""
    train, analyse = (
        [f"{notebook}_layer_{layer}" for layer in study.layers] for notebook in ("02_train", "04_analysis")
    )
    ablate = [f"03_ablations_layer_{layer}" for layer in study.ablations.layers]
    return ["00_overview", "01_extract", *train, *ablate, *analyse, "05_figures", "07_calibration"]
