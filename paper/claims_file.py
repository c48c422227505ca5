"""The verdicts of a study as its `claims.json` holds them: read whole or refused, and compared with a commit's."""

from __future__ import annotations

import json

from lens import checkout, files
from lens.errors import ConfigError
from lens.study.params import Study

HOLDS = {"study": str, "model": str, "scope": str, "claims": list}
PARTS = {"id", "status", "verdict", "readings", "controls", "context"}
"""of every claim, what its readers take for granted"""


def read(study: Study) -> dict:
    """The `claims.json` of a study.

    Raises:
        ConfigError: it is missing or damaged, or another study's.
    """
    path, advice = study.results / "claims.json", f"run the pipeline of study {study.name!r}"
    document = files.read_json(path, f"{files.AGAIN} ({advice})", HOLDS)
    if (document["study"], document["model"]) != (study.name, study.model):
        raise ConfigError(
            f"{path} is of study {document['study']!r} on {document['model']!r}, not of {study.name!r} on "
            f"{study.model!r}; {advice} again"
        )
    for i, claim in enumerate(document["claims"]):
        if not isinstance(claim, dict) or not claim.keys() >= PARTS:
            raise ConfigError(f"{path}: claim {i} lacks some of {', '.join(sorted(PARTS))}; {advice} again")
    return document


def at(study: Study, revision: str) -> dict:
    """The `claims.json` of a study as it was in a commit of this checkout.

    Raises:
        ConfigError: git knows no such commit, or the commit has no such file.
    """
    name = (study.results / "claims.json").relative_to(checkout.root()).as_posix()
    if not (text := checkout.git("cat-file", "blob", f"{revision}:{name}")):
        raise ConfigError(f"git has no {name} at {revision!r}: name a commit that has it")
    return json.loads(text)


def changes(before: dict, now: dict) -> list[str]:
    """What two documents say differently: claims, verdicts, and every estimate with its interval, a line each."""
    old, new = ({claim["id"]: claim for claim in document["claims"]} for document in (before, now))
    lines = [f"{name}  {'gone' if name in old else 'new'}" for name in sorted(old.keys() ^ new.keys())]
    for name in sorted(old.keys() & new.keys()):
        was, said = _said(old[name]), _said(new[name])
        differ = (what for what in dict.fromkeys([*was, *said]) if was.get(what) != said.get(what))
        lines += [f"{name}  {what}: {was.get(what, 'none')} -> {said.get(what, 'none')}" for what in differ]
    return lines


def _said(claim: dict) -> dict[str, str]:
    """The words of a claim and, by their names, its estimates with their intervals, as they are stored."""
    return {word: str(claim.get(word)) for word in ("verdict", "attributable")} | {
        f"{kind}, {r['name']}": f"{r['estimate']} [{r['low']}, {r['high']}]"
        for kind in ("readings", "controls", "differences", "context")
        for r in claim.get(kind, ())
    }


def by_id(study: Study) -> dict[str, dict]:
    """The claims of `read` by their ids."""
    return {claim["id"]: claim for claim in read(study)["claims"]}
