"""What the overview notebook shows: the study, its claims, and where everything is."""

from __future__ import annotations

import html
from pathlib import Path

import pandas as pd

from lens.study.params import Study
from paper import claims_file, in_short
from paper.in_short import FIGURES, estimate_text


def setting_table(study: Study) -> pd.DataFrame:
    """The knobs that a reader needs to judge the numbers."""
    w = study.windows
    rows = {
        "study": study.name,
        "model": study.model,
        "layers": ", ".join(map(str, study.layers)),
        "training text": f"{study.corpus.train}: {w.train:,} windows of {w.length} positions",
        "held-out text": f"{study.corpus.test}: {w.test:,} windows, {w.fidelity} of them for fidelity",
        "dictionary": f"{study.dictionary.expansion} x the model's width",
        "training": f"{study.training.steps:,} steps, seeds {', '.join(map(str, study.seeds))}",
        "variants": ", ".join(study.variants),
        "ablations": f"{', '.join(study.ablations.variants)} at layer {', '.join(map(str, study.ablations.layers))}"
        if study.ablations.layers
        else "none",
    }
    return pd.DataFrame({"": rows.values()}, index=list(rows))


def answer(study: Study) -> str:
    """The answer in a few sentences, as Markdown."""
    return "\n".join(f"- {sentence}" for sentence in in_short.sentences(claims_file.read(study)))


def claims_table(study: Study) -> str:
    """HTML, a row per claim, measured ones first: the id leads to the notebook, the verdict to the figure behind it."""
    rows = [
        {
            "": _link(c["id"], Path(c["evidence"]["notebook_file"] or "").name),
            "the paper": html.escape(plain(c["quote"])),
            "ours [95 % interval]": html.escape(estimate_text(c)),
            "verdict": _link(c["verdict"], c["evidence"]["figure_file"] and Path(FIGURES).name),
            "due to the method?": html.escape(c["attributable"]),
            "why": f"<small>{html.escape(c['reason'] or '')}</small>",
        }
        for c in sorted(claims_file.read(study)["claims"], key=lambda c: c["status"] != "measured")
    ]
    return pd.DataFrame(rows).to_html(escape=False, border=0, index=False)


def _link(text: str, path: str | None) -> str:
    return f'<a href="{html.escape(path)}">{html.escape(text)}</a>' if path else html.escape(text)


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
