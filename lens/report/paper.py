"""The paper of a study: `paper/paper.typ` typeset with the study's numbers and figures, and nothing typed by hand."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import typst

from lens.config import ROOT, Study
from lens.measure import stats
from lens.report import calibration, tables
from lens.sae.presets import train_config

SOURCE = ROOT / "paper"
PAPER_MODEL = "google/gemma-2-2b"
FIDELITY = {"delta_ce", "kl"}  # measured only where the study splices dictionaries into the language model


class PaperError(RuntimeError):
    """The paper cannot be built from what the study holds; the message names the missing key, table or figure."""


@dataclass(frozen=True)
class ModelFacts:
    """What the paper says of a language model: its name, how its weights were obtained, depth and width."""

    name: str
    weights: str = ""
    blocks: int | None = None
    width: int | None = None
    positions: str = "inferred"  # learned: a vector for each position is added to the input


MODELS = {
    "gemma-3-270m": ModelFacts("Gemma-3-270M", "4-bit weights (Q4_K_M), dequantised to bfloat16", 18, 640),
    "smollm2-135m": ModelFacts("SmolLM2-135M-Instruct", "4-bit weights (Q4_1), dequantised to bfloat16", 30, 576),
    "all-minilm-l6-v2": ModelFacts("all-MiniLM-L6-v2", "", 6, 384, "learned"),
    PAPER_MODEL: ModelFacts("Gemma-2-2B", "", 26, 2304),
}


def build(study: Study) -> Path:
    """Typeset the paper of a study to `results/<study>/paper.pdf` (PDF/UA-1, tagged); the same inputs, the same bytes.

    Raises:
        PaperError: the paper asks for a number or a figure that the study does not hold, or Typst refuses the source.
    """
    content = contents(study)
    with tempfile.TemporaryDirectory(prefix="paper-") as name:
        folder = Path(name)
        for source in filter(Path.is_file, SOURCE.iterdir()):
            shutil.copy(source, folder)
        shutil.copytree(study.results / "figures", folder / "figures")
        text = json.dumps(content, ensure_ascii=False, allow_nan=False)
        (folder / "data.json").write_text(text, encoding="utf-8")
        pdf = typeset(folder)
    target = study.results / "paper.pdf"
    partial = target.with_suffix(".pdf.partial")
    partial.write_bytes(pdf)
    os.replace(partial, target)
    return target


def contents(study: Study) -> dict:
    """Everything `paper.typ` may ask for: study, recipe, claims, tables reduced to means and intervals, compute.

    Raises:
        PaperError: claims, figures or run records are missing, or belong to another study.
    """
    claims = _json(study, "claims.json")
    if (claims["study"], claims["model"]) != (study.name, study.model):
        raise PaperError(
            f"results/{study.name}/claims.json is of study {claims['study']!r} on {claims['model']!r}, not of "
            f"{study.name!r} on {study.model!r}; run the pipeline again"
        )
    return _finite(
        {
            "study": _study(study),
            "recipe": asdict(_recipe(study)),
            "claims": {claim["id"]: claim for claim in claims["claims"]},
            "summary": _summary(study),
            "figures": _figures(study),
            "compute": _compute(study),
            "calibration": _calibration(study),
        }
    )


def typeset(folder: Path) -> bytes:
    """The PDF of `paper.typ` in a folder that holds all it reads.

    Fonts are those inside Typst and nothing is fetched, so a PDF is the same on every machine.

    Raises:
        PaperError: Typst's own message, with the line of the source.
    """
    compiler = typst.Compiler(folder / "paper.typ", root=folder, font_paths=typst.Fonts(include_system_fonts=False))
    try:
        made, warnings = compiler.compile_with_warnings(format="pdf", pdf_standards=["ua-1"], timestamp=0)
    except typst.TypstError as error:
        reason = " ".join([error.message, *error.hints])
        raise PaperError(f"paper.typ: {reason}\n{error.diagnostic}") from None
    if warnings:
        raise PaperError("paper.typ: " + "; ".join(warning.message for warning in warnings))
    return made


def _study(study: Study) -> dict:
    facts = MODELS.get(study.model, ModelFacts(study.model))
    layers = [
        {"name": str(x), "depth": (x + 1) / facts.blocks if facts.blocks and isinstance(x, int) else None}
        for x in study.layers
    ]
    main = [entry for entry, layer in zip(layers, study.layers, strict=True) if layer in study.main]
    controls = [entry for entry, layer in zip(layers, study.layers, strict=True) if layer not in study.main]
    recipe = _recipe(study)
    length, windows = study.windows.length, study.windows
    return {
        "name": study.name,
        "model": asdict(facts),
        "stand_in": study.model != PAPER_MODEL,
        "random": study.model.startswith("random:"),
        "layers": main,
        "main": main,
        "controls": controls,
        "control_seeds": len(study.control_seeds or study.seeds),
        "corpus": asdict(study.corpus),
        "windows": asdict(windows) | {"text": length - 1, "early": length // 4},
        "preset": study.dictionary.preset,
        "expansion": study.dictionary.expansion,
        "steps": study.training.steps,
        "batch_tokens": recipe.batch_windows * (length - (not recipe.include_bos)),
        "passes": study.training.steps * recipe.batch_windows / windows.train,
        "variants": list(study.variants),
        "ablations": {"layers": list(map(str, study.ablations.layers)), "variants": list(study.ablations.variants)},
        "seeds": len(study.seeds),
        "fidelity": windows.fidelity > 0,
    }


def _recipe(study: Study):
    """The recipe of the `temporallens` runs."""
    return train_config(study.dictionary.preset, "temporallens", study.training.steps, dict(study.training.overrides))


def _summary(study: Study) -> dict:
    """layer -> variant -> metric -> {mean, low, high}: text positions, 95 % t intervals over seeds."""
    table = tables.read(study, "summary")
    table = table[table["positions"] == "text"]
    out: dict = {}
    for (layer, variant, metric), rows in table.groupby(["layer", "variant", "metric"]):
        found = stats.interval(rows["value"].mean(), stats.seed_component(rows["value"].to_numpy()))
        numbers = {"mean": found.estimate, "low": found.low, "high": found.high}
        out.setdefault(layer, {}).setdefault(variant, {})[metric] = numbers
    return out


def _calibration(study: Study) -> dict:
    """Error rates of the tests, from simulations without an effect."""
    table = calibration.read_table(study, "error_rates")
    return {"nominal": calibration.ALPHA, "error_rates": json.loads(table.to_json(orient="records"))}


def _figures(study: Study) -> dict:
    """name -> title, caption and alt text of every figure of the study."""
    found = sorted((study.results / "figures").glob("*.json"))
    if not found:
        raise PaperError(f"results/{study.name}/figures holds no figure; run the figures stage of the study first")
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in found}


def _compute(study: Study) -> dict:
    """Wall time and peak memory over the notebook stages of the study, and the hosts they ran on."""
    records = [json.loads(p.read_text(encoding="utf-8")) for p in sorted((study.results / "runs").glob("*.json"))]
    if not records:
        raise PaperError(f"results/{study.name}/runs holds no run record; run the pipeline of the study first")
    hosts = {record["gpu"] or f"{record['cpus']} CPU cores ({record['machine']})" for record in records}
    return {
        "stages": len(records),
        "minutes": sum(record["wall_seconds"] for record in records) / 60,
        "peak_gib": max(record["peak_memory_mib"] for record in records) / 1024,
        "hosts": sorted(hosts),
        "versions": {key: value for record in records for key, value in record["versions"].items()},
    }


def _json(study: Study, name: str) -> dict:
    path = study.results / name
    if not path.is_file():
        raise PaperError(f"results/{study.name}/{name} is missing; run the pipeline of study {study.name!r} first")
    return json.loads(path.read_text(encoding="utf-8"))


def _finite(value):
    """The same nested value with null for every number that is not one: JSON has no NaN, and the paper prints n/a."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
