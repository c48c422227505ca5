"""The registered questions of the study `headroom` (`headroom.yaml`), and what its tables answer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lens.measure.headroom import added, estimates, share_of
from lens.measure.stats import Interval, holm
from paper.registered import CANT_TELL, NOT_YET, Answer, Missing, Questions

USABLE, NONE, CONTROLS_FAIL = "usable", "none", "controls fail"
FOUND, NOT_FOUND = "found", "not found"
HELPS, LITTLE, NO_GAIN = "helps", "gains less than the share asked for", "no gain found"
QUESTIONS = Questions(
    "headroom", frozenset({"kind", "arm", "controls"}), {"layer": set(), "arms": {"arms"}, "planted": {"planted"}}
)
TABLE = "errors"  # what `answers` reads of each layer

Tables = Mapping[str, pd.DataFrame]
"""by layer, the errors that `lens.study.headroom.headroom_tables` made"""


def answers(document: dict, found: Tables) -> list[Answer]:
    """What the tables say to each question, in order."""
    judged = {"layer": _of_layer, "arms": _of_arms, "planted": _of_planted}
    said = []
    for claim in document["claims"]:
        try:
            said.append(Answer(claim["id"], *judged[claim["kind"]](_Errors(document, found), claim)))
        except Missing as error:
            said.append(Answer(claim["id"], NOT_YET, str(error)))
    return said


class _Errors:
    """Estimates at late positions, from errors of the layers that there are."""

    def __init__(self, document: dict, found: Tables):
        self.blind, self.twins, self.found = document["blind"], document["twins"], found

    def late(self, layer: object, l0: float, arm: str, value: str = "headroom") -> Interval:
        """H of an arm, or its `gain` or `twin_gain`."""
        return _late(estimates(self.of(layer, l0, (arm,)), self.blind, self.only(arm), value), arm)

    def rise(self, layer: object, l0: float, arm: str, planted: str) -> Interval:
        """How much larger H is where something was planted."""
        now, before = (self.of(layer, l0, (arm,), name) for name in (planted, ""))
        return _late(added(now, before, self.blind, self.only(arm)), arm)

    def share(self, layer: object, l0: float, arm: str, oracle: str) -> Interval:
        """Of the oracle's headroom."""
        return _late(share_of(self.of(layer, l0, (arm, oracle)), self.blind, self.only(arm, oracle), oracle), arm)

    def only(self, *arms: str) -> dict[str, str]:
        return {arm: self.twins[arm] for arm in arms}

    def of(self, layer: object, l0: float, arms: tuple[str, ...], planted: str = "") -> pd.DataFrame:
        if str(layer) not in self.found:
            raise Missing(f"no table of layer {layer}")
        table, wanted = self.found[str(layer)], {self.blind, *arms, *self.only(*arms).values()}
        here = table[(table["planted"] == planted) & (table["target"] == l0) & table["variant"].isin(wanted)]
        if lacking := sorted(wanted - set(here["variant"])):
            where = f"layer {layer}, L0 {l0:g}" + (f", {planted} planted" if planted else "")
            raise Missing(f"no {', '.join(lacking)} at {where}")
        return here


def _late(found: pd.DataFrame, arm: str) -> Interval:
    row = found[(found["where"] == "late") & (found["variant"] == arm)].iloc[0]
    return Interval(*(float(row[name]) for name in Interval._fields))


def _of_layer(errors: _Errors, claim: dict) -> tuple[str, str]:
    arm, layer, margin, needed = claim["arm"], claim["layer"], claim["rule"]["margin"], claim["rule"]["needed"]
    late = {l0: errors.late(layer, l0, arm) for l0 in claim["l0"]}
    gains, twins = ({l0: errors.late(layer, l0, arm, value) for l0 in late} for value in ("gain", "twin_gain"))
    said = "; ".join(f"L0 {l0:g}: {_percent(i)}" for l0, i in late.items())
    if why := _embedding_fails(errors, claim):
        return CONTROLS_FAIL, why
    if sum(i.low > margin for i in twins.values()) >= needed:
        return CONTROLS_FAIL, "with permuted positions: " + "; ".join(_percent(i) for i in twins.values())
    if sum(i.low > margin and gains[l0].low > 0 for l0, i in late.items()) >= needed:
        return USABLE, said
    if sum(i.high < margin for i in late.values()) >= needed:
        control = claim["controls"]["planted"]
        rise = errors.rise(control["layer"], control["l0"], arm, control["name"])
        what = f"; {control['name']} planted: {_percent(rise)}"
        return (NONE if rise.low > 0 else CANT_TELL), said + what
    return CANT_TELL, said


def _of_arms(errors: _Errors, claim: dict) -> tuple[str, str]:
    """An outcome for each arm; p values of all arms and the oracle are adjusted together (Holm)."""
    [l0], oracle, layer = claim["l0"], claim["arm"], claim["layer"]
    late = {arm: errors.late(layer, l0, arm) for arm in (oracle, *claim["arms"])}
    if why := _embedding_fails(errors, claim):
        return CONTROLS_FAIL, why
    adjusted = dict(zip(late, holm(np.array([i.p_value() for i in late.values()])), strict=True))
    gains = {arm: i.estimate > 0 and adjusted[arm] <= claim["rule"]["alpha"] for arm, i in late.items()}
    if not gains[oracle]:
        return CANT_TELL, f"the oracle has no headroom for certain: {_percent(late[oracle])}"
    said = {}
    for arm in claim["arms"]:
        share = errors.share(layer, l0, arm, oracle)
        outcome = NO_GAIN if not gains[arm] else HELPS if share.estimate >= claim["rule"]["share"] else LITTLE
        said[arm] = outcome, f"{arm} {outcome}: {_percent(late[arm])}, {share.estimate:.0%} of the oracle's"
    helps = any(outcome == HELPS for outcome, _ in said.values())
    return (HELPS if helps else NO_GAIN), "; ".join(text for _, text in said.values())


def _of_planted(errors: _Errors, claim: dict) -> tuple[str, str]:
    [l0] = claim["l0"]
    rises = {name: errors.rise(claim["layer"], l0, claim["arm"], name) for name in claim["planted"]}
    found = any(i.low > claim["rule"]["above"] for i in rises.values())
    return (FOUND if found else NOT_FOUND), "; ".join(f"{name}: {_percent(i)}" for name, i in rises.items())


def _embedding_fails(errors: _Errors, claim: dict) -> str:
    control = claim["controls"]["embedding"]
    i = errors.late("embedding", control["l0"], claim["arm"])
    far = i.low > control["allowed"] or i.high < -control["allowed"]
    return f"at the embedding: {_percent(i)}" if far else ""


def _percent(i: Interval) -> str:
    return f"{100 * i.estimate:.2f} % [{100 * i.low:.2f}, {100 * i.high:.2f}]"
