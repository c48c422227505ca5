"""Operating characteristics: how often a claim's rule would pass if the claim were false, and fail if it were true.

`operating.yaml` says what a claim's quantity would be in either case. Estimates are drawn around these values with the
spread that the study measured (its seeds, documents and layers), get their t intervals, and are judged by the rule as
the study's own are: a claim that is judged at each layer passes where it passes at all of them. What a rule needs, what
is due to the method, and the adjustment for the number of claims come after the rule and are left out; conditions of
one rule are drawn independently of each other.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import t

from lens import files
from paper import verdicts
from paper.evidence.readings import SCALES, Evidence, Reading
from paper.verdicts import ALPHA, Measure, Verdict, judge, judge_conditions, over_layers

TRUTHS = Path(__file__).with_name("operating.yaml")
DRAWS = 400  # a rate of one half is known to 0.05
SEED = 0  # fixed: the same tables always give the same rates


@functools.cache
def truths() -> dict[str, dict]:
    """Claim -> {False: its quantity if it is false, True: if it is true}.

    Raises:
        ConfigError: the file cannot be read.
    """
    return files.read_yaml(TRUTHS, "`git checkout` brings it back")


def of_claim(claim: dict, truth: dict, found: Sequence[Evidence], n_seeds: int) -> dict | None:
    """Rates of the rule's outcomes; None where something that it reads has no interval.

    Args:
        found: what was measured, of each layer that is judged by itself.
        n_seeds: behind the intervals of what conditions read.

    Returns:
        `passes_if_false`, `fails_if_true` and, of what is true too, `open_if_true`: reproduced or partly, inconclusive,
        or anything else; shares of `DRAWS`.
    """
    rates = {}
    for is_true in (False, True):
        rng = np.random.default_rng(SEED)
        by_layer = [_verdicts(claim["rule"], truth[is_true], evidence, n_seeds, rng) for evidence in found]
        if None in by_layer:
            return None
        drawn = zip(*(verdicts_of for verdicts_of in by_layer if verdicts_of is not None), strict=True)
        rates[is_true] = Counter(_outcome(layers) for layers in drawn)
    return {
        "passes_if_false": rates[False]["passes"] / DRAWS,
        "fails_if_true": rates[True]["fails"] / DRAWS,
        "open_if_true": rates[True]["open"] / DRAWS,
    }


def _outcome(layers: Sequence[Verdict]) -> str:
    word = over_layers({str(i): verdict for i, verdict in enumerate(layers)}).word
    return "passes" if word in verdicts.FOUND else "open" if word == verdicts.INCONCLUSIVE else "fails"


def _verdicts(rule: dict, truth, evidence: Evidence, n_seeds: int, rng: np.random.Generator) -> list[Verdict] | None:
    """The rule's verdict on each draw; None where an interval is unknown."""
    if rule["kind"] != "conditions":
        drawn = _of_reading(evidence.readings[0], float(truth), rng)
        return None if drawn is None else [judge(rule, *numbers) for numbers in drawn]
    drawn = {name: _of_measure(evidence.measures[name], float(value), n_seeds, rng) for name, value in truth.items()}
    if None in drawn.values():
        return None
    rows = zip(*(numbers for numbers in drawn.values() if numbers is not None), strict=True)
    return [judge_conditions(rule, dict(zip(drawn, row, strict=True))) for row in rows]


def _of_reading(reading: Reading, value: float, rng: np.random.Generator) -> list[Measure] | None:
    """Draws of a reading, on the scale of its interval."""
    if (found := reading.interval) is None or not np.isfinite(found.se):
        return None
    forward, back = SCALES[reading.scale]
    return [
        Measure(back(a), *sorted((back(b), back(c)))) for a, b, c in _drawn(forward(value), found.se, found.df, rng)
    ]


def _of_measure(m: Measure, value: float, n_seeds: int, rng: np.random.Generator) -> list[Measure] | None:
    """Draws of what a condition reads; a number without sampling is the value itself."""
    if not np.isfinite([m.low, m.high]).all() or n_seeds < 2:
        return None
    se = (m.high - m.low) / 2 / t.ppf(1 - ALPHA / 2, n_seeds - 1)
    return [Measure(*numbers) for numbers in _drawn(value, se, n_seeds - 1, rng)]


def _drawn(value: float, se: float, df: float, rng: np.random.Generator) -> Iterator[tuple[float, float, float]]:
    """Normal estimates around a value, each with the t interval of a standard error that is estimated too."""
    estimates = value + se * rng.standard_normal(DRAWS)
    errors = se * (np.sqrt(rng.chisquare(df, DRAWS) / df) if np.isfinite(df) else np.ones(DRAWS))
    half = errors * t.ppf(1 - ALPHA / 2, df)
    return zip(estimates.tolist(), (estimates - half).tolist(), (estimates + half).tolist(), strict=True)
