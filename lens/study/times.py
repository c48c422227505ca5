"""What each stage of a study took, and where its results are."""

from __future__ import annotations

from lens import checkout
from lens.study.hosts import read_record
from lens.study.params import Study

RESULTS = {
    "paper": "paper.pdf",
    "overview": "notebooks/00_overview.ipynb",
    "claims table": "claims.json",
    "explorer": "explorer.html",
}
ALONE = ("08_rivals", "09_headroom", "10_dark_position", "11_leak")  # notebooks of studies that end with them


def stages(study: Study) -> list[str]:
    """Names of executed notebooks and run records, in order; a folder may hold others, of layers taken out since."""
    train, analyse = (
        [f"{notebook}_layer_{layer}" for layer in study.layers] for notebook in ("02_train", "04_analysis")
    )
    ablate = [f"03_ablations_layer_{layer}" for layer in study.ablations.layers]
    return ["00_overview", "01_extract", *train, *ablate, *analyse, "05_figures", "07_calibration"]


def text(study: Study) -> str:
    """Wall time, memory and host of every notebook stage, then the paths of the results that exist.

    A time is that of the run which made the committed result, on the machine that made it.
    """
    alone = [f"{notebook}_layer_{layer}" for notebook in ALONE for layer in study.layers]
    paths = [study.results / "runs" / f"{name}.json" for name in (*stages(study), *alone)]
    records = [read_record(path) for path in paths if path.is_file()]
    width = max([len("stage"), *(len(r["stage"]) for r in records)])
    lines = [f"study {study.name}", "", f"{'stage':<{width}}  {'wall':>8}  {'memory':>9}  where"]
    for r in records:
        where = r["gpu"] or f"{r['cpus']} CPU cores ({r['machine']})"
        lines.append(f"{r['stage']:<{width}}  {_duration(r['wall_seconds'])}  {r['peak_memory_mib']:>5} MiB  {where}")
    lines.append(f"{'all notebooks':<{width}}  {_duration(sum(r['wall_seconds'] for r in records))}")
    lines.append("")
    results = {name: f"notebooks/{name}.ipynb" for name in alone if name in {r["stage"] for r in records}} or RESULTS
    width = max(map(len, results)) + 2
    for name, path in results.items():
        shown = (study.results / path).relative_to(checkout.root())
        lines.append(f"{name:<{width}}{shown if (study.results / path).exists() else 'not made yet'}")
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes:>4}m{rest:02d}s"
