"""Figures: pure functions from tables to a `Plot` and `save`."""

from lens.figures.plot import FigureError, Plot, save

__all__ = ["FigureError", "Plot", "save"]
