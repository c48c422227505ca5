"""The same pipeline on several models: a few readings of every study, side by side.

`results/across_models.csv` is written from the `claims.json` of all studies, is in git, and is what a paper tells of
the other models: a study alone could not, since its pipeline knows only its own results.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from lens import checkout, files
from lens.errors import ConfigError
from lens.study.params import Study
from paper import claims_file

READINGS = {
    "positional": ("C19", "from position 8"),
    "positional_standard": ("C19", "from position 8, standard"),
    "mask_shuffled": ("C20", "mask shuffled"),
    "weights_difficulty": ("C09b", "Pearson"),
    "early_advantage": ("C01", "raw error"),
    "span_shallow": ("C05", "full width at half maximum"),
    "span_middle": ("C06", "full width at half maximum"),
    "span_deep": ("C07", "full width at half maximum"),
}
"""quantity -> claim and the name of one of its readings or controls."""
AGAIN = "`python -m lens readme` writes it anew"
UP = "../../"  # from the pages that show tables to the top of the project
NOT_A_MODEL = "smoke"  # a tiny random model, for tests
COLUMNS = ("study", "model", "layers", "steps", "seeds", "quantity", "estimate", "low", "high")


def path() -> Path:
    """Where the table lies."""
    return checkout.root() / "results" / "across_models.csv"


def collect() -> pd.DataFrame:
    """One row per study that has been judged and quantity of `READINGS`, from the studies' own `claims.json`.

    Raises:
        ConfigError: a `claims.json` is damaged, or of a study whose parameters are not there.
    """
    judged = [p.parent.name for p in sorted((checkout.root() / "results").glob("*/claims.json"))]
    found = [rows(_load(name)) for name in judged if name != NOT_A_MODEL]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=list(COLUMNS))


def _load(name: str) -> Study:
    try:
        return Study.load(name)
    except ConfigError as error:
        advice = f"move results/{name} out of results/, or bring the study's parameters back"
        raise ConfigError(f"results/{name}/claims.json: {error}; {advice}") from None


def rows(study: Study) -> pd.DataFrame:
    """The rows of one study; a quantity that it has not measured, or a claim that it lacks, has no estimate."""
    claims = claims_file.by_id(study)
    facts = (study.name, study.model, ", ".join(map(str, study.main)), study.training.steps, len(study.seeds))
    lines = []
    for quantity, (claim, name) in READINGS.items():
        judged = claims.get(claim, {})
        found = next((r for r in _readings(judged) + _readings(judged.get("before")) if r["name"] == name), {})
        lines.append((*facts, quantity, *(found.get(key) for key in ("estimate", "low", "high"))))
    return pd.DataFrame(lines, columns=list(COLUMNS)).astype({"estimate": float, "low": float, "high": float})


def _readings(judged: dict | None) -> list[dict]:
    """Those of a claim, or of its rule before an amendment, and of its controls."""
    return [r for kind in ("readings", "controls") for r in (judged or {}).get(kind, ())]


def read() -> pd.DataFrame:
    """The table as it was last written; empty where there is none."""
    return files.read_csv(path(), AGAIN, COLUMNS) if path().is_file() else pd.DataFrame(columns=list(COLUMNS))


def markdown(table: pd.DataFrame) -> str:
    """The table with a row per study, in Markdown."""
    head = (
        "study", "model, layers", "steps × seeds", "features that depend on position, from position 8",
        "the same in the standard dictionary", "FVU when masks are moved", "weights and difficulty, r",
        "early advantage", "widths of whole profiles, shallow to deep",
    )  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, own in table.groupby("study", sort=False):
        values, first = own.set_index("quantity"), own.iloc[0]
        cells = [f"[`{name}`]({UP}results/{name}/claims.json)", f"{first['model']}: {first['layers']}"]
        cells += [f"{first['steps']} × {first['seeds']}", _percent(values.loc["positional"])]
        cells += [_percent(values.loc["positional_standard"]), _percent(values.loc["mask_shuffled"])]
        cells += [_interval(values.loc["weights_difficulty"], 1, 2), _percent(values.loc["early_advantage"])]
        cells += [", ".join(_whole(values.loc[f"span_{at}", "estimate"]) for at in ("shallow", "middle", "deep"))]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _whole(x: float) -> str:
    return "n/a" if pd.isna(x) else f"{x:.0f}"


def _percent(row: pd.Series) -> str:
    return _interval(row, 100, 1, " %")


def _interval(row: pd.Series, factor: float, places: int, unit: str = "") -> str:
    if pd.isna(row["estimate"]):
        return "n/a"
    shown = [re.sub(r"^-(?=0(\.0*)?$)", "", f"{factor * row[key]:.{places}f}") for key in ("estimate", "low", "high")]
    return f"{shown[0]}{unit} [{shown[1]}, {shown[2]}]".replace("-", "−")
