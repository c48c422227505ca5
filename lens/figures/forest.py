"""Forest plots: early against late positions, variants against the baseline, ablations against the method."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from lens.figures import data, style
from lens.figures.looks import Looks
from lens.figures.plot import FigureError, Plot
from lens.measure import stats

COLUMNS = ["layer", "variant", "quantity", "estimate", "low", "high", "seeds"]
MEANS = ("mean", "position_mean")  # whose errors are the input's deviations, which have a row
DRAWS = 2000  # bootstrap samples of the documents
CHANGES = {"fvu": "FVU", "l0": "L0", "kl": "KL to the model's output"}  # of `summary`: positive, so ratios make sense
EFFECTS = {"fvu": "FVU", "l0": "L0", "gradient_norm_cv": "gradient variation"}


def early_late_forest(
    blocks: pd.DataFrame, looks: Looks, *, ablations: Sequence[str] = (), paper_value: float | None = None
) -> Plot:
    """1 - early/late of the mean squared error (left) and of the FVU (right), by layer and variant.

    Args:
        blocks: the `blocks` table (sums over the tokens of a document and a bucket of positions).
        ablations: those to show, beside the variants that are none.
        paper_value: the paper's number, a dashed line in the left panel.

    Raises:
        FigureError: a table without `sq_error`, or with fewer than two buckets of text positions.
    """
    found = early_late(blocks[~blocks["variant"].isin({*looks.ablations, *MEANS} - set(ablations))])
    early, late, documents = (found.attrs[name] for name in ("early", "late", "documents"))
    panels = {"error": "squared error", "fvu": "fraction of variance unexplained"}
    alone = " (of principal components documents alone)" if found["variant"].str.startswith("pca").any() else ""
    figure = _draw(found, looks, panels, f"1 − early/late, % (positive: lower at {early})", paper_value)
    caption = (
        f"How much lower the squared error (left) and the FVU (right) are at positions {early} than at {late}. Bars "
        f"are 95 % intervals over seeds and {documents} documents{alone}; small dots are the seeds. The cross is the "
        "same difference of the input's squared deviation from its mean: where a dictionary would stand that explained "
        "the same share of the variance everywhere."
    )
    words = f"Forest plot: relative difference between positions {early} and {late}, with 95 % intervals."
    return Plot(figure, "Early against late positions", caption, _alt(found, looks, panels, words))


def variant_changes(summary: pd.DataFrame, looks: Looks) -> Plot:
    """FVU, L0 and KL of each variant relative to the baseline of the same seed, by layer.

    All variants share one L1 coefficient, not one L0: the three panels are read together.

    Args:
        summary: the `summary` table (rows over text positions); ablations are left out.

    Raises:
        FigureError: the table has no rows of the baseline, or no other variant.
    """
    baseline = looks.role("baseline", "variant_changes")
    found = changes(looks.main(summary), "variant_changes", list(CHANGES), baseline)
    panels = {name: label for name, label in CHANGES.items() if name in set(found["quantity"])}
    name = looks.label(baseline)
    figure = _draw(found, looks, panels, f"change relative to {name}, %")
    caption = (
        f"Change of {', '.join(panels.values())} against the {name} dictionary of the same seed, on held-out text. "
        "All variants share one L1 coefficient, not one L0, so the panels are to be read together. Bars are 95 % t "
        "intervals of the paired log ratio over seeds; small dots are the seeds."
    )
    words = f"Forest plot: change of each variant relative to the {name} dictionary, with 95 % intervals."
    return Plot(figure, f"Variants against the {name} dictionary", caption, _alt(found, looks, panels, words))


def ablation_effects(summary: pd.DataFrame, looks: Looks) -> Plot:
    """FVU, L0 and the variation of the gradient norm of each ablation relative to the method of the same seed.

    Args:
        summary: the `summary` table (rows over text positions); a quantity that it lacks has no panel.

    Raises:
        FigureError: the study has no ablations, or the method was not trained beside them.
    """
    method = looks.role("method", "ablation_effects")
    layers = set(summary.loc[summary["variant"].isin(looks.ablations), "layer"])
    if not layers:
        raise FigureError("ablation_effects: the study has no ablations")
    rows = summary[summary["layer"].isin(layers) & (summary["variant"] != "untrained")]
    found = changes(rows, "ablation_effects", list(EFFECTS), method)
    panels = {name: label for name, label in EFFECTS.items() if name in set(found["quantity"])}
    name = looks.label(method)
    figure = _draw(found, looks, panels, f"change relative to {name}, % (logarithmic axes)", ratios=True)
    n = sorted({len(seeds) for seeds in found["seeds"]})
    intervals = (
        f"Bars are 95 % t intervals of the paired log ratio over {' to '.join(map(str, dict.fromkeys((n[0], n[-1]))))} "
        "seeds, cut at the edge of the panel; small dots are the seeds."
    )
    gradient = "; gradient variation is how much the gradient norm changes from step to step"
    caption = (
        f"Change of {', '.join(panels.values())} against {name} of the same seed, trained on the same batches, "
        f"on held-out text{gradient if 'gradient_norm_cv' in panels else ''}. FVU and L0 trade off and are to be read "
        f"together. {intervals if n[-1] > 1 else data.ONE_SEED}"
    )
    words = f"Forest plot: change of each variant relative to {name}, with 95 % intervals."
    return Plot(figure, f"Ablations against {name}", caption, _alt(found, looks, panels, words))


def early_late(blocks: pd.DataFrame) -> pd.DataFrame:
    """Rows of `COLUMNS` for the quantities `error` and `fvu`; `seeds` holds the estimate of each seed.

    Late is the last bucket of positions, early every text bucket before it. Sums are pooled over documents before any
    ratio is taken; intervals follow `lens.measure.stats.interval`, on the log ratio.
    """
    buckets = sorted(set(blocks["bucket"]) - {"0"}, key=lambda name: int(name.split("-")[0]))
    if len(buckets) < 2:
        raise FigureError(f"early_late_forest: two buckets of text positions are needed, the table has {buckets}")
    text = blocks[blocks["bucket"].isin(buckets)]
    text = text.assign(part=np.where(text["bucket"] == buckets[-1], "late", "early"))
    spread = data.pick(text, "early_late_forest", metric="sq_deviation", variant="activations")
    error = data.pick(text, "early_late_forest", metric="sq_error")
    out = []
    for (layer, variant), rows in error.groupby(["layer", "variant"], sort=True):
        total, base = _sums(rows, "value"), _sums(spread[spread["layer"] == layer], "value")
        trained = bool(rows["seed"].min() >= 0)
        out.append((layer, variant, "error", *_difference(total, _sums(rows, "n"), seeds=trained)))
        out.append((layer, variant, "fvu", *_difference(total, np.broadcast_to(base, total.shape), seeds=trained)))
    for layer, rows in spread.groupby("layer", sort=True):
        out.append((layer, "activations", "error", *_difference(_sums(rows, "value"), _sums(rows, "n"), seeds=False)))
    found = pd.DataFrame(out, columns=COLUMNS)
    found.attrs["early"] = f"{buckets[0].split('-')[0]} to {buckets[-2].split('-')[-1]}"
    found.attrs["late"] = buckets[-1].replace("-", " to ")
    found.attrs["documents"] = int(error["block"].nunique())
    return found


def changes(summary: pd.DataFrame, what: str, metrics: list[str], reference: str) -> pd.DataFrame:
    """Rows of `COLUMNS` for the metrics there are: value over that of `reference` of the same layer and seed, minus 1.

    Values that are not positive have no ratio and are left out.
    """
    there = summary[(summary["seed"] >= 0) & (summary["value"] > 0)]
    rows = data.pick(there, what, positions="text", metric=metrics)
    keys = ["layer", "metric", "seed"]
    base = data.pick(rows, what, variant=reference)[[*keys, "value"]]
    pairs = rows[rows["variant"] != reference].merge(base, on=keys, suffixes=("", "_base"))
    if pairs.empty:
        raise FigureError(f"{what}: no variant to compare with {reference}")
    out = []
    for (layer, variant, metric), group in pairs.groupby(["layer", "variant", "metric"], sort=True):
        logs = np.log(group["value"].to_numpy() / group["value_base"].to_numpy())
        found = stats.interval(logs.mean(), stats.seed_component(logs))
        out.append((layer, variant, metric, *np.expm1([found.estimate, found.low, found.high]), np.expm1(logs)))
    return pd.DataFrame(out, columns=COLUMNS)


def _sums(rows: pd.DataFrame, column: str) -> np.ndarray:
    """`[seeds, 2, documents]`: sums of `column` over early and late positions."""
    table = rows.pivot_table(index=["seed", "part"], columns="block", values=column, aggfunc="sum")
    return table.to_numpy(float).reshape(-1, 2, table.shape[1])  # "early" sorts before "late"


def _difference(top: np.ndarray, below: np.ndarray, *, seeds: bool = True) -> tuple:
    """Estimate, low, high and each seed's 1 - early/late of top/below, both `[seeds, 2, documents]`."""
    parts = (top[:, 0], below[:, 0]), (top[:, 1], below[:, 1])
    logs = stats.log_ratio(*parts)
    n = top.shape[2]
    draws = stats.log_ratio(*parts, stats.block_weights(n, DRAWS, np.random.default_rng(0))).mean(axis=1)
    components = [stats.draws_component(draws, n)] + [stats.seed_component(logs)] * seeds
    found = stats.interval(logs.mean(), *components)
    return -np.expm1(found.estimate), -np.expm1(found.high), -np.expm1(found.low), -np.expm1(logs)


