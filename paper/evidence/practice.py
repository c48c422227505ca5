"""C31, C32: does a t test over sequences say the same as an interval over seeds and texts, and does the code work?"""

from __future__ import annotations

import dataclasses

import pandas as pd

from paper.evidence.compare import beyond, truth
from paper.evidence.early_late import against, early_against_late
from paper.evidence.measured import Measured, Missing
from paper.evidence.readings import Evidence, exact, measure
from paper.verdicts import ALPHA

EARLY_LATE = "early against late"  # as the table `tests` names it; the other comparison is with the standard dictionary


def t_tests(data: Measured) -> Evidence:
    """C31: of the comparisons that a paired t test over windows calls significant, the share that an interval over
    training seeds and documents keeps.

    A comparison is a variant against the standard one, or early against late positions of one variant, at one layer.
    The t test over windows is that of the first seed: what a single run would have reported.
    """
    comparisons = data.table("tests").groupby(["layer", "variant", "comparison"])
    outcomes = [_outcome(data, *map(str, key), rows=rows) for key, rows in comparisons if len(rows) > 1]
    if not outcomes:
        raise Missing("one training seed: no interval to compare the t tests with")
    n, significant, kept = len(outcomes), sum(a for a, _ in outcomes), sum(a and b for a, b in outcomes)
    if not significant:
        raise Missing(f"none of {n} comparisons is significant over windows")
    share = exact("share that stays significant over seeds", kept / significant, f"{kept} of {significant} comparisons")
    return Evidence(
        (share, exact("share significant over windows", significant / n, f"{significant} of {n} comparisons")),
        measures={"share_that_stays": measure(share)},
    )


def _outcome(data: Measured, layer: str, variant: str, comparison: str, rows: pd.DataFrame) -> tuple[bool, bool]:
    """Of one comparison, a row per seed: is it significant over the first seed's windows, and over seeds and documents?

    Raises:
        Missing: the errors of one of these runs are not there, or text is not replicated.
    """
    rows = rows.sort_values("seed")
    here = dataclasses.replace(data.at(layer), seeds=tuple(rows["seed"]))
    pair = early_against_late(here, variant) if comparison == EARLY_LATE else against(here, variant, "standard")
    return bool(rows["p"].iloc[0] < ALPHA), bool(beyond(pair, 0.0))


def package(data: Measured) -> Evidence:
    """C32: does the package work where it is installed, outside the checkout: built, imported, fitted, profiled?"""
    steps = {"wheel": "wheel_builds", "imports": "imports", "fit": "fits", "profile": "profiles"}
    done = data.benchmark("install", made="python -m benchmarks.install")
    works = [step for step in steps if done[step]]
    return Evidence(
        (exact("steps that work where it is installed", len(works), f"{', '.join(works) or 'none'} of {len(steps)}"),),
        measures={name: truth(step in works) for step, name in steps.items()},
    )
