import os
import shutil
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from tests.faults.campaign import BAD, GOOD, Projects


@pytest.fixture(scope="session")
def projects():
    """Below no folder of pytest's, which nobody but their owner may enter: some faults are read as somebody else."""
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    folder.chmod(0o755)
    before = os.environ.get("DVC_SITE_CACHE_DIR")
    os.environ["DVC_SITE_CACHE_DIR"] = str(folder / "dvc")
    yield Projects(folder)
    os.environ.pop("DVC_SITE_CACHE_DIR") if before is None else os.environ.__setitem__("DVC_SITE_CACHE_DIR", before)
    shutil.rmtree(folder)


def pytest_terminal_summary(terminalreporter):
    """Counts of the campaign by kind of file."""
    counts = defaultdict(Counter)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "call" and (
                outcome := dict(getattr(report, "user_properties", ())).get("outcome")
            ):
                kind, word = outcome
                counts[kind][word] += 1
    if not counts:
        return
    words = (*GOOD, *BAD)
    total = sum(counts.values(), Counter())
    terminalreporter.section("faults")
    for name, row in [("kind of file", dict(zip(words, words, strict=True))), *counts.items(), ("all", total)]:
        terminalreporter.write_line(f"{name:<34}" + "".join(f"{row.get(word, 0):>14}" for word in words))
