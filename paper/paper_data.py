"""What the paper of a study is made of: every number and word that `paper/paper.typ` asks for, as one nested value."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from lens.measure import stats
from lens.measure.spans import WIDTH_FIRINGS
from lens.study import tables
from lens.study.params import Study
from lens.training.recipe import recipe as recipe_of
from paper import across, calibration
from paper.gallery import looks_of

PAPER_MODEL = "google/gemma-2-2b"


class PaperError(RuntimeError):
    """The paper cannot be built from what the study holds; the message names the missing key, table or figure."""


@dataclass(frozen=True)
class ModelFacts:
    """What the paper says of a language model: its name, how its weights were obtained, depth and width."""

    name: str
    weights: str = ""
    blocks: int | None = None
    width: int | None = None
    positions: str = "inferred"  # learned: a vector for each position is added to the input


MODELS = {
    "gemma-3-270m": ModelFacts("Gemma-3-270M", "4-bit weights (Q4_K_M), dequantised to bfloat16", 18, 640),
    "smollm2-135m": ModelFacts("SmolLM2-135M-Instruct", "4-bit weights (Q4_1), dequantised to bfloat16", 30, 576),
    "all-minilm-l6-v2": ModelFacts("all-MiniLM-L6-v2", "", 6, 384, "learned"),
    PAPER_MODEL: ModelFacts("Gemma-2-2B", "", 26, 2304),
}


def contents(study: Study) -> dict:
    """Everything `paper.typ` may ask for: study, recipe, claims, tables reduced to means and intervals, compute.

    Raises:
        PaperError: claims, figures or run records are missing, or belong to another study.
    """
    claims = _json(study, "claims.json")
    if (claims["study"], claims["model"]) != (study.name, study.model):
        raise PaperError(
            f"results/{study.name}/claims.json is of study {claims['study']!r} on {claims['model']!r}, not of "
            f"{study.name!r} on {study.model!r}; run the pipeline again"
        )
    return _finite(
        {
            "study": _study(study),
            "recipe": asdict(_recipe(study)),
            "claims": {claim["id"]: claim for claim in claims["claims"]},
            "summary": _summary(study),
            "figures": _figures(study),
            "compute": _compute(study),
            "calibration": _calibration(study),
            "splice": _splice(study),
            "across": _across(study),
            "stretches": _stretches(study),
        }
    )


def _study(study: Study) -> dict:
    facts = MODELS.get(study.model, ModelFacts(study.model))
    layers = [
        {"name": str(x), "depth": (x + 1) / facts.blocks if facts.blocks and isinstance(x, int) else None}
        for x in study.layers
    ]
    main = [entry for entry, layer in zip(layers, study.layers, strict=True) if layer in study.main]
    controls = [entry for entry, layer in zip(layers, study.layers, strict=True) if layer not in study.main]
    recipe = _recipe(study)
    length, windows = study.windows.length, study.windows
    return {
        "name": study.name,
        "model": asdict(facts),
        "stand_in": study.model != PAPER_MODEL,
        "random": study.model.startswith("random:"),
        "layers": main,
        "main": main,
        "controls": controls,
        "control_seeds": len(study.control_seeds or study.seeds),
        "ablation_seeds": len(study.ablation_seeds),
        "labels": {v: looks_of(study).label(v) for v in (*study.variants, *study.ablations.variants)},
        "corpus": asdict(study.corpus),
        "windows": asdict(windows) | {"text": length - 1, "early": length // 4},
        "expansion": study.dictionary.expansion,
        "steps": study.training.steps,
        "batch_tokens": recipe.batch_windows * (length - (not recipe.include_bos)),
        "literal_steps": recipe_of("literal", study.recipes, study.training.steps).steps,
        "reach": recipe.steps * recipe.lr,
        "reach_in_spreads": recipe.steps * recipe.lr * math.sqrt(length),
        "sharp_logit": math.log(0.95 / 0.05) * recipe.setting("tau_end"),
        "passes": study.training.steps * recipe.batch_windows / windows.train,
        "variants": list(study.variants),
        "ablations": {"layers": list(map(str, study.ablations.layers)), "variants": list(study.ablations.variants)},
        "seeds": len(study.seeds),
        "fidelity": windows.fidelity > 0,
    }


def _recipe(study: Study):
    """The recipe of the `temporallens` runs."""
    return study.train_recipe("temporallens")


def _summary(study: Study) -> dict:
    """layer -> variant -> metric -> {mean, low, high}: text positions, 95 % t intervals over seeds."""
    table = tables.read(study, "summary")
    table = table[table["positions"] == "text"]
    out: dict = {}
    for (layer, variant, metric), rows in table.groupby(["layer", "variant", "metric"]):
        found = stats.interval(rows["value"].mean(), stats.seed_component(rows["value"].to_numpy()))
        numbers = {"mean": found.estimate, "low": found.low, "high": found.high}
        out.setdefault(layer, {}).setdefault(variant, {})[metric] = numbers
    return out


def _calibration(study: Study) -> dict:
    """What the same code finds where the truth is planted; rates are shares, widths positions."""
    table = calibration.read_table(study, "error_rates")
    test = {
        null: table.loc[table["test"].str.startswith(f"position test by {null}"), "rate"].max()
        for null in (calibration.SHIFTED, calibration.FREE)
    }
    return {
        "nominal": calibration.ALPHA,
        "error_rates": json.loads(table.to_json(orient="records")),
        "flat_called_positional": {"shifts": test[calibration.SHIFTED], "free": test[calibration.FREE]},
        "lowest_power": _lowest_power(calibration.read_table(study, "position_test")),
        "widths": _widths(calibration.read_table(study, "estimators")),
        "trend": _trend_power(calibration.read_table(study, "trend_power"), len(study.control_seeds or study.seeds)),
        "training": _found(calibration.read_table(study, "training")),
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
    rows = table[(table["layers"] == max(calibration.LAYERS)) & (table["seeds"] <= max(n_seeds, table["seeds"].min()))]
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
                {"planted": width, "measured": value(steps, "temporallens", f"mask_run_{width}")}
                for width in calibration.WIDTHS
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
    if not study.windows.fidelity:
        return {}
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


def _figures(study: Study) -> dict:
    """name -> title, caption and alt text of every figure of the study."""
    found = sorted((study.results / "figures").glob("*.json"))
    if not found:
        raise PaperError(f"results/{study.name}/figures holds no figure; run the figures stage of the study first")
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in found}


def _compute(study: Study) -> dict:
    """Wall time and peak memory over the notebook stages of the study, and the hosts they ran on."""
    records = [json.loads(p.read_text(encoding="utf-8")) for p in sorted((study.results / "runs").glob("*.json"))]
    if not records:
        raise PaperError(f"results/{study.name}/runs holds no run record; run the pipeline of the study first")
    hosts = {record["gpu"] or f"{record['cpus']} CPU cores ({record['machine']})" for record in records}
    return {
        "stages": len(records),
        "minutes": sum(record["wall_seconds"] for record in records) / 60,
        "peak_gib": max(record["peak_memory_mib"] for record in records) / 1024,
        "hosts": sorted(hosts),
        "versions": {key: value for record in records for key, value in record["versions"].items()},
    }


def _json(study: Study, name: str) -> dict:
    path = study.results / name
    if not path.is_file():
        raise PaperError(f"results/{study.name}/{name} is missing; run the pipeline of study {study.name!r} first")
    return json.loads(path.read_text(encoding="utf-8"))


def _finite(value):
    """The same nested value with null for every number that is not one: JSON has no NaN, and the paper prints n/a."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
