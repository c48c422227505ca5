"""What a figure function returns, and how it is written: SVG, PNG and the words that stand for it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from lens import files
from lens.figures.style import house_style


class FigureError(ValueError):
    """A table does not hold what a figure needs; the message names what is missing and what is there."""


@dataclass(frozen=True)
class Plot:
    """A drawn figure with its title, its caption (what was measured, n) and its alt text (the numbers it shows)."""

    figure: Figure
    title: str
    caption: str
    alt: str


def svg(plot: Plot) -> bytes:
    """The figure as SVG; the same plot gives the same bytes, whatever Matplotlib is set to."""
    # No date and no library version in the file: a re-run must not differ from what is committed.
    about = {"Date": None, "Creator": None, "Title": plot.title, "Description": plot.alt}
    content = BytesIO()
    with house_style():
        FigureCanvasSVG(plot.figure).print_figure(content, format="svg", metadata=about)
    return content.getvalue()


def png(plot: Plot) -> bytes:
    """The figure as PNG; see `svg`."""
    content = BytesIO()
    with house_style():
        FigureCanvasAgg(plot.figure).print_figure(content, format="png", metadata={"Software": None})
    return content.getvalue()


def save(plot: Plot, folder: Path, name: str) -> tuple[Path, Path, Path]:
    """Write `name.svg`, `name.png` and `name.json` (title, caption, alt); the same plot gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    words = {"title": plot.title, "caption": plot.caption, "alt": plot.alt}
    text = json.dumps(words, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    contents = {".svg": svg(plot), ".png": png(plot), ".json": text.encode()}
    for suffix, data in contents.items():
        files.write(folder / f"{name}{suffix}", data)
    svg_file, png_file, words_file = (folder / f"{name}{suffix}" for suffix in contents)
    return svg_file, png_file, words_file
