"""The registered questions of the study `headroom` (`headroom.yaml`), and what its tables answer.

`registered` holds a digest of everything that decides an answer: the questions, and the parameters of the study but its
comments. A later change of either needs an entry in `amendments`. The two digests as things stand:

    python -c 'from paper import headroom as h; d = h.read(); print(h.params_digest(), h.digest(d))'
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from lens import checkout, files
from lens.errors import ConfigError
from lens.measure.headroom import added, estimates, share_of
from lens.measure.stats import Interval, holm
from lens.study import table_files
from lens.study.params import Study
from paper import registry

QUESTIONS = Path(__file__).parent / "headroom.yaml"
PARAMS = "studies/headroom/params.yaml"
ELSEWHERE = {"root", "params_file"}  # where DVC finds the file, of parameters
USABLE, NONE, CANT_TELL, CONTROLS_FAIL = "usable", "none", "can't be told", "controls fail"
FOUND, NOT_FOUND, NOT_YET = "found", "not found", "not measured yet"
HELPS, LITTLE, NO_GAIN = "helps", "gains less than the share asked for", "no gain found"
FIELDS = {
    "id", "statement", "kind", "layer", "arm", "l0", "rule", "controls", "prediction", "reason", "power",
}  # fmt: skip
OF_KIND = {"layer": set(), "arms": {"arms"}, "planted": {"planted"}}

Tables = Mapping[str, pd.DataFrame]
"""by layer, the errors that `lens.study.headroom.headroom_tables` made"""


class Answer(NamedTuple):
    """What the tables say to a question: one of the outcomes, and the numbers that decided it."""

    id: str
    outcome: str
    why: str


class _Missing(Exception):
    """Something that a question reads is not measured yet."""


def read() -> dict:
    """The whole document, unchecked.

    Raises:
        ConfigError: not readable.
    """
    return registry.read(QUESTIONS)


def load() -> dict:
    """The document, whose questions and parameters are those that were registered.

    Raises:
        ConfigError: a question lacks a field, or it or the parameters of the study were changed without an amendment.
    """
    document = read()
    for claim in document["claims"]:
        wanted = FIELDS | OF_KIND.get(claim.get("kind", ""), set())
        if wrong := sorted(wanted ^ set(claim)):
            raise ConfigError(f"{QUESTIONS.name}, {claim.get('id', '?')}: missing or unknown fields {wrong}")
    if (found := params_digest()) != document["params_sha256"]:
        raise ConfigError(
            f"{PARAMS} is not as it was registered: undo the change, or set params_sha256: {found} in {QUESTIONS.name} "
            "and add an entry to its amendments"
        )
    registry.check(document, QUESTIONS.name, lambda _: digest(document))
    return document


def digest(document: dict) -> str:
    """sha256 of all that is registered, as canonical JSON."""
    return _sha256({key: value for key, value in document.items() if key not in ("registered", "amendments")})


def params_digest() -> str:
    """sha256 of what the parameter file of the study says."""
    raw = files.read_yaml(checkout.root() / PARAMS, "`git checkout` brings it back")
    return _sha256({key: value for key, value in raw.items() if key not in ELSEWHERE})


def _sha256(value: dict) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def tables(study: Study) -> dict[str, pd.DataFrame]:
    """The errors of each layer that is measured.

    Raises:
        ConfigError: a table is damaged.
    """
    paths = {str(layer): study.results / "tables" / "headroom" / f"layer_{layer}.parquet" for layer in study.layers}
    found = {layer: table_files.read(path, "errors") for layer, path in paths.items() if path.is_file()}
    return {layer: table for layer, table in found.items() if table is not None}


def answers(document: dict, found: Tables) -> list[Answer]:
    """What the tables say to each question, in order."""
    judged = {"layer": _of_layer, "arms": _of_arms, "planted": _of_planted}
    said = []
    for claim in document["claims"]:
        try:
            said.append(Answer(claim["id"], *judged[claim["kind"]](_Errors(document, found), claim)))
        except _Missing as error:
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
            raise _Missing(f"no table of layer {layer}")
        table, wanted = self.found[str(layer)], {self.blind, *arms, *self.only(*arms).values()}
        here = table[(table["planted"] == planted) & (table["target"] == l0) & table["variant"].isin(wanted)]
        if lacking := sorted(wanted - set(here["variant"])):
            where = f"layer {layer}, L0 {l0:g}" + (f", {planted} planted" if planted else "")
            raise _Missing(f"no {', '.join(lacking)} at {where}")
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


def said(study: Study) -> str:
    """The questions with their predictions and answers, as text."""
    document = load()
    by_id = {claim["id"]: claim for claim in document["claims"]}
    lines = []
    for answer in answers(document, tables(study)):
        claim = by_id[answer.id]
        lines += [f"{answer.id}  {claim['statement']}", f"     {answer.outcome}: {answer.why}"]
        lines.append(f"     predicted: {claim['prediction']}")
    return "\n".join(lines)
