"""What a figure function returns, and how it is written: SVG, PNG and the words that stand for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from matplotlib import rcParams
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

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
    with _ready(plot.figure) as figure:
        FigureCanvasSVG(figure).print_svg(content, metadata=about)
    return content.getvalue()


def png(plot: Plot, dpi: float | None = None) -> bytes:
    """The figure as PNG, for print if no `dpi` is given; see `svg`."""
    content = BytesIO()
    with _ready(plot.figure, dpi) as figure:
        FigureCanvasAgg(figure).print_png(content, metadata={"Software": None})
    return content.getvalue()


@contextmanager
def _ready(figure: Figure, dpi: float | None = None) -> Iterator[Figure]:
    """In the house style, with its parts in their places. These are found once for all files of a figure, which takes
    longer than to draw one of them; `Figure.savefig` would do it twice for each."""
    with house_style():
        if isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):
            FigureCanvasAgg(figure)
            figure.draw_without_rendering()
            figure.set_layout_engine("none")
        figure.dpi = dpi or rcParams["savefig.dpi"]
        yield figure


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
