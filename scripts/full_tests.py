"""Run the tests marked `full` and write what came of them to results/benchmarks/test_full.md: `make test-full`."""

from __future__ import annotations

import datetime
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "results" / "benchmarks" / "test_full.md"


class Outcomes:
    """A plugin of pytest that keeps what became of each test, and how long it took."""

    def __init__(self):
        self.counts: defaultdict[str, Counter[str]] = defaultdict(Counter)  # of each file
        self.seconds: Counter[str] = Counter()
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        file = report.nodeid.partition("::")[0]
        self.seconds[file] += report.duration
        if report.when == "call" or not report.passed:
            self.counts[file][report.outcome] += 1
        if report.failed:
            self.failed.append(report.nodeid)


def text(found: Outcomes) -> str:
    """The outcomes as Markdown: a row for each file, and the tests that failed."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    lines = [
        f"`make test-full` on {datetime.date.today()}, commit {commit.stdout.strip() or 'unknown'}.",
        "",
        "| file | passed | failed | skipped | seconds |",
        "|---|---|---|---|---|",
    ]
    for file, counts in sorted(found.counts.items()):
        columns = [*(counts[outcome] for outcome in ("passed", "failed", "skipped")), round(found.seconds[file])]
        lines.append(f"| {file} | {' | '.join(map(str, columns))} |")
    lines += ["", *(f"- failed: `{name}`" for name in found.failed)]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    outcomes = Outcomes()
    code = pytest.main(["-m", "full", *sys.argv[1:]], plugins=[outcomes])
    if outcomes.counts:
        RESULT.write_text(text(outcomes), encoding="utf-8")
    sys.exit(code)
