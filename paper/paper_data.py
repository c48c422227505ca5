"""What the paper is made of: every number and word that `paper/paper.typ` asks for, as one nested value."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import pandas as pd

from lens.errors import ConfigError
from lens.measure import stats
from lens.measure.position_information import ALPHA
from lens.measure.spans import WIDTH_FIRINGS, WIDTHS
from lens.study import tables
from lens.study.params import Study
from paper import across, claims_file
from paper.calibration_tables import FREE, LAYERS, SHIFTED, read_table
from paper.claims import PAPER_MODEL, scope
from paper.gallery import looks_of

ABOUT = "full"  # the study that the paper is about
REFERENCES = ("pca_l0", "pca_64", "position_mean")  # what dictionaries have to beat, see `lens.profiling.references`
SETTINGS = ("tau_start", "tau_end", "l1_coef")  # of the method's architecture and position term


class PaperError(ConfigError):
    """The paper cannot be built: a number or figure is missing, or a sentence no longer true; the message names it."""


@dataclass(frozen=True)
class ModelFacts:
    """What the paper says of a language model: its name, how its weights were obtained, and its depth."""

    name: str
    weights: str = ""
    blocks: int = 0
    positions: str = "inferred"  # learned: a vector for each position is added to the input


MODELS = {
    "gemma-3-270m": ModelFacts("Gemma-3-270M", "4-bit weights (Q4_K_M), dequantised to bfloat16", 18),
    "smollm2-135m": ModelFacts("SmolLM2-135M-Instruct"),
    "all-minilm-l6-v2": ModelFacts("all-MiniLM-L6-v2", positions="learned"),
    PAPER_MODEL: ModelFacts("Gemma-2-2B"),
}


def contents(about: Study, beside: Study | None = None) -> dict:
    """Everything `paper.typ` may ask for but the words of figures.

    Args:
        about: the study that the paper is about; its tables and claims.json are read.
        beside: another one, whose claims an appendix sets beside the first's.

    Raises:
        ConfigError: claims are missing, damaged or of another study.
    """
    return _finite(
        {
            "study": _study(about),
            "recipe": asdict(_recipe(about)) | {name: _recipe(about).setting(name) for name in SETTINGS},
            "claims": claims_file.by_id(about),
            "summary": _summary(about),
            "calibration": _calibration(about),
            "splice": _splice(about),
            "across": _across(about),
            "stretches": _stretches(about),
            "beside": beside and {"study": beside.name, "scope": scope(beside), "claims": claims_file.by_id(beside)},
        }
    )


def _study(study: Study) -> dict:
    facts, recipe, windows = MODELS[study.model], _recipe(study), study.windows
    controls = [layer for layer in study.layers if layer not in study.main]
    ablations, control_seeds = study.ablations, len(study.control_seeds or study.seeds)
    per_layer = len(study.main) * len(study.seeds) + len(controls) * control_seeds
    looks = looks_of(study)
    return {
        "name": study.name,
        "model": asdict(facts),
        "stand_in": study.model != PAPER_MODEL,
        "layers": [{"name": str(layer), "depth": (int(layer) + 1) / facts.blocks} for layer in study.main],
        "controls": list(map(str, controls)),
        "control_seeds": control_seeds,
        "ablation_seeds": len(study.ablation_seeds),
        "labels": {v: looks.label(v) for v in (*study.variants, *ablations.variants, *REFERENCES)},
        "references": list(REFERENCES),
        "corpus": asdict(study.corpus),
        "windows": asdict(windows) | {"text": windows.length - 1, "early": windows.length // 4},
        "steps": study.training.steps,
        "batch_tokens": recipe.batch_windows * (windows.length - (not recipe.include_bos)),
        "literal_steps": study.train_recipe("literal").steps,
        "reach": recipe.steps * recipe.lr,
        "reach_in_spreads": recipe.steps * recipe.lr * math.sqrt(windows.length),
        "sharp_logit": math.log(0.95 / 0.05) * cast(float, recipe.setting("tau_end")),
        "passes": study.training.steps * recipe.batch_windows / windows.train,
        "variants": list(study.variants),
        "ablations": {"layers": list(map(str, ablations.layers)), "variants": list(ablations.variants)},
        "seeds": len(study.seeds),
        "runs": len(study.variants) * per_layer
        + len(ablations.layers) * len(ablations.variants) * len(study.ablation_seeds),
    }


def _recipe(study: Study):
    """The recipe of the method's runs."""
    if study.roles.method is None:
        raise PaperError(f"study {study.name!r} says under `roles` of no variant that it is the method")
    return study.train_recipe(study.roles.method)


