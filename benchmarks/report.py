"""Tables of the measurements: for the terminal, and as JSON and Markdown under `results/benchmarks/`."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import drawing, extraction, training
from benchmarks.drawing import Reading
from benchmarks.rounds import Race
from benchmarks.setting import D_IN, D_SAE, TOKENS


@dataclass(frozen=True)
class Target:
    """A goal that was set before measuring, and what was measured."""

    what: str
    goal: str
    measured: float
    met: bool


def targets(trained: Race, extracted: Race, reading: Reading) -> list[Target]:
    peer = max(training.PEERS, key=trained.rate)
    to_peer, to_bare = trained.ratio(training.OURS, peer), trained.ratio(training.OURS, training.BARE)
    to_usual = extracted.ratio(extraction.OURS, extraction.USUAL)
    to_forward = extracted.ratio(extraction.OURS, extraction.BARE)
    return [
        Target(f"TemporalLens training / fastest peer ({peer})", ">= 1.1", to_peer, to_peer >= 1.1),
        Target("TemporalLens training / five bare products", ">= 0.7", to_bare, to_bare >= 0.7),
        Target("extraction / usual call", ">= 5", to_usual, to_usual >= 5),
        Target("extraction / bare truncated forward", ">= 0.9", to_forward, to_forward >= 0.9),
        Target("opening and drawing / training step", "< 0.05", reading.share, reading.share < 0.05),
    ]


def race_table(title: str, result: Race, ours: str, reference: str) -> str:
    """Markdown: tokens per second, and ratios within rounds (median, lowest to highest)."""
    rows = [("", "tokens/s", f"times {reference}", "ours is faster by")]
    for name in sorted(result.seconds, key=result.rate, reverse=True):
        rows.append((
            name, f"{result.rate(name):,.0f}", _spread(result.ratios(name, reference)),
            "" if name == ours else _spread(result.ratios(ours, name)),
        ))  # fmt: skip
    return f"**{title}**\n\n{_markdown(rows)}"


def reading_table(reading: Reading) -> str:
    rows = [
        ("", "median", "lowest to highest"),
        (f"open {drawing.STORE_MB:.0f} MB, compare digests, sum moments [s]", *_seconds(reading.opening, 1)),
        ("draw a batch [ms]", *_seconds(reading.drawing, 1e3)),
        ("training step [ms]", *_seconds(reading.step, 1e3)),
        (f"share of a step, opening spread over {drawing.STEPS:,} steps", f"{reading.share:.3f}", ""),
    ]
    return f"**Opening the store and drawing batches**\n\n{_markdown(rows)}"


def text(machine: dict, trained: Race, extracted: Race, reading: Reading) -> str:
    """Everything as Markdown."""
    judged = targets(trained, extracted, reading)
    goals = [(t.what, t.goal, f"{t.measured:.2f}", "yes" if t.met else "no") for t in judged]
    parts = [
        _conditions(machine, rounds=len(reading.step)),
        race_table(
            f"Training, d = d_sae = {D_SAE}, {TOKENS:,} tokens a step, bf16", trained, training.OURS, training.BARE
        ),
        race_table(
            "Extraction, Gemma-3-270M in bf16, layers 3, 8 and 13, 16 windows of 128 tokens a pass",
            extracted, extraction.OURS, extraction.BARE,
        ),
        reading_table(reading),
        _markdown([("target", "goal", "measured", "met"), *goals]),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _conditions(machine: dict, rounds: int) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in sorted(machine["versions"].items()))
    return (
        f"{machine['processor']} ({machine['instructions']}), {machine['threads']} threads, "
        f"{machine['memory_gib']} GiB, load {machine['load_before']} before the start, "
        f"OMP_WAIT_POLICY {machine['omp_wait_policy']}; {versions}. "
        f"Contenders took turns in {rounds} rounds: medians, and ratios within rounds (lowest to highest)."
    )


def write(folder: Path, machine: dict, trained: Race, extracted: Race, reading: Reading) -> None:
    """`speed.json` with every round, `speed.md` with the tables."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "machine": machine,
        "setting": {"d_in": D_IN, "d_sae": D_SAE, "tokens_per_step": TOKENS},
        "training": _as_json(trained),
        "extraction": _as_json(extracted),
        "reading": {name: [_round(v) for v in values] for name, values in asdict(reading).items()},
        "targets": [{**asdict(t), "measured": _round(t.measured)} for t in targets(trained, extracted, reading)],
    }
    (folder / "speed.json").write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    (folder / "speed.md").write_text(text(machine, trained, extracted, reading))


def _as_json(result: Race) -> dict:
    return {
        name: {"tokens_per_second": _round(result.rate(name)), "seconds_per_step": [_round(s) for s in seconds]}
        for name, seconds in result.seconds.items()
    }


def _spread(ratios: Sequence[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _seconds(values: Sequence[float], scale: float) -> tuple[str, str]:
    return f"{scale * statistics.median(values):.2f}", f"{scale * min(values):.2f} to {scale * max(values):.2f}"


def _round(value: float) -> float:
    return float(f"{value:.6g}")


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns; the first row is the header."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(f"| {line} |" for line in [lines[0], "-|-".join("-" * width for width in widths), *lines[1:]])
