"""Undo each mend in `tests/faults/reverts.yaml` and see its tests fail: a test that passes either way shows nothing.

    python scripts/reverts.py [words of a fault ...]

Works on a copy of the last commit. Prints a row for every fault; with words, those whose description has them, and how
they were seen at first.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]
LIST = ROOT / "tests" / "faults" / "reverts.yaml"
TESTS_FAILED = 1  # pytest's exit status; others say that it could not run them


@dataclass(frozen=True)
class Undoing:
    """One passage of the code, and what stands for the fault in its place."""

    file: str
    old: str
    new: str

    def apply(self, root: Path) -> None:
        """Change the file below `root`.

        Raises:
            ValueError: the passage is not there exactly once.
        """
        path = root / self.file
        text = path.read_text(encoding="utf-8")
        if (found := text.count(self.old)) != 1:
            raise ValueError(f"{self.file} has {found} times, not once: {self.old!r}; renew {LIST.name}")
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")


@dataclass(frozen=True)
class Revert:
    """A fault that was mended: the tests that show it, and what brings it back."""

    fault: str
    tests: tuple[str, ...]
    undo: tuple[Undoing, ...]
    seen: str = ""
    """what showed the fault at first, as code"""


def read(path: Path = LIST) -> list[Revert]:
    """All of the list."""
    rows = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    return [
        Revert(row["fault"], tuple(row["tests"]), tuple(Undoing(**u) for u in row["undo"]), row.get("seen", ""))
        for row in rows
    ]


@contextlib.contextmanager
def scratch_copy() -> Iterator[Path]:
    """The last commit in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="reverts-") as folder:
        root = Path(folder) / "project"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", root], cwd=ROOT, check=True)
        try:
            yield root
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", root], cwd=ROOT, check=True)


def shown(revert: Revert, root: Path) -> str:
    """What the tests of a fault do in the copy at `root` once its mend is undone; the copy is left as it was."""
    try:
        for undoing in revert.undo:
            undoing.apply(root)
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "", "-p", "no:cacheprovider", *revert.tests]
        environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    finally:
        subprocess.run(["git", "checkout", "--quiet", "--", "."], cwd=root, check=True)
    if done.returncode not in (0, TESTS_FAILED):
        print(done.stdout[-3000:], file=sys.stderr)
        return "NOT RUN"
    return "test fails" if done.returncode == TESTS_FAILED else "NOT SHOWN"


def main() -> int:
    words = sys.argv[1:]
    chosen = [revert for revert in read() if all(word.lower() in revert.fault.lower() for word in words)]
    unseen = 0
    with scratch_copy() as root:
        for revert in chosen:
            found = shown(revert, root)
            unseen += found != "test fails"
            print(f"{found:<12}{revert.fault}", flush=True)
            if words and revert.seen:
                print(*(f"    {line}" for line in revert.seen.splitlines()), sep="\n")
    print(f"{len(chosen) - unseen} of {len(chosen)} undone mends are seen by their tests")
    return 1 if unseen else 0


if __name__ == "__main__":
    sys.exit(main())
