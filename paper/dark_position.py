"""The registered questions of the study `dark_position` (`dark_position.yaml`), and what its tables answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from lens.measure.dark_position import estimate
from lens.measure.stats import Interval
from lens.study.params import Study
from paper.registered import CANT_TELL, NOT_YET, Answer, Missing, Questions

YES, NO, CONTROLS_FAIL = "yes", "no", "controls fail"
QUESTIONS = Questions("dark_position", frozenset({"controls"}))
TABLE = "measures"  # what `answers` reads of each layer

Tables = Mapping[str, pd.DataFrame]
"""by layer, the measures that `lens.study.dark_position.dark_position_tables` made"""


def answers(document: dict, found: Tables) -> list[Answer]:
    """What the tables say to each question, in order."""
    said = []
    for claim in document["claims"]:
        try:
            said.append(Answer(claim["id"], *_answer(claim, found)))
        except Missing as error:
            said.append(Answer(claim["id"], NOT_YET, str(error)))
    return said


def _answer(claim: dict, found: Tables) -> tuple[str, str]:
    rule, controls = claim["rule"], claim["controls"]
    parts = {l0: _at(found, claim["layer"], l0) for l0 in claim["l0"]}
    late = {l0: _difference(part, rule["difference"]) for l0, part in parts.items()}
    said = "; ".join(f"L0 {l0:g}: {_text(i)}" for l0, i in late.items())
    for measure in controls.get("zero", {}).get("measures", ()):
        for l0, part in parts.items():
            i, allowed = _difference(part, [measure]), controls["zero"]["allowed"]
            if i.low > allowed or i.high < -allowed:
                return CONTROLS_FAIL, f"{measure} at L0 {l0:g}: {_text(i)}"
    if sum(i.low > 0 for i in late.values()) >= rule["needed"]:
        return YES, said
    if sum(i.high < rule["margin"] for i in late.values()) >= rule["needed"]:
        if positive := controls.get("positive"):
            seen = {l0: _difference(part, positive) for l0, part in parts.items()}
            if not all(i.low > 0 for i in seen.values()):
                told = "; ".join(f"L0 {l0:g}: {_text(i)}" for l0, i in seen.items())
                return CONTROLS_FAIL, f"{' less '.join(positive)}, {told}"
        return NO, said
    return CANT_TELL, said


def _at(found: Tables, layer: object, l0: float) -> pd.DataFrame:
    """Measures of the dictionaries of the model's width."""
    if str(layer) not in found:
        raise Missing(f"no table of layer {layer}")
    table, blind = found[str(layer)], Study.load(QUESTIONS.study).roles.baseline
    here = table[(table["target"] == l0) & (table["variant"] == blind)]
    if here.empty:
        raise Missing(f"no {blind} at layer {layer}, L0 {l0:g}")
    return here


def _difference(part: pd.DataFrame, measures: Sequence[str]) -> Interval:
    """The first measure, less the second if there is one."""
    if lacking := [name for name in measures if name not in set(part["measure"])]:
        raise Missing(f"no {', '.join(lacking)}")
    return estimate(part, lambda m: m[measures[0]] - (m[measures[1]] if len(measures) > 1 else 0))


def _text(i: Interval) -> str:
    return f"{i.estimate:.4f} [{i.low:.4f}, {i.high:.4f}]"
