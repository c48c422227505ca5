"""The verdicts of a study as its `claims.json` holds them: read whole or refused, and compared with a commit's."""

from __future__ import annotations

from lens import files
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


def by_id(study: Study) -> dict[str, dict]:
    """The claims of `read` by their ids."""
    return {claim["id"]: claim for claim in read(study)["claims"]}
