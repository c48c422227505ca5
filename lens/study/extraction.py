"""The extraction stage of a study: its windows, its store, and that of a layer which is only tried out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from lens.activations import corpus, models
from lens.activations.corpus import Windows
from lens.activations.extract import extract
from lens.activations.language_model import LanguageModel
from lens.activations.layers import Layer
from lens.activations.store import layer_folder
from lens.study.params import Study

STARTS = "random"  # of training windows


def windows_of(study: Study, model: LanguageModel) -> dict[str, Windows]:
    """Training and held-out token windows of a study, drawn once and the same on every call.

    Training windows start at random, so that over a run the same token is seen at many positions; held-out windows
    are disjoint and come from documents that are never trained on. Windows of a contrasting text serve probes alone.

    Raises:
        ValueError: a text is too short for the windows asked, or the held-out text was there in training.
    """
    train, test = (corpus.load(name) for name in (study.corpus.train, study.corpus.test))
    corpus.check_no_leak(train, test)
    rule = study.windows
    cut = partial(corpus.draw_windows, tokenizer=model.tokenizer, length=rule.length, bos=rule.bos, bos_id=model.bos_id)
    windows = {
        "train": cut(train, n=rule.train, starts=STARTS, seed=rule.seed),
        "test": cut(test, n=rule.test, starts="disjoint", seed=rule.seed + 1),
    }
    if study.corpus.contrast:
        contrast = corpus.load(study.corpus.contrast)
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
        rule = one.windows
        manifests = extract(
            model,
            windows_of(one, model),
            layers or study.layers,
            (folder or study.artifacts) / one.store,
            study.pool,
            window_rule={"length": rule.length, "starts": STARTS, "bos": rule.bos, "seed": rule.seed},
            as_named=study.model in models.OFFLINE or re.fullmatch("[0-9a-f]{40}", model.revision) is not None,
        )
    return manifests


def extract_for_trial(study: Study, layer: Layer) -> None:
    """Extract `layer` beside the study's output if it is tried out, and the study has no activations of it."""
    if study.out is not None and not _holds(store_for(study, layer), layer):
        extract_study(study, [layer], study.out)


def store_for(study: Study, layer: Layer) -> Path:
    """The store to read `layer` from: the study's own, or the one beside the output of a trial."""
    own = study.artifacts / study.store
    return own if study.out is None or _holds(own, layer) else study.out / study.store


def _holds(store: Path, layer: Layer) -> bool:
    return (layer_folder(store, layer) / "manifest.json").is_file()
