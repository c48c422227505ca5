"""Trends over layers: which features depend on position, how wide they and their masks are, and do masks recur?"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from lens.figures import data, dots, style
from lens.figures.looks import Look, Looks
from lens.figures.plot import FigureError, Plot

SHARES = {"positional_share_1": "from position 1", "positional_share_8": "from position 8"}
SHARE_NULL = ("#dcdcdc", "null: shifted labels")
WIDTH_NULLS = {
    "span_fwhm_permuted": ("#dcdcdc", "null: shifted labels"),
    "span_fwhm_frequency": ("none", "null: equal frequency"),
}
RUNS = {
    "span_mask_run": Look("after training", "#0072b2", "-", "o"),
    "span_mask_run_start": Look("before training", style.FAINT, "-", "*"),
}
PAIRS = {
    "seed_mask_correlation": Look("masks, matched", "#0072b2", "-", "o"),
    "control": Look("masks, matched, positions shuffled in training", "#333333", "-", "s"),
    "seed_mask_correlation_null": Look("masks, random pairs", "#7fb3d5", "-", "P"),
    "seed_profile_correlation": Look("profiles, matched", "#d55e00", "-", "^"),
    "seed_profile_correlation_null": Look("profiles, random pairs", "#e9a06b", "-", "v"),
}
EFFECTS = {
    "fvu_rise_shuffled": Look("shuffled", "#0072b2", "-", "o"),
    "fvu_rise_mean": Look("replaced by their mean", "#333333", "-", "s"),
    "fvu_rise_hard": Look("hard at 1/2", "#d55e00", "-", "^"),
    "fvu_rise_gauge_hard": Look("hard at half the maximum", "#009e73", "-", "D"),
}
AGREEMENT = {  # title by the panels that there are: agreement, effects
    (True, True): "Agreement of masks between seeds, and what masks do",
    (True, False): "Agreement of masks between seeds",
    (False, True): "What masks do",
}
PaperSpan = float | Sequence[float]  # a number, or the two ends of a range


def positional_share(summary: pd.DataFrame, looks: Looks) -> Plot:
    """Share of the eligible features that pass the position test, over all text positions and from position 8 on.

    Args:
        summary: the `summary` table; windows too short for the test from position 8 have no such panel.

    Raises:
        FigureError: no dictionary was tested.
    """
    variants = [*looks.side_by_side, "untrained"]
    rows = data.pick(summary, "positional_share", metric=list(SHARES), variant=variants)
    layers = style.layers_in_order(rows["layer"])
    tests = [name for name in SHARES if name in set(rows["metric"])]
    series = {name: looks[name] for name in variants if name in set(rows["variant"])}
    alt = ["Dot plot of the share of features that pass the position test, by layer."]
    with style.house_style():
        figure = style.new_figure(1.4 + 3.4 * len(tests))
        axes = figure.subplots(len(tests), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        parts = []
        for ax, name in zip(axes, tests, strict=True):
            nulls = summary[(summary["metric"] == f"{name}_null") & summary["variant"].isin(variants)]
            parts.append(dots.dot_panel(ax, rows[rows["metric"] == name], "variant", layers, series))
            for layer, values in nulls.groupby("layer")["value"]:
                dots.null_band(ax, layers.index(layer), values.to_numpy(), SHARE_NULL[0])
            ax.set_title(SHARES[name])
            ax.set_ylabel("share of features")
            ax.set_ylim(-0.03, 1.03)
            chance = f"; shifted labels up to {data.short(nulls['value'].max())}" if len(nulls) else ""
            alt.append(f"{SHARES[name].capitalize()}{chance}. {dots.alt(parts[-1], layers, series)}")
        style.legend(figure, [*map(dots.handle, series.values()), dots.null_handle(*SHARE_NULL)])
    only_all = len(tests) > 1 and "untrained" not in set(rows.loc[rows["metric"] == tests[-1], "variant"])
    both = ", over all text positions and over those from 8 on, where the steep start of a window is over"
    caption = (
        "Share of the features that fire often enough to be tested whose firing depends on position (false discovery "
        "rate 5 %)"
        + (both if len(tests) > 1 else "")
        + (". Untrained dictionaries were tested over all positions only" if only_all else "")
        + ". Bands: the range, over variants and seeds, of the share that the same procedure finds in shifted labels. "
        + dots.interval_phrase(pd.concat(parts))
    )
    return Plot(figure, "Features that depend on position", caption, " ".join(alt))


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
    nulls = summary[summary["metric"].isin(WIDTH_NULLS) & summary["variant"].isin(variants)]
    runs = summary[summary["metric"].isin(RUNS) & (summary["variant"] == looks.method)]
    series = {name: looks[name] for name in (*variants, "untrained") if name in set(rows["variant"])}
    main = data.main_layers(looks.main(summary))
    claimed = dict(zip(main, paper_spans, strict=True)) if len(main) == len(paper_spans) else {}
    with style.house_style():
        figure = style.new_figure(6.4 if runs.empty else 10.6)
        heights = [1.6] if runs.empty else [1.6, 1]
        top, *below = figure.subplots(len(heights), 1, height_ratios=heights, sharex=True, squeeze=False)[:, 0]
        found = dots.dot_panel(top, rows, "variant", layers, series)
        for (layer, metric), values in nulls.groupby(["layer", "metric"])["value"]:
            dots.null_band(top, layers.index(layer), values.to_numpy(), WIDTH_NULLS[metric][0])
        for layer, span in claimed.items():
            _claim(top, layers.index(layer), span)
        ends = [end for span in claimed.values() for end in _ends(span)]
        dots.frame(top, found, [0, *nulls["value"], *(1.06 * end for end in ends)], bottom=0)
        dots.nothing(top, layers, found, "no positional\nfeature")
        top.set_ylabel("width of a feature's profile\n(positions, median)")
        mask = pd.DataFrame()
        for ax in below:
            mask = dots.dot_panel(ax, runs, "metric", layers, RUNS)
            dots.frame(ax, mask, [0], bottom=0)
            ax.set_ylabel("longest run of a mask\n(positions, median)")
            dots.panel_legend(ax, list(RUNS.values()))
        figure.align_ylabels()
        handles = [dots.handle(look) for look in series.values()]
        handles += [dots.null_handle(*WIDTH_NULLS[name]) for name in WIDTH_NULLS if name in set(nulls["metric"])]
        if claimed:
            handles.append(Line2D([], [], **_CLAIM, label="the paper's claim"))
        style.legend(figure, handles)
    ours = looks.label(looks.method or "") if below else ""
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
        for name, (_, label) in WIDTH_NULLS.items()
        if len(values := nulls.loc[nulls["metric"] == name, "value"])
    ]
    if claimed:
        said = (f"{_words(span, ' to ')} at {style.layer_name(layer)}" for layer, span in claimed.items())
        alt.append(f"The paper claims {', '.join(said)}.")
    if below:
        alt.append(f"Below, the longest run of the masks. {dots.alt(mask, layers, RUNS)}")
    return Plot(figure, "Spans by layer", caption, " ".join(alt))


_CLAIM = {"color": style.INK, "linewidth": 1, "linestyle": (0, (4, 2.5))}


def _ends(span: PaperSpan) -> list[float]:
    return list(span) if isinstance(span, Sequence) else [span]


def _words(span: PaperSpan, to: str) -> str:
    return to.join(f"{end:g}" for end in _ends(span))


def _claim(ax: Axes, x: int, span: PaperSpan) -> None:
    for y in _ends(span):
        ax.plot([x - 0.47, x + 0.47], [y, y], **_CLAIM, zorder=2)
    ax.annotate(
        _words(span, "–"), (x + 0.47, _ends(span)[-1]), xytext=(0, 1.5), textcoords="offset points", ha="right",
        va="bottom", fontsize=7,
    )  # fmt: skip


def mask_agreement(summary: pd.DataFrame, looks: Looks) -> Plot:
    """Above: correlation of masks and of profiles between seeds. Below: rise of the FVU when masks are changed.

    Args:
        summary: the `summary` table; rows of the method and of its null, which was trained on shuffled positions.

    Raises:
        FigureError: neither is in the table.
    """
    method = looks.role("method", "mask_agreement")
    ours = summary[summary["variant"] == method]
    pairs, effects = (ours[ours["metric"].isin(series)] for series in (PAIRS, EFFECTS))
    control = summary[(summary["variant"] == looks.null) & (summary["metric"] == "seed_mask_correlation")]
    if not pairs.empty and not control.empty:
        pairs = pd.concat([pairs, control.assign(metric="control")], ignore_index=True)
    if pairs.empty and effects.empty:
        raise FigureError(f"mask_agreement: the summary has neither pairs of seeds nor changed masks of {method}")
    layers = style.layers_in_order(ours["layer"])
    with style.house_style():
        panels = (not pairs.empty, not effects.empty)
        figure = style.new_figure(0.4 + 4.6 * sum(panels))
        axes = list(figure.subplots(sum(panels), 1, sharex=True, squeeze=False)[:, 0])
        found, rises = pd.DataFrame(), pd.DataFrame()
        for ax in axes[: panels[0]]:
            found = dots.dot_panel(ax, pairs, "metric", layers, PAIRS)
            dots.frame(ax, found, [0, 1])
            dots.nothing(ax, layers, found, "too few\nshared features")
            ax.axhline(0, color="#777777", linewidth=0.8, zorder=1)
            ax.set_ylabel("correlation\nbetween seeds")
            dots.panel_legend(ax, [look for name, look in PAIRS.items() if name in set(found["series"])])
        for ax in axes[panels[0] :]:
            rises = dots.dot_panel(ax, effects, "metric", layers, EFFECTS)
            dots.frame(ax, rises, [0])
            ax.axhline(0, color="#777777", linewidth=0.8, zorder=1)
            ax.yaxis.set_major_locator(MaxNLocator(6))
            ax.yaxis.set_major_formatter(FuncFormatter(style.signed_percent))
            ax.set_ylabel("rise of the FVU,\nmasks changed")
            dots.panel_legend(ax, list(EFFECTS.values()))
        figure.align_ylabels()
    agreement = (
        "Correlation over positions between seeds, of features that two seeds share (at least 20 of them, or nothing "
        "is said) and of random pairs of those. Masks that correlate no more than random pairs are noise, and those of "
        "a dictionary trained on shuffled positions have no position to agree on; profiles show that the features are "
        "the same."
        if panels[0]
        else "No two seeds share as many as 20 features, so nothing is said of the agreement of their masks."
    )
    changed = (
        f" {'Below: how' if panels[0] else 'How'} the FVU rises when, after training, masks are shuffled over "
        "positions, replaced by their mean, or made 0 or 1: at 1/2, or at half the maximum of each."
    )
    caption = (
        agreement
        + (changed if panels[1] else "")
        + f" {looks.label(method)}. {dots.interval_phrase(found if len(found) else rises)}"
        + (" Between seeds, the dots are jackknife pseudo-values." if len(found) else "")
    )
    alt = "No two seeds share enough features to compare their masks."
    if panels[0]:
        told = dots.alt(found, layers, PAIRS, ".2f")
        alt = f"Dot plot of the correlation of masks and of profiles between seeds. {told}"
    if panels[1]:
        percent = rises.assign(**{name: 100 * rises[name] for name in ("mean", "low", "high")})
        alt += f" Dot plot of the rise of the FVU in percent, masks changed. {dots.alt(percent, layers, EFFECTS)}"
    return Plot(figure, AGREEMENT[panels], caption, alt)
