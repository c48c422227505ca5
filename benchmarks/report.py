"""Tables of the measurements: for the terminal, and as JSON and Markdown under `results/benchmarks/`.

Each part has a JSON file of its own with every round, so that one can be measured again without the others; `speed.md`
holds the tables of all parts that are there.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import cost, drawing, extraction, profiling, training
from benchmarks.cost import Cost
from benchmarks.drawing import Reading
from benchmarks.rounds import Race
from benchmarks.setting import D_SAE, TOKENS, WINDOWS

PARTS = ("training", "extraction", "drawing", "profiling", "cost")


@dataclass(frozen=True)
class Target:
    """A goal that was set before measuring, and what was measured."""

    what: str
    goal: str
    measured: float
    met: bool


def write(folder: Path, part: str, machine: dict, found: Race | Reading | Cost) -> None:
    """`<part>.json` with every round, and `speed.md` anew from all parts that are there."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"machine": conditions(machine), **found.as_json()}
    (folder / f"{part}.json").write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    (folder / "speed.md").write_text(text(folder))


def text(folder: Path) -> str:
    """All parts under `folder` as Markdown."""
    found = {part: _read(folder / f"{part}.json") for part in PARTS if (folder / f"{part}.json").is_file()}
    sections = ["Contenders took turns in rounds: medians, and ratios within rounds (lowest to highest)."]
    for part, content in found.items():
        title, table = TABLES[part](content)
        sections.append(f"**{title}**\n\n{table}\n\nMeasured on {content['machine']}.")
    if {"training", "extraction", "drawing", "profiling"} <= set(found):
        goals = [(t.what, t.goal, f"{t.measured:.2f}", "yes" if t.met else "no") for t in targets(found)]
        sections.append(_markdown([("target", "goal", "measured", "met"), *goals]))
    return "\n\n".join(sections) + "\n"


def conditions(machine: dict) -> str:
    """The machine that a part was measured on, in words."""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(machine["versions"].items()))
    return (
        f"{machine['processor']} ({machine['instructions']}), {machine['threads']} threads, "
        f"{machine['memory_gib']} GiB, load {machine['load_before']} before the start, "
        f"OMP_WAIT_POLICY {machine['omp_wait_policy']}; {versions}"
    )


def targets(found: dict[str, dict]) -> list[Target]:
    trained, extracted = (Race.from_json(found[part]) for part in ("training", "extraction"))
    share = Reading.from_json(found["drawing"]).share
    cost_of_profile = 1 / Race.from_json(found["profiling"]).ratio(profiling.OURS, profiling.BARE)
    peer = max(training.PEERS, key=trained.rate)
    to_peer, to_bare = trained.ratio(training.OURS, peer), trained.ratio(training.OURS, training.BARE)
    to_opened, to_usual = (extracted.ratio(extraction.OURS, it) for it in (extraction.AS_OPENED, extraction.USUAL))
    to_forward = extracted.ratio(extraction.OURS, extraction.BARE)
    return [
        Target(f"TemporalLens training / fastest peer ({peer})", ">= 1.1", to_peer, to_peer >= 1.1),
        Target("TemporalLens training / five bare products", ">= 0.7", to_bare, to_bare >= 0.7),
        Target("extraction / usual call as a GGUF opens (float32)", ">= 5", to_opened, to_opened >= 5),
        Target("extraction / usual call in bf16, as ours is", ">= 5", to_usual, to_usual >= 5),
        Target("extraction / bare truncated forward", ">= 0.9", to_forward, to_forward >= 0.9),
        Target("opening and drawing / training step", "< 0.05", share, share < 0.05),
        Target("lens.profile / bare forward passes [time]", "<= 1.3", cost_of_profile, cost_of_profile <= 1.3),
    ]


def _training_table(content: dict) -> tuple[str, str]:
    title = f"Training, d = d_sae = {D_SAE}, {TOKENS:,} tokens a step, bf16"
    return title, _race_table(Race.from_json(content), training.OURS, training.BARE)


def _extraction_table(content: dict) -> tuple[str, str]:
    title = "Extraction, Gemma-3-270M, layers 3, 8 and 13, in bf16 unless named, 16 windows of 128 tokens a pass"
    return title, _race_table(Race.from_json(content), extraction.OURS, extraction.BARE)


def _race_table(result: Race, ours: str, reference: str) -> str:
    """Markdown: tokens per second, and ratios within rounds (median, lowest to highest)."""
    rows = [("", "tokens/s", f"times {reference}", "ours is faster by")]
    for name in sorted(result.seconds, key=result.rate, reverse=True):
        rows.append((
            name, f"{result.rate(name):,.0f}", _spread(result.ratios(name, reference)),
            "" if name == ours else _spread(result.ratios(ours, name)),
        ))  # fmt: skip
    return _markdown(rows)


def _drawing_table(content: dict) -> tuple[str, str]:
    reading = Reading.from_json(content)
    rows = [
        ("", "median", "lowest to highest"),
        (f"open {drawing.STORE_MB:.0f} MB, compare digests, sum moments [s]", *_seconds(reading.opening, 1)),
        ("draw a batch [ms]", *_seconds(reading.drawing, 1e3)),
        ("training step [ms]", *_seconds(reading.step, 1e3)),
        (f"share of a step, opening spread over {drawing.STEPS:,} steps", f"{reading.share:.3f}", ""),
    ]
    return "Opening the store and drawing batches", _markdown(rows)


def _profiling_table(content: dict) -> tuple[str, str]:
    title = (
        f"Profile of a dictionary, Gemma-3-270M, layer {profiling.LAYER}, d_sae = {D_SAE}, {profiling.WINDOWS} "
        f"windows, {profiling.FIDELITY} of them spliced"
    )
    return title, _race_table(Race.from_json(content), profiling.OURS, profiling.BARE)


def _cost_table(content: dict) -> tuple[str, str]:
    found = Cost.from_json(content)
    masked, plain = (found.seconds[variant] for variant in cost.VARIANTS)
    rows = [("T", "standard [ms]", "TemporalLens [ms]", "overhead", "mask parameters", "of all")]
    for T in masked:
        share = cost.mask_parameters(T) / cost.all_parameters(T)
        rows.append((
            str(T), _seconds(plain[T], 1e3)[0], _seconds(masked[T], 1e3)[0], _spread(found.overhead(T)),
            f"{cost.mask_parameters(T):,}", f"{share:.1%}",
        ))  # fmt: skip
    slopes = (_spread(found.slopes(variant)) for variant in reversed(cost.VARIANTS))
    rows.append(("slope of log time on log T", *slopes, "", "", ""))
    return f"A training step by the length T of its {WINDOWS} windows, d = d_sae = {D_SAE}", _markdown(rows)


TABLES = {
    "training": _training_table,
    "extraction": _extraction_table,
    "drawing": _drawing_table,
    "profiling": _profiling_table,
    "cost": _cost_table,
}


def _read(path: Path) -> dict:
    return json.loads(path.read_text())


def _spread(ratios: Sequence[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _seconds(values: Sequence[float], scale: float) -> tuple[str, str]:
    return f"{scale * statistics.median(values):.2f}", f"{scale * min(values):.2f} to {scale * max(values):.2f}"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns; the first row is the header."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(f"| {line} |" for line in [lines[0], "-|-".join("-" * width for width in widths), *lines[1:]])
