"""What each stage of a study took, and where its results are."""

from __future__ import annotations

import json

from lens import checkout
from lens.study import stages
from lens.study.params import Study

RESULTS = {
    "front page": "index.html",
    "paper": "paper.pdf",
    "overview": "notebooks/00_overview.ipynb",
    "overview page": "html/00_overview.html",
    "claims table": "claims.json",
    "explorer": "explorer.html",
}


def text(study: Study) -> str:
    """Wall time, memory and host of every notebook stage, then the paths of the results that exist.

    A time is that of the run which made the committed result, on the machine that made it.
    """
    paths = [study.results / "runs" / f"{name}.json" for name in stages.names(study)]
    records = [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.is_file()]
    width = max([len("stage"), *(len(r["stage"]) for r in records)])
    lines = [f"study {study.name}", "", f"{'stage':<{width}}  {'wall':>8}  {'memory':>9}  where"]
    for r in records:
        where = r["gpu"] or f"{r['cpus']} CPU cores ({r['machine']})"
        lines.append(f"{r['stage']:<{width}}  {_duration(r['wall_seconds'])}  {r['peak_memory_mib']:>5} MiB  {where}")
    lines.append(f"{'all notebooks':<{width}}  {_duration(sum(r['wall_seconds'] for r in records))}")
    lines.append("")
    for name, path in RESULTS.items():
        shown = (study.results / path).relative_to(checkout.root())
        lines.append(f"{name:<14}{shown if (study.results / path).exists() else 'not made yet'}")
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes:>4}m{rest:02d}s"
