"""A rehearsal of a study before its weights and its machine are at hand: each stage once, small, on a language model of
the same shapes with random weights and fewer blocks; and what the whole would take at these rates."""

from __future__ import annotations

import dataclasses
import json
import resource
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers

from lens.activations import models, random_models
from lens.activations.corpus import LEAST_HELD_OUT
from lens.activations.layers import EMBEDDING, Layer
from lens.activations.on_hub import check_on_hub
from lens.errors import ConfigError
from lens.study.analysis import measure
from lens.study.extraction import extract_study
from lens.study.layer_data import open_layer_data
from lens.study.params import Ablations, Corpus, Study, WindowRule
from lens.study.training import train

MARK = ".rehearsal"  # in its folder
WINDOWS, STEPS = 32, 5  # of training here
BF16, FP32 = 2, 4  # bytes


@dataclass(frozen=True)
class Rehearsed(Study):
    """A study that keeps all it makes in its `out`."""

    @property
    def pool(self) -> Path:
        assert self.out is not None
        return self.out / "pool"


@dataclass(frozen=True)
class Stage:
    """What a stage took here, and what the whole of it takes at this rate."""

    name: str
    did: str
    seconds: float
    whole: str
    whole_seconds: float


@dataclass(frozen=True)
class Rehearsal:
    """What was run, and what follows from it."""

    study: str
    model: str
    stages: tuple[Stage, ...]
    sizes: dict[str, int]
    """bytes of what the whole study keeps, which are counted, not measured"""
    peak: int
    """bytes of memory of this process at its highest (on a GPU: of that memory)"""
    device: str

    def __str__(self) -> str:
        rows = [("stage", "here", "", "the whole study", "at this rate")]
        rows += [(s.name, s.did, _time(s.seconds), s.whole, _time(s.whole_seconds)) for s in self.stages]
        rows.append(("all", "", _time(sum(s.seconds for s in self.stages)), "", _time(self.whole_seconds)))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        kept = [f"{what}: {size / 1e9:.2f} GB" for what, size in self.sizes.items()]
        return "\n".join(
            [
                f"study {self.study} on {self.model}, {self.device}: every stage ran",
                "",
                *lines,
                "",
                f"memory here: {self.peak / 1e9:.2f} GB at its highest",
                *kept,
                "Not in it: calibration, figures and pages. Times are projected by width from few steps, together with",
                "what is done once (of tiny models, most of it); random weights say nothing of a model.",
            ]
        )

    @property
    def whole_seconds(self) -> float:
        return sum(stage.whole_seconds for stage in self.stages)