def _summary(study: Study) -> dict:
    """layer -> variant -> metric -> {mean, low, high}: text positions, 95 % t intervals over seeds."""
    table = tables.read(study, "summary")
    table = table[table["positions"] == "text"]
    out: dict = {}
    for (layer, variant, metric), values in table.groupby(["layer", "variant", "metric"])["value"]:
        found = stats.interval(values.mean(), stats.seed_component(values.to_numpy()))
        numbers = {"mean": found.estimate, "low": found.low, "high": found.high}
        out.setdefault(layer, {}).setdefault(variant, {})[metric] = numbers
    return out


def _calibration(study: Study) -> dict:
    """What the same code finds where the truth is planted; rates are shares, widths positions."""
    table = read_table(study, "error_rates")
    test = {
        null: table.loc[table["test"].str.startswith(f"position test by {null}"), "rate"].max()
        for null in (SHIFTED, FREE)
    }
    return {
        "nominal": ALPHA,
        "error_rates": json.loads(table.to_json(orient="records")),
        "flat_called_positional": {"shifts": test[SHIFTED], "free": test[FREE]},
        "lowest_power": _lowest_power(read_table(study, "position_test")),
        "widths": _widths(read_table(study, "estimators")),
        "trend": _trend_power(read_table(study, "trend_power"), len(study.control_seeds or study.seeds)),
        "training": _found(read_table(study, "training")),
    }


def _lowest_power(table: pd.DataFrame) -> float:
    """Smallest share of planted windows that pass the position test."""
    return float(table.loc[(table["metric"] == "share_fdr") & _windowed(table), "value"].min())


def _windowed(table: pd.DataFrame) -> pd.Series:
    """Which rows are of features planted with a window of one width; the others are flat, or mixtures."""
    return pd.to_numeric(table["width"], errors="coerce").notna()


def _widths(table: pd.DataFrame) -> list[dict]:
    """Planted width and mean measured width of features that fired often enough for one, at the worst persistence."""
    enough = table["firings_low"].astype(float) >= WIDTH_FIRINGS
    rows = table[(table["estimator"] == "fwhm") & enough & _windowed(table)]
    means = rows.assign(total=rows["mean"] * rows["n"]).groupby(["width", "persistence"])[["total", "n"]].sum()
    measured = (means["total"] / means["n"]).unstack()
    worst = {width: row.iloc[(row - float(width)).abs().argmax()] for width, row in measured.iterrows()}
    return [{"planted": int(w), "measured": float(m)} for w, m in sorted(worst.items(), key=lambda it: float(it[0]))]


def _trend_power(table: pd.DataFrame, n_seeds: int) -> list[dict]:
    """How often a widening from the first to the last of six layers is found, the least favourable row of each size."""
    rows = table[(table["layers"] == max(LAYERS)) & (table["seeds"] <= max(n_seeds, table["seeds"].min()))]
    rows = rows[rows["seeds"] == rows["seeds"].max()]
    worst = rows.groupby(["width_first", "width_last"])["rate"].min()
    seeds = int(rows["seeds"].max())
    worst = worst[[first != last for first, last in worst.index]]
    return [{"first": int(a), "last": int(b), "rate": float(rate), "seeds": seeds} for (a, b), rate in worst.items()]


