"""What an audit finds: one sentence a check, and the numbers behind it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

Status = Literal["pass", "trap", "fail", "untested"]
MARKS = {"pass": "ok", "trap": "TRAP", "fail": "FAIL", "untested": "--"}


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    check: str
    status: Status
    """pass; fail: what the pipeline does by itself is wrong; trap: it would be wrong if used in the way that the text
    says; untested: not defined here, or it couldn't be told"""
    text: str
    """what was found, and what to do about it"""
    numbers: Mapping[str, float | int | str] = field(default_factory=dict)


@dataclass(frozen=True)
class Audit:
    """All findings of one pipeline."""

    about: Mapping[str, str]
    """model, layer, source and versions"""
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether no check failed. Traps are said, and don't fail."""
        return not any(finding.status == "fail" for finding in self.findings)

    def __getitem__(self, check: str) -> Finding:
        """The finding of a check.

        Raises:
            KeyError: no such check was made; the message lists those that were.
        """
        found = {finding.check: finding for finding in self.findings}
        if check not in found:
            raise KeyError(f"no check {check!r}; there are {', '.join(found)}")
        return found[check]

    def __str__(self) -> str:
        counts = {status: sum(f.status == status for f in self.findings) for status in MARKS}
        verdict = "positions are as expected" if self.ok else "POSITIONS ARE NOT AS EXPECTED"
        tally = ", ".join(f"{counts[status]} {word}" for status, word in _COUNTED.items() if counts[status])
        width = max(len(finding.check) for finding in self.findings)
        lines = [f"{MARKS[f.status]:4} {f.check:{width}}  {f.text}" for f in self.findings]
        return "\n".join([f"{', '.join(self.about.values())}: {verdict} ({tally})", *lines])

    def to_json(self) -> str:
        """As JSON: about, ok and the findings."""
        content = {"about": dict(self.about), "ok": self.ok, "findings": [asdict(f) for f in self.findings]}
        return json.dumps(content, indent=2, allow_nan=False) + "\n"


_COUNTED = {"pass": "passed", "fail": "failed", "trap": "to beware of", "untested": "not tested"}
