"""Questions of a study, registered before it was run, and how they are shown with their answers.

`registered` in a file of questions holds a digest of everything that decides an answer: the questions, and the
parameters of the study but its comments. A later change of either needs an entry in `amendments`. The two digests of
the study `headroom` as things stand:

    python -c 'from paper.headroom import QUESTIONS as q; print(q.params_digest(), q.digest(q.read()))'
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from lens import checkout, files
from lens.errors import ConfigError
from lens.study import table_files
from lens.study.params import Study
from paper import registry

ELSEWHERE = {"root", "params_file"}  # where DVC finds the file, of parameters
FIELDS = {"id", "statement", "layer", "l0", "rule", "prediction", "reason", "power"}
CANT_TELL, NOT_YET = "can't be told", "not measured yet"


class Answer(NamedTuple):
    """What the tables say to a question: one of the outcomes, and the numbers that decided it."""

    id: str
    outcome: str
    why: str


class Missing(Exception):
    """Something that a question reads is not measured yet."""


@dataclass(frozen=True)
class Questions:
    """A file of questions about one study."""

    study: str
    fields: frozenset[str] = frozenset()
    """of every question, beside `FIELDS`"""
    of_kind: Mapping[str, set[str]] = field(default_factory=dict)
    """further fields of questions whose `kind` is named"""

    @property
    def path(self) -> Path:
        return Path(__file__).parent / f"{self.study}.yaml"

    @property
    def params(self) -> str:
        return f"studies/{self.study}/params.yaml"

    def read(self) -> dict:
        """The whole document, unchecked.

        Raises:
            ConfigError: not readable.
        """
        return registry.read(self.path)

    def load(self) -> dict:
        """The document, whose questions and parameters are those that were registered.

        Raises:
            ConfigError: a question lacks a field, or it or the parameters of the study were changed without an
                amendment.
        """
        document = self.read()
        for claim in document["claims"]:
            wanted = FIELDS | self.fields | self.of_kind.get(claim.get("kind", ""), set())
            if wrong := sorted(wanted ^ set(claim)):
                raise ConfigError(f"{self.path.name}, {claim.get('id', '?')}: missing or unknown fields {wrong}")
        if (found := self.params_digest()) != document["params_sha256"]:
            raise ConfigError(
                f"{self.params} is not as it was registered: undo the change, or set params_sha256: {found} in "
                f"{self.path.name} and add an entry to its amendments"
            )
        registry.check(document, self.path.name, lambda _: self.digest(document))
        return document

    def digest(self, document: dict) -> str:
        """sha256 of all that is registered, as canonical JSON."""
        return _sha256({key: value for key, value in document.items() if key not in ("registered", "amendments")})

    def params_digest(self) -> str:
        """sha256 of what the parameter file of the study says."""
        raw = files.read_yaml(checkout.root() / self.params, "`git checkout` brings it back")
        return _sha256({key: value for key, value in raw.items() if key not in ELSEWHERE})

    def tables(self, name: str) -> dict[str, pd.DataFrame]:
        """A table of the study, of each layer that is measured.

        Raises:
            ConfigError: it is damaged.
        """
        study = Study.load(self.study)
        paths = {str(x): study.results / "tables" / self.study / f"layer_{x}.parquet" for x in study.layers}
        found = {layer: table_files.read(path, name) for layer, path in paths.items() if path.is_file()}
        return {layer: table for layer, table in found.items() if table is not None}


def _sha256(value: dict) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def said(document: dict, answers: Iterable[Answer]) -> str:
    """Questions with their predictions and answers, as text."""
    by_id = {claim["id"]: claim for claim in document["claims"]}
    lines = []
    for answer in answers:
        claim = by_id[answer.id]
        lines += [f"{answer.id}  {claim['statement']}", f"     {answer.outcome}: {answer.why}"]
        lines.append(f"     predicted: {claim['prediction']}")
    return "\n".join(lines)
