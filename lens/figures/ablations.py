"""What every ablation changes, against the method itself."""

from __future__ import annotations

import pandas as pd

from lens.figures import style
from lens.figures.forest import alt, changes, draw
from lens.figures.plot import FigureError, Plot

TITLE = "Ablations against TemporalLens"
REFERENCE = "temporallens"
QUANTITIES = {  # of `summary`: positive, so ratios make sense
    "fvu": "FVU",
    "l0": "L0",
    "gradient_norm_cv": "gradient variation",
}


def ablation_effects(summary: pd.DataFrame) -> Plot:
    """FVU, L0 and the variation of the gradient norm of each ablation relative to TemporalLens of the same seed.

    Args:
        summary: the `summary` table (rows over text positions); a quantity that it lacks has no panel.

    Raises:
        FigureError: the study has no ablations, or TemporalLens was not trained beside them.
    """
    known = summary["variant"].isin(style.ABLATIONS)
    if not known.any():
        raise FigureError("ablation_effects: the study has no ablations")
    layers = set(summary.loc[known, "layer"])
    rows = summary[summary["layer"].isin(layers)]
    found = changes(rows[rows["variant"] != "untrained"], "ablation_effects", list(QUANTITIES), REFERENCE)
    panels = {name: label for name, label in QUANTITIES.items() if name in set(found["quantity"])}
    figure = draw(found, panels, "change relative to TemporalLens, % (logarithmic axes)", ratios=True)
    n = sorted({len(seeds) for seeds in found["seeds"]})
    intervals = (
        f"Bars are 95 % t intervals of the paired log ratio over {' to '.join(map(str, dict.fromkeys((n[0], n[-1]))))} "
        "seeds, cut at the edge of the panel; small dots are the seeds."
    )
    gradient = "; gradient variation is how much the gradient norm changes from step to step"
    caption = (
        f"Change of {', '.join(panels.values())} against TemporalLens of the same seed, trained on the same batches, "
        f"on held-out text{gradient if 'gradient_norm_cv' in panels else ''}. FVU and L0 trade off and are to be read "
        f"together. {intervals if n[-1] > 1 else 'One seed, so no interval.'}"
    )
    words = "Forest plot: change of each variant relative to TemporalLens, with 95 % intervals."
    return Plot(figure, TITLE, caption, alt(found, panels, words))
