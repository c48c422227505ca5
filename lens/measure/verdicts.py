"""The verdict on each feature's tuning to position, from what the tests said; names and rule stand here alone.

A feature is specialised if it changes with the position when the text is the same, and if position still tells when it
fires once the drive of the others is known, and tells no trifle. That others make most of its profile, too, does not
speak against it: a tuned feature may well receive cross-talk. The ledger names the source of what is not specialised.
Significance alone would not do: with enough text any trace of position that reaches a feature through the error of the
dictionary, which no drive accounts for, is significant.
"""

from __future__ import annotations

import numpy as np

HALF = 0.5  # share above which something is said to come from one source
MATERIAL = 0.01  # nats per firing: what position tells of a feature whose rate is a quarter lower on half of the window
SPECIALISED = "specialised"
BY_TERM = "by its term"
INHERITS = "inherits"
UNCLEAR = "position, source unclear"
CONTENT = "content at the window's start"
UNTOLD = "content or position, can't be told"
NONE = "no evidence"
RARE = "too few firings"
VERDICTS = (SPECIALISED, BY_TERM, INHERITS, UNCLEAR, CONTENT, UNTOLD, NONE, RARE)


def verdicts(
    eligible_K: np.ndarray,
    positional_K: np.ndarray,
    moved_K: np.ndarray,
    excluded_K: np.ndarray,
    alone_K: np.ndarray | None = None,
    least_gain_K: np.ndarray | None = None,
    code_share: dict[str, np.ndarray] | None = None,
) -> np.ndarray:
    """One of `VERDICTS` for each feature [K].

    Args:
        eligible_K: enough firings for a test.
        positional_K: the test that permutes positions within windows finds the feature.
        moved_K: it changes with the position when the text is held fixed.
        excluded_K: with the text held fixed, position makes less than half of what the first test saw.
        alone_K: position tells when it fires once the drive of others is known, found by a false discovery rate; None
            where this can't be asked, since the code is no linear score of the input.
        least_gain_K: how much it tells less one standard error, nats per firing (`lens.measure.conditional`); as above.
        code_share: part -> [K] share of the tuning of the code (`lens.measure.ledger.Ledger.code`); as above.
    """
    verdict = np.full(len(eligible_K), NONE, object)
    verdict[positional_K] = UNTOLD
    verdict[positional_K & excluded_K] = CONTENT
    verdict[moved_K] = UNCLEAR
    if alone_K is not None and least_gain_K is not None and code_share is not None:
        verdict[moved_K & (code_share["others"] > HALF)] = INHERITS
        verdict[moved_K & alone_K & (least_gain_K >= MATERIAL)] = SPECIALISED
        verdict[moved_K & (code_share["term"] > HALF)] = BY_TERM
    verdict[~eligible_K] = RARE
    return verdict
