"""The extraction stage of a study: its windows, its store, and that of a layer which is only tried out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path

from lens.activations import corpus, models
from lens.activations.corpus import Windows
from lens.activations.extract import extract, manifest
from lens.activations.language_model import LanguageModel
from lens.activations.layers import Layer
from lens.activations.store import layer_folder
from lens.files import read_json
from lens.study.params import Corpus, Study, WindowRule

STARTS = "random"  # of training windows


def windows_of(study: Study, model: LanguageModel) -> dict[str, Windows]:
    """Training and held-out token windows of a study, drawn once and the same on every call.

    Training windows start at random, so that over a run the same token is seen at many positions; held-out windows
    are disjoint and come from documents that are never trained on. Windows of a contrasting text serve probes alone.

    Raises:
        ValueError: a text is too short for the windows asked, or the held-out text was there in training.
    """
    return _windows(study.corpus, study.windows, model)


def _windows(texts: Corpus, rule: WindowRule, model: LanguageModel) -> dict[str, Windows]:
    train, test = (corpus.load(name) for name in (texts.train, texts.test))
    corpus.check_no_leak(train, test)
    cut = partial(corpus.draw_windows, tokenizer=model.tokenizer, length=rule.length, bos=rule.bos, bos_id=model.bos_id)
    windows = {
        "train": cut(train, n=rule.train, starts=STARTS, seed=rule.seed),
        "test": cut(test, n=rule.test, starts="disjoint", seed=rule.seed + 1),
    }
    if texts.contrast:
        contrast = corpus.load(texts.contrast)
        windows["contrast"] = cut(contrast, n=rule.contrast, starts="disjoint", seed=rule.seed + 2)
    return windows


def extract_study(study: Study, layers: Sequence[Layer] | None = None, folder: Path | None = None) -> dict[Layer, dict]:
    """Extract a study's layers (or others) into its store (or another folder); the manifest of each layer.

    Of a study that draws windows per seed, the stores of all seeds are made, and the manifests are those of the last.

    Raises:
        ConfigError: a recipe of the study is wrong.
    """
    study.check_recipes()
    model = models.load(study.model)
    manifests = {}
    for one in study.parts:
        manifests = extract(
            model,
            windows_of(one, model),
            layers or study.layers,
            (folder or study.artifacts) / one.store,
            study.pool,
            window_rule=_window_rule(one.windows),
            as_named=study.model in models.OFFLINE or re.fullmatch("[0-9a-f]{40}", model.revision) is not None,
        )
    return manifests


def manifest_of(study: Study, layer: Layer) -> dict:
    """The manifest of a layer's activations: as the store has it, or, without digests, as extraction would write it.

    Raises:
        ConfigError, ValueError: see `windows_of`; the manifest is damaged.
    """
    path = layer_folder(store_for(study, layer), layer) / "manifest.json"
    if path.is_file():
        return read_json(path, f"delete {path.parent} and extract it again")
    return _manifest_to_be(study.model, study.corpus, study.windows, layer)


@lru_cache
def _manifest_to_be(name: str, texts: Corpus, rule: WindowRule, layer: Layer) -> dict:
    model = models.load(name)
    return manifest(model, _windows(texts, rule, model), layer, _window_rule(rule))


def _window_rule(rule: WindowRule) -> dict:
    return {"length": rule.length, "starts": STARTS, "bos": rule.bos, "seed": rule.seed}


def extract_for_trial(study: Study, layer: Layer) -> None:
    """Extract `layer` beside the study's output if it is tried out, and the study has no activations of it."""
    if study.out is not None and not _holds(store_for(study, layer), layer):
        extract_study(study, [layer], study.out)


def is_extracted(study: Study, layer: Layer) -> bool:
    """Whether the study has its activations of a layer, of all seeds."""
    return all(_holds(study.artifacts / one.store, layer) for one in study.parts)


def store_for(study: Study, layer: Layer) -> Path:
    """The store to read `layer` from: the study's own, or the one beside the output of a trial."""
    own = study.artifacts / study.store
    return own if study.out is None or _holds(own, layer) else study.out / study.store


def _holds(store: Path, layer: Layer) -> bool:
    return (layer_folder(store, layer) / "manifest.json").is_file()