def _draw(
    found: pd.DataFrame,
    looks: Looks,
    panels: dict[str, str],
    xlabel: str,
    paper_value: float | None = None,
    *,
    ratios: bool = False,
) -> Figure:
    """One panel per quantity; rows are variants, grouped by layer.

    Args:
        found: `COLUMNS`.
        ratios: a logarithmic axis for each panel, instead of one percent axis for all.
    """
    rows = _rows(found, looks)
    with style.house_style():
        figure = style.new_figure(2.3 + 0.38 * rows[-1][0])
        axes = figure.subplots(1, len(panels), sharey=True, sharex=not ratios, squeeze=False)[0]
        for ax, (quantity, label) in zip(axes, panels.items(), strict=True):
            here = found[found["quantity"] == quantity]
            _panel(ax, here, rows, looks)
            ax.set_title(label)
            if ratios:
                _ratio_axis(ax, here)
        figure.supxlabel(xlabel, fontsize=8)
        left = axes[0]
        if paper_value is not None:
            left.axvline(paper_value, **style.STATED, zorder=1)
            left.annotate(
                f"paper: {100 * paper_value:.3g} %", (paper_value, 1), xycoords=("data", "axes fraction"),
                xytext=(-3, -3), textcoords="offset points", ha="right", va="top", fontsize=7.5,
            )  # fmt: skip
        left.set_yticks([y for y, _, _ in rows], [looks.label(variant) for _, _, variant in rows])
        left.set_ylim(rows[-1][0] + 0.9, -1.45)
        for layer in dict.fromkeys(layer for _, layer, _ in rows):
            top = min(y for y, at, _ in rows if at == layer)
            left.annotate(
                style.layer_name(layer), (0, top - 0.92), xycoords=("axes fraction", "data"), xytext=(-4, 0),
                textcoords="offset points", ha="right", va="center", fontweight="bold", annotation_clip=False,
            )  # fmt: skip
    return figure


