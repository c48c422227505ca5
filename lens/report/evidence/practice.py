"""C31, C32: does a t test over sequences say the same as an interval over seeds and texts, and is the code there?"""

from __future__ import annotations

import pandas as pd

from lens.config import ROOT
from lens.measure.stats import interval, seed_component
from lens.measure.verdicts import ALPHA
from lens.report.evidence.measured import Measured, Missing
from lens.report.evidence.readings import Evidence, exact, measure, truth


def t_tests(data: Measured) -> Evidence:
    """C31: of the comparisons that a paired t test over windows calls significant, the share that an interval over
    training seeds keeps.

    A comparison is a variant against the standard one, or early against late positions of one variant, at one layer.
    The t test over windows is that of the first seed: what a single run would have reported.
    """
    table = data.table("tests")
    outcomes = [_outcome(rows) for _, rows in table.groupby(["layer", "variant", "comparison"]) if len(rows) > 1]
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


def _outcome(rows: pd.DataFrame) -> tuple[bool, bool]:
    """Of one comparison, a row per seed: is it significant over the first seed's windows, and over seeds?"""
    rows = rows.sort_values("seed")
    over = interval(rows["value"].mean(), seed_component(rows["value"].to_numpy()))
    return bool(rows["p"].iloc[0] < ALPHA), over.low > 0 or over.high < 0


def package(data: Measured) -> Evidence:
    """C32: is there a package with tests and figures? Whether the tests pass is for `make test` to say."""
    tests, figures = (len(list(ROOT.glob(there))) for there in ("tests/**/test_*.py", "lens/report/figures/*.py"))
    return Evidence(
        (exact("files of tests", tests), exact("modules of figures", figures)),
        measures={"tests_there": truth(tests > 0), "figures_there": truth(figures > 0)},
    )
