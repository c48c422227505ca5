"""Dictionaries for a model and a text of your own, without a study: `fit`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lens.activations import language_model
from lens.activations.corpus import draw_windows
from lens.activations.extract import extract
from lens.activations.language_model import LanguageModel
from lens.activations.layers import Layer
from lens.activations.split import Text, as_dataset
from lens.activations.store import open_layer
from lens.dictionaries.model import SAE
from lens.training.presets import train_config
from lens.training.train import train_layer


def fit(
    model: LanguageModel | str,
    layer: Layer,
    text: Text,
    folder: Path | str,
    *,
    variants: Sequence[str] = ("temporallens", "standard"),
    windows: int = 1024,
    length: int = 128,
    steps: int = 1000,
    preset: str = "paper",
    seed: int = 0,
    **overrides: object,
) -> dict[str, SAE]:
    """Train dictionaries on the residual stream of one layer of a model on a text; by variant.

    Everything is kept in `folder`: `activations/`, `dictionaries/<variant>-seed<seed>/`, and in `pool/` what makes a
    second call go on where the first was stopped, or finish at once.

    Args:
        model: a language model, or its name (`lens.activations.language_model.load`).
        layer: block index counted from 0, or `embedding`.
        text: a corpus by name, the path of a UTF-8 text file, a list of documents, or a data set.
        variants: of `lens.training.presets.VARIANTS`; all see the same windows in the same order.
        windows: training windows, drawn at random starts.
        length: T, tokens of a window with BOS at position 0.
        steps: optimiser steps, each on 16 windows.
        overrides: fields of `lens.training.presets.TrainConfig`, for instance `expansion=4` or `l1_coef=0.02`.

    Raises:
        ValueError: no such layer, a text too short for the windows, or a model without BOS; the message has the counts.
        ConfigError: an unknown preset, variant or field.
        TrainingError: the loss is not finite, or every feature is silent.
    """
    configs = {variant: train_config(preset, variant, steps, overrides) for variant in variants}
    model = language_model.load(model) if isinstance(model, str) else model
    language_model.check_layers(model, [layer])
    folder = Path(folder)
    options = {"length": length, "starts": "random", "seed": seed}
    train = draw_windows(as_dataset(text), model.tokenizer, windows, bos_id=model.bos_id, **options)
    store = folder / "activations"
    manifests = extract(model, {"train": train}, [layer], store, folder / "pool", window_rule=options)
    trained = train_layer(
        open_layer(store, layer, "train").activations,
        configs,
        [seed],
        folder / "dictionaries",
        folder / "pool",
        data_digest=manifests[layer]["sha256"]["train.safetensors"],
        model=model.name,
        layer=layer,
    )
    return {variant: SAE.load(path) for (variant, _), path in trained.folders.items()}
