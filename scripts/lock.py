"""Write requirements.txt, the exact versions behind `pyproject.toml`: `make lock`, or with UPGRADE=1 the newest.

What the extras and the group `dev` ask for is resolved by pip without installing anything. A version that is locked
already is kept while it lies in its range.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.txt"
EXTRA = "docs"  # takes in the others
HEAD = "# Written by `make lock`: exact versions for the extra `docs` and the group `dev` of pyproject.toml.\n"


def resolve(upgrade: bool) -> dict[str, str]:
    """Version of each package, without the local tag of a PyTorch build."""
    dev = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]["dev"]
    kept = [] if upgrade else ["--constraint", str(LOCK)]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        options = ["--dry-run", "--ignore-installed", "--quiet", "--report", str(report), *kept]
        subprocess.run(
            [sys.executable, "-m", "pip", "install", *options, f"{ROOT}[{EXTRA}]", *dev], check=True, cwd=folder
        )
        found = [item["metadata"] for item in json.loads(report.read_text())["install"]]
    return {item["name"]: item["version"].split("+")[0] for item in found if item["name"] != "temporallens"}


if __name__ == "__main__":
    pins = [f"{name}=={version}\n" for name, version in resolve(upgrade="--upgrade" in sys.argv[1:]).items()]
    LOCK.write_text(HEAD + "".join(sorted(pins, key=str.lower)))
    print(f"{len(pins)} packages in {LOCK.name}")
