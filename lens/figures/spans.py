"""How wide features and masks are, layer by layer, beside what chance and an untrained dictionary give."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from lens.figures import data, dots, style
from lens.figures.looks import Look, Looks
from lens.figures.plot import Plot

TITLE = "Spans by layer"
NULLS = {
    "span_fwhm_permuted": ("#dcdcdc", "null: shifted labels"),
    "span_fwhm_frequency": ("none", "null: equal frequency"),
}
RUNS = {
    "span_mask_run": Look("after training", "#0072b2", "-", "o"),
    "span_mask_run_start": Look("before training", style.FAINT, "-", "*"),
}
DASHES = (0, (4, 2.5))

PaperSpan = float | Sequence[float]  # a number, or the two ends of a range


def spans_by_layer(summary: pd.DataFrame, looks: Looks, *, paper_spans: Sequence[PaperSpan] = ()) -> Plot:
    """Above: median width at half maximum of positional features. Below: longest run of the masks.

    Args:
        summary: the `summary` table; `untrained` is the null of a dictionary that was not trained.
        paper_spans: the paper's numbers at a shallow, a middle and a deep layer; drawn if there are as many main ones.

    Raises:
        FigureError: no dictionary has a span.
    """
    layers = style.layers_in_order(summary["layer"])
    variants = looks.side_by_side
    rows = data.pick(summary, "spans_by_layer", metric="span_fwhm", variant=[*variants, "untrained"])
    rows = rows.assign(series=rows["variant"])
    nulls = summary[summary["metric"].isin(NULLS) & summary["variant"].isin(variants)]
    ours = looks.label(looks.method) if looks.method else ""
    runs = summary[summary["metric"].isin(RUNS) & (summary["variant"] == looks.method)]
    runs = runs.assign(series=runs["metric"])
    series = {name: looks[name] for name in (*variants, "untrained") if name in set(rows["variant"])}
    main = data.main_layers(looks.main(summary))
    claimed = dict(zip(main, paper_spans, strict=True)) if len(main) == len(paper_spans) else {}
    with style.house_style():
        figure = style.new_figure(6.4 if runs.empty else 10.6)
        heights = [1.6] if runs.empty else [1.6, 1]
        top, *below = figure.subplots(len(heights), 1, height_ratios=heights, sharex=True, squeeze=False)[:, 0]
        found = dots.dot_panel(top, rows, layers, series)
        for (layer, metric), values in nulls.groupby(["layer", "metric"])["value"]:
            dots.null_band(top, layers.index(layer), values.to_numpy(), NULLS[metric][0])
        for layer, span in claimed.items():
            _claim(top, layers.index(layer), span)
        ends = [end for span in claimed.values() for end in _ends(span)]
        dots.frame(top, found, [0, *nulls["value"], *(1.06 * end for end in ends)], bottom=0)
        dots.nothing(top, layers, found, "no positional\nfeature")
        top.set_ylabel("width of a feature's profile\n(positions, median)")
        mask = pd.DataFrame()
        for ax in below:
            mask = dots.dot_panel(ax, runs, layers, RUNS)
            dots.frame(ax, mask, [0], bottom=0)
            ax.set_ylabel("longest run of a mask\n(positions, median)")
            dots.panel_legend(ax, list(RUNS.values()))
        figure.align_ylabels()
        handles = [dots.handle(look) for look in series.values()]
        handles += [dots.null_handle(*NULLS[name]) for name in NULLS if name in set(nulls["metric"])]
        if claimed:
            handles.append(Line2D([], [], color=style.INK, linewidth=1, linestyle=DASHES, label="the paper's claim"))
        style.legend(figure, handles)
    caption = (
        "Full width at half maximum of the smoothed profile of firing, median over the features that pass the "
        "position test; bands are the range, over variants and seeds, of the same features with shifted labels and of "
        "features that fire as often at random."
        + (" Dashes: what the paper states for its shallow, middle and deep layer." if claimed else "")
        + (f" Below: the longest run of positions where a {ours} mask exceeds half its maximum." if below else "")
        + f" {dots.interval_phrase(found)}"
    )
    alt = [f"Dot plot of the median width of positional features by layer. {dots.alt(found, layers, series)}"]
    alt += [
        f"{label}: {data.short(values.min())} to {data.short(values.max())}."
        for name, (_, label) in NULLS.items()
        if len(values := nulls.loc[nulls["metric"] == name, "value"])
    ]
    if claimed:
        said = (f"{_words(span, ' to ')} at {style.layer_name(layer)}" for layer, span in claimed.items())
        alt.append(f"The paper claims {', '.join(said)}.")
    if below:
        alt.append(f"Below, the longest run of the masks. {dots.alt(mask, layers, RUNS)}")
    return Plot(figure, TITLE, caption, " ".join(alt))


def _ends(span: PaperSpan) -> list[float]:
    return list(span) if isinstance(span, Sequence) else [span]


def _words(span: PaperSpan, to: str) -> str:
    return to.join(f"{end:g}" for end in _ends(span))


def _claim(ax: Axes, x: int, span: PaperSpan) -> None:
    for y in _ends(span):
        ax.plot([x - 0.47, x + 0.47], [y, y], color=style.INK, linewidth=1, linestyle=DASHES, zorder=2)
    ax.annotate(
        _words(span, "–"), (x + 0.47, _ends(span)[-1]), xytext=(0, 1.5), textcoords="offset points", ha="right",
        va="bottom", fontsize=7,
    )  # fmt: skip
