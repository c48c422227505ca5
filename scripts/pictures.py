"""The two pictures of README, drawn anew from what is committed: `python scripts/pictures.py`.

`docs/images/answer.png` is the figure `variant_changes` of the study `full`; `docs/images/explorer.png` is
`results/full/explorer.html` as Chromium shows it.
"""

from __future__ import annotations

import subprocess
import tempfile
from io import BytesIO
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg

from lens import checkout
from lens.figures.style import house_style
from lens.study.params import Study
from lens.study.show import small_png
from paper.gallery import FIGURES, looks_of, reader

FOLDER = checkout.root() / "docs" / "images"
DPI = 160
SIZE = 1280, 900


def answer() -> bytes:
    study = Study.load("full")
    drawn = BytesIO()
    with house_style():
        plot = FIGURES["variant_changes"](reader(study), looks_of(study))
        FigureCanvasAgg(plot.figure).print_figure(drawn, format="png", dpi=DPI)
    return small_png(drawn.getvalue())


def explorer() -> bytes:
    page = (checkout.root() / "results/full/explorer.html").as_uri()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "explorer.png"
        size, time = f"--window-size={SIZE[0]},{SIZE[1]}", "--virtual-time-budget=20000"
        options = ("--headless", "--no-sandbox", "--hide-scrollbars", size, time, f"--screenshot={file}")
        subprocess.run(["chromium", *options, page], check=True, capture_output=True)
        return small_png(file.read_bytes())


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for draw in (answer, explorer):
        path = FOLDER / f"{draw.__name__}.png"
        path.write_bytes(draw())
        print(f"{path.relative_to(checkout.root())}: {path.stat().st_size / 1000:.0f} kB")
