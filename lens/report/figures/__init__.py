"""Figures: pure functions from tables to a `Plot`, the registry `FIGURES`, and `save`."""

from lens.report.figures.gallery import FIGURES
from lens.report.figures.plot import FigureError, Plot, save

__all__ = ["FIGURES", "FigureError", "Plot", "save"]