def _rows(found: pd.DataFrame, looks: Looks) -> list[tuple[float, str, str]]:
    """(y, layer, variant) from top to bottom, with a gap for the name of each layer."""
    rows, y = [], 0.0
    for layer in style.layers_in_order(found["layer"]):
        for variant in looks.in_order(found.loc[found["layer"] == layer, "variant"]):
            rows.append((y, layer, variant))
            y += 1
        y += 1.15
    return rows


def _panel(ax: Axes, found: pd.DataFrame, rows: list[tuple[float, str, str]], looks: Looks) -> None:
    ax.axvline(0, color="#777777", linewidth=0.8, zorder=1)
    for y, layer, variant in rows:
        match = found[(found["layer"] == layer) & (found["variant"] == variant)]
        if match.empty:
            continue
        row = match.iloc[0]
        marks = looks[variant]
        ax.plot([row["low"], row["high"]], [y, y], color=marks.color, linewidth=1.6, solid_capstyle="butt", zorder=2)
        ax.plot(row["estimate"], y, marker=marks.marker, color=marks.color, markersize=4.6, zorder=4)
        if len(row["seeds"]) > 1:
            ax.plot(row["seeds"], [y + 0.32] * len(row["seeds"]), ".", color=marks.color, markersize=2.4, zorder=3)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.xaxis.set_major_formatter(FuncFormatter(_percent))
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)


def _ratio_axis(ax: Axes, found: pd.DataFrame) -> None:
    """A logarithmic axis of ratios, labelled with the change in percent; at most one span beyond what seeds show."""
    shown = np.log1p(np.concatenate([*found["seeds"], found["estimate"], [0.0]]))
    span = max(np.ptp(shown), 0.02)
    low = max(shown.min() - span, np.nanmin([shown.min(), *np.log1p(found["low"])])) - 0.05 * span
    high = min(shown.max() + span, np.nanmax([shown.max(), *np.log1p(found["high"])])) + 0.05 * span
    ax.set_xscale("function", functions=(lambda x: np.log1p(np.maximum(x, -0.999)), np.expm1))
    ax.set_xlim(*np.expm1([low, high]))
    sides = ([-0.95, -0.9, -0.8, -0.7, -0.6, -0.5, -0.4, -0.3, -0.2, -0.1, -0.05, -0.02, -0.01, -0.005],
             [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 3, 5, 10, 20, 50, 100])  # fmt: skip
    ticks = [0.0]
    for side in (sides[0][::-1], sides[1]):  # outwards from 0, none nearer to the last than a fifth of the axis
        last = 0.0
        for tick in side:
            if abs(np.log1p(tick) - last) > (high - low) / 5 and low <= np.log1p(tick) <= high:
                ticks.append(tick)
                last = np.log1p(tick)
    ax.xaxis.set_major_locator(FixedLocator(sorted(ticks)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(_percent))


def _percent(x: float, _: int) -> str:
    return style.signed(100 * x, "g")


def _alt(found: pd.DataFrame, looks: Looks, panels: dict[str, str], words: str) -> str:
    """`words`, then the numbers of every row."""

    def say(layer: str, variant: str) -> str:
        here = found[(found["layer"] == layer) & (found["variant"] == variant)].set_index("quantity")
        parts = []
        for quantity in (name for name in panels if name in here.index):
            row = here.loc[quantity]
            estimate, low, high = (style.signed(100 * row[name], ".1f") for name in ("estimate", "low", "high"))
            parts.append(f"{panels[quantity]} {estimate} %" + ("" if np.isnan(row["low"]) else f" ({low} to {high})"))
        return "; ".join(parts)

    return looks.told(words, style.layers_in_order(found["layer"]), looks.in_order(found["variant"]), say)