def _found(table: pd.DataFrame) -> list[dict]:
    """By number of steps, what dictionaries trained on planted truth make of it; means over seeds, null where no
    dictionary found a planted feature. `found` counts decoder directions; masks, widths and tests are of those."""
    wide = table.pivot_table(index="steps", columns=["variant", "metric"], values="value")

    def value(steps: int, variant: str, metric: str) -> float:
        return float(wide[variant, metric].get(steps, math.nan)) if (variant, metric) in wide else math.nan

    own = {
        "found": "recovered_windowed", "masks": "mask_correlation", "flat_positional": "positional_flat",
        "width_error": "fwhm_error", "l0_ratio": "l0_ratio",
    }  # fmt: skip
    return [
        {
            "steps": int(steps),
            **{name: value(steps, "temporallens", metric) for name, metric in own.items()},
            "found_standard": value(steps, "standard", "recovered_windowed"),
            "width_error_standard": value(steps, "standard", "fwhm_error"),
            "masks_control": value(steps, "shuffled_positions", "mask_correlation"),
            "runs": [
                {"planted": width, "measured": value(steps, "temporallens", f"mask_run_{width}")} for width in WIDTHS
            ],
        }
        for steps in wide.index
    ]


def _splice(study: Study) -> dict:
    """layer -> `own`, the share of the added loss that falls on the replaced stretch itself, the rest falling on later
    ones, and `first`, the added loss per token of the first stretch where that is replaced (nats).

    Summed over tokens without sign, so that gains do not cancel losses; the last stretch, after which there is nothing,
    is left out. `temporallens`.
    """
    table = tables.read(study, "splice")
    table = table[table["variant"] == "temporallens"]
    begin, end = (table["bucket"].str.split("-").str[i].astype(int) for i in (0, -1))
    starts = table["replaced"].str.split("-").str[0].astype(int)
    table = table.assign(size=table["value"].abs() * (end - begin + 1), own=table["replaced"] == table["bucket"])
    first = table[(starts == starts.min()) & table["own"]].groupby("layer")["value"].mean()
    table = table[starts < starts.max()]
    own = table[table["own"]].groupby("layer")["size"].sum() / table.groupby("layer")["size"].sum()
    return {layer: {"own": own[layer], "first": first[layer]} for layer in first.index}


def _stretches(study: Study) -> list[dict]:
    """Of each main layer's positional features (`temporallens`, first seed): the share whose stretch at half maximum
    (`lens.measure.spans.fwhm`) reaches an end of the window, `at_end`, and the median width of the others, `interior`;
    empty if a layer has no such features."""
    table, found = tables.read(study, "profiles"), []
    table = table[(table["variant"] == "temporallens") & (table["seed"] == min(study.seeds))]
    for layer in map(str, study.main):
        a_KP = table[table["layer"] == layer].filter(regex=r"^p\d+$").dropna(axis=1).to_numpy()
        if not len(a_KP):
            return []
        t, peaks = np.arange(a_KP.shape[1]), a_KP.argmax(1)[:, None]
        below = a_KP < (a_KP.max(1) + a_KP.min(1))[:, None] / 2
        left, right = np.where(below & (t < peaks), t, -1).max(1), np.where(below & (t > peaks), t, len(t)).min(1)
        at_end = (left < 0) | (right == len(t))
        interior = float(np.median((right - left - 1)[~at_end])) if not at_end.all() else math.nan
        found.append({"layer": layer, "at_end": float(at_end.mean()), "interior": interior})
    return found


def _across(study: Study) -> list[dict]:
    """This study and, after it, every other one: model, size and the readings of `across.READINGS`."""
    others = across.read()
    table = pd.concat([across.rows(study), others[others["study"] != study.name]])
    out = []
    for name, rows in table.groupby("study", sort=False):
        model = rows["model"].iloc[0]
        known = MODELS.get(model.removeprefix("random:"), ModelFacts(model))
        head = {"study": name, "model": known.name, "random": model.startswith("random:"), "positions": known.positions}
        size = {key: str(rows[key].iloc[0]) for key in ("layers", "steps", "seeds")}
        readings = rows.set_index("quantity")[["estimate", "low", "high"]].to_dict("index")
        out.append({**head, **size, "readings": readings})
    return out


def _finite(value: Any) -> Any:
    """The same nested value with null for every number that is not one: JSON has no NaN, and the paper prints n/a."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
