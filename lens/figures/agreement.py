"""Do masks recur from seed to seed as profiles do, and what does a dictionary lose without its masks?"""

from __future__ import annotations

import pandas as pd
from matplotlib.ticker import FuncFormatter, MaxNLocator

from lens.figures import dots, style
from lens.figures.looks import Look, Looks
from lens.figures.plot import FigureError, Plot

TITLES = {
    (True, True): "Agreement of masks between seeds, and what masks do",
    (True, False): "Agreement of masks between seeds",
    (False, True): "What masks do",
}
"""by the panels that there are: agreement, effects"""
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


def mask_agreement(summary: pd.DataFrame, looks: Looks) -> Plot:
    """Above: correlation of masks and of profiles between seeds. Below: rise of the FVU when masks are changed.

    Args:
        summary: the `summary` table; rows of the method and of its null, which was trained on shuffled positions.

    Raises:
        FigureError: neither is in the table.
    """
    method = looks.role("method", "mask_agreement")
    ours = summary[summary["variant"] == method]
    pairs = ours[ours["metric"].isin(PAIRS)].assign(series=lambda t: t["metric"])
    control = summary[(summary["variant"] == looks.null) & (summary["metric"] == "seed_mask_correlation")]
    if not pairs.empty and not control.empty:
        pairs = pd.concat([pairs, control.assign(series="control")], ignore_index=True)
    effects = ours[ours["metric"].isin(EFFECTS)].assign(series=lambda t: t["metric"])
    if pairs.empty and effects.empty:
        raise FigureError(f"mask_agreement: the summary has neither pairs of seeds nor changed masks of {method}")
    layers = style.layers_in_order(ours["layer"])
    with style.house_style():
        panels = [not pairs.empty, not effects.empty]
        figure = style.new_figure(0.4 + 4.6 * sum(panels))
        axes = list(figure.subplots(sum(panels), 1, sharex=True, squeeze=False)[:, 0])
        found, rises = pd.DataFrame(), pd.DataFrame()
        for ax in axes[: panels[0]]:
            found = dots.dot_panel(ax, pairs, layers, PAIRS)
            dots.frame(ax, found, [0, 1])
            dots.nothing(ax, layers, found, "too few\nshared features")
            ax.axhline(0, color="#777777", linewidth=0.8, zorder=1)
            ax.set_ylabel("correlation\nbetween seeds")
            dots.panel_legend(ax, [look for name, look in PAIRS.items() if name in set(found["series"])])
        for ax in axes[panels[0] :]:
            rises = dots.dot_panel(ax, effects, layers, EFFECTS)
            dots.frame(ax, rises, [0])
            ax.axhline(0, color="#777777", linewidth=0.8, zorder=1)
            ax.yaxis.set_major_locator(MaxNLocator(6))
            ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: style.signed(100 * y, "+.3g") + " %"))
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
    return Plot(figure, TITLES[tuple(panels)], caption, alt)
