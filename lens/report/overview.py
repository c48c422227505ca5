"""What the overview notebook shows: the study, its claims, and where everything is."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from lens.config import Study
from lens.report.readme import estimate_text


def setting_table(study: Study) -> pd.DataFrame:
    """The knobs that a reader needs to judge the numbers."""
    w = study.windows
    rows = {
        "study": study.name,
        "model": study.model,
        "layers": ", ".join(map(str, study.layers)),
        "training text": f"{study.corpus.train}: {w.train:,} windows of {w.length} positions",
        "held-out text": f"{study.corpus.test}: {w.test:,} windows, {w.fidelity} of them for fidelity",
        "dictionary": f"preset {study.dictionary.preset}, {study.dictionary.expansion} x the model's width",
        "training": f"{study.training.steps:,} steps, seeds {', '.join(map(str, study.seeds))}",
        "variants": ", ".join(study.variants),
        "ablations": f"{', '.join(study.ablations.variants)} at layer {', '.join(map(str, study.ablations.layers))}"
        if study.ablations.layers
        else "none",
    }
    return pd.DataFrame({"": rows.values()}, index=list(rows))


def claims_table(study: Study) -> pd.DataFrame:
    """One row per claim, measured ones first; `notebook` and `figure` are paths as seen from the overview."""
    claims = json.loads((study.results / "claims.json").read_text(encoding="utf-8"))["claims"]
    rows = [
        {
            "id": c["id"],
            "the paper": plain(c["quote"]),
            "ours": estimate_text(c),
            "verdict": c["verdict"],
            "attributable": c["attributable"],
            "why": c["reason"] or "",
            "notebook": Path(c["evidence"]["notebook_file"] or "").name,
            "figure": f"../{c['evidence']['figure_file']}" if c["evidence"]["figure_file"] else "",
        }
        for c in sorted(claims, key=lambda c: c["status"] != "measured")
    ]
    return pd.DataFrame(rows).set_index("id")


def plain(quote: str) -> str:
    """A quotation without the marks of LaTeX."""
    symbols = {"\\tau_0": "τ₀", "\\tau": "τ", "$": ""}
    for mark, symbol in symbols.items():
        quote = quote.replace(mark, symbol)
    return quote


def contents(study: Study) -> pd.DataFrame:
    """The notebooks of the study in order, with the question that each answers."""
    layers, ablated = ", ".join(map(str, study.layers)), ", ".join(map(str, study.ablations.layers))
    rows = [
        ("01_extract", "What does the model hold at each position?", "once"),
        ("02_train", "Do masks and weights learn what the paper says they learn?", f"layer {layers}"),
        (
            "03_ablations",
            "What does each part of the method do?",
            f"layer {ablated}" if ablated else "not in this study",
        ),
        ("04_analysis", "How well is held-out text rebuilt, position by position?", f"layer {layers}"),
        ("05_figures", "Every figure of the paper", "once"),
        ("07_calibration", "What would the estimators and tests have seen, had it been there?", "once"),
    ]
    return pd.DataFrame(rows, columns=["notebook", "question", "runs"]).set_index("notebook")