def rehearse(study: Study, depth: int = 2, model: str | None = None) -> Rehearsal:
    """Extract, train and analyse one block and the embedding with each variant of a study once.

    Args:
        study: loaded with an `out`, a folder of its own for all that is made; what a rehearsal left there is removed.
        depth: blocks of the model that is made, one or more.
        model: whose shapes: `random:<config>`; by default those of the study's model, which are known of a name in
            `lens.activations.random_models` and read from a folder or the hub otherwise.

    Raises:
        ConfigError: the shapes of the model are not known here, or `out` holds something else.
    """
    assert study.out is not None
    out = study.out
    shape = _shape(model or study.model)
    blocks, d = shape.num_hidden_layers, shape.hidden_size
    if out.is_dir() and any(out.iterdir()) and not (out / MARK).is_file():
        raise ConfigError(f"{out} holds something else than a rehearsal: name another folder with --out")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (out / MARK).touch()
    depth = min(depth, blocks)
    small = _small(study, shape, out, depth)
    opened = models.load(small.model)
    weights = sum(w.numel() for w in opened.model.parameters())
    block = sum(w.numel() for w in opened.blocks[0].parameters())
    device = str(opened.device)
    del opened

    seconds = _timed(lambda: extract_study(small, small.layers, out))
    tokens, all_tokens = (_tokens(one.windows, bool(one.corpus.contrast)) for one in (small, study))
    reached = 1 + max((x for x in study.layers if isinstance(x, int)), default=0)
    stages = [
        Stage(
            "extraction", f"{tokens:,} tokens, {depth} blocks", seconds,
            f"{all_tokens * len(study.parts):,} tokens, {reached} blocks",
            seconds / tokens / depth * all_tokens * len(study.parts) * reached,
        )
    ]  # fmt: skip
    train_seconds = analyse_seconds = 0.0
    for layer in small.layers:
        data = open_layer_data(small, layer)
        seconds = _timed(lambda: train(small, data))  # noqa: B023
        train_seconds += seconds
        seconds = _timed(lambda: measure(small, data))  # noqa: B023
        analyse_seconds += seconds
    done = len(small.layers) * len(small.variants)
    expansion = {v: study.train_recipe(v).expansion for v in {*study.variants, *study.ablations.variants}}
    runs = [expansion[variant] for layer in study.layers for variant, _ in study.runs_at(layer)]
    here = len(small.layers) * sum(expansion[variant] for variant in small.variants)
    stages += [
        Stage(
            "training", f"{done} runs of {STEPS} steps", train_seconds,
            f"{len(runs)} runs of {study.training.steps} steps",
            train_seconds / here / STEPS * sum(runs) * study.training.steps,
        ),
        Stage(
            "analysis", f"{done} runs, {small.windows.test} windows", analyse_seconds,
            f"{len(runs)} runs, {study.windows.test} windows",
            analyse_seconds / here / small.windows.test * sum(runs) * study.windows.test,
        ),
    ]  # fmt: skip
    sizes = {
        f"language model, {blocks} blocks in bf16": BF16 * (weights + (blocks - depth) * block),
        "activations on disk": BF16 * all_tokens * len(study.parts) * d * len(study.layers),
        "dictionaries on disk, without position terms": FP32 * 2 * d * d * sum(runs),
    }  # fmt: skip
    return Rehearsal(study.name, small.model, tuple(stages), sizes, _peak(device), device)


def _shape(model: str) -> transformers.PretrainedConfig:
    """The configuration of the text model."""
    name = model.removeprefix("random:").split("/")[-1]
    try:
        if name in random_models.CONFIGS or model.startswith("random:"):
            found = random_models.config(name if name in random_models.CONFIGS else model.removeprefix("random:"))
        else:
            check_on_hub(model)
            found = transformers.AutoConfig.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the shapes of {model} are not known here ({str(error).splitlines()[0]}): pass model=random:<config>, one "
            f"of {', '.join(random_models.CONFIGS)} or the path of its config.json"
        ) from None
    return found.get_text_config()


def _small(study: Study, shape: transformers.PretrainedConfig, out: Path, depth: int) -> Rehearsed:
    study = study.of_seed(study.seeds[0])
    fields = {f.name: getattr(study, f.name) for f in dataclasses.fields(Study)}
    config = json.loads(shape.to_json_string(use_diff=False)) | {"num_hidden_layers": depth}
    if config.get("layer_types"):
        config["layer_types"] = config["layer_types"][:depth]
    (out / "config.json").write_text(json.dumps(config))
    w = study.windows
    windows = dataclasses.replace(
        w, train=min(w.train, WINDOWS), test=min(w.test, LEAST_HELD_OUT), contrast=min(w.contrast, LEAST_HELD_OUT),
        fidelity=min(w.fidelity, 1), draw="once",
    )  # fmt: skip
    layers: tuple[Layer, ...] = (EMBEDDING, depth - 1) if EMBEDDING in study.layers else (depth - 1,)
    return Rehearsed(
        **fields
        | {
            "name": "rehearsal",  # what the study itself has made is not read
            "model": f"random:{out / 'config.json'}",
            "corpus": dataclasses.replace(study.corpus, contrast=study.corpus.contrast or Corpus.contrast),
            "layers": layers,
            "main_layers": (depth - 1,),
            "windows": windows,
            "training": dataclasses.replace(study.training, steps=STEPS, log_every=1),
            "seeds": study.seeds[:1],
            "control_seeds": (),
            "ablations": Ablations(),
            "equal_l0": (),
            "out": out,
        }
    )


def _tokens(rule: WindowRule, contrast: bool) -> int:
    return rule.length * (rule.train + rule.test + (rule.contrast if contrast else 0))


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _peak(device: str) -> int:
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 2**10


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
