"""Plots and tables inside a notebook."""

from __future__ import annotations

import html
from io import BytesIO
from pathlib import Path

import pandas as pd
from IPython.display import HTML, Image, Markdown, display

from lens.figures.plot import Plot, png
from lens.figures.style import layers_in_order

DPI = 110  # legible on a screen; the files under figures/ are for print
COLORS = 64  # of a picture's palette: a third of the bytes, and no difference to be seen


def show(plot: Plot) -> None:
    """Display a plot with its alt text, and under it the caption that reads its numbers."""
    display(Image(data=small_png(png(plot, DPI)), alt=plot.alt))
    display(Markdown(f"*{plot.title}.* {plot.caption}"))


def small_png(data: bytes) -> bytes:
    """The same picture in a palette of its own, without metadata."""
    from PIL import Image as Picture

    picture = Picture.open(BytesIO(data)).convert("RGB")
    small = BytesIO()
    picture.quantize(COLORS, method=Picture.Quantize.MEDIANCUT, dither=Picture.Dither.NONE).save(
        small, format="png", optimize=True
    )
    return small.getvalue()


def seed_means(table: pd.DataFrame, metrics: list[str], *, positions: str = "text", digits: int = 4) -> pd.DataFrame:
    """One row per layer and variant, one column per metric of the `summary` table: mean over seeds (min to max), with
    so many significant digits.

    Layers stand from the embedding upwards. Empty where none of the metrics was measured.
    """
    rows = table[(table["positions"] == positions) & table["metric"].isin(metrics)]
    grouped = rows.groupby(["layer", "variant", "metric"], sort=True)["value"]
    shown = f".{digits}g"
    text = grouped.agg(lambda v: f"{v.mean():{shown}}" + (f" ({v.min():{shown}} to {v.max():{shown}})" * (len(v) > 1)))
    wide, order = text.unstack("metric"), layers_in_order(rows["layer"])
    wide = wide.loc[sorted(wide.index, key=lambda row: (order.index(row[0]), row[1]))]
    return wide[[m for m in metrics if m in wide.columns]].fillna("")


def intervals(table: pd.DataFrame) -> pd.DataFrame:
    """One row per layer and variant, one column per quantity: estimate [low, high]; `table` has a row for each."""
    text = [
        f"{row.estimate:.4g}" + ("" if pd.isna(row.low) else f" [{row.low:.4g}, {row.high:.4g}]")
        for row in table.itertuples()
    ]
    wide = table.assign(text=text).pivot(index=["layer", "variant"], columns="quantity", values="text")
    order = layers_in_order(table["layer"])
    wide = wide.loc[sorted(wide.index, key=lambda row: (order.index(row[0]), row[1]))]
    return wide[list(dict.fromkeys(table["quantity"]))].fillna("")


def show_table(table: pd.DataFrame, links: tuple[str, ...] = ()) -> None:
    """Display a table as HTML with escaped text; columns named in `links` hold paths and become links to them."""
    if not links:
        display(HTML(table.to_html(escape=True, border=0)))
        return
    cells = table.map(lambda value: html.escape(str(value)))
    for name in links:
        cells[name] = [f'<a href="{path}">{Path(path).stem}</a>' if path else "" for path in cells[name]]
    display(HTML(cells.to_html(escape=False, border=0)))


def probe_means(table: pd.DataFrame | None) -> pd.DataFrame:
    """One row per representation, one column per number of features k (0: all): accuracy, mean over tasks and seeds."""
    if table is None:
        return pd.DataFrame({"": ["no task can be probed: the study's text is too short, or has too few documents"]})
    wide = table.pivot_table(index=["layer", "variant"], columns="k", values="value")
    return wide.round(3)


def splice_matrix(table: pd.DataFrame | None) -> pd.DataFrame:
    """Rows: the positions replaced; columns: the positions whose predictions are scored; added cross-entropy, nats."""
    if table is None:
        return pd.DataFrame({"": ["the study splices nothing (windows.fidelity is 0)"]})
    order = sorted(table["bucket"].unique(), key=lambda name: int(name.split("-")[0]))
    return table.pivot_table(index="replaced", columns="bucket", values="value").loc[order, order].round(4)


def with_intervals(rows: pd.DataFrame, digits: int = 3) -> pd.DataFrame:
    """Rows of estimate, low and high with the column `text`, `estimate [low, high]`."""
    numbers = rows[["estimate", "low", "high"]].to_numpy()
    return rows.assign(text=[f"{m:.{digits}f} [{a:.{digits}f}, {b:.{digits}f}]" for m, a, b in numbers])
