"""Dictionaries for a model and a text of your own, without a study: `fit`."""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from pathlib import Path

import numpy as np

from lens.activations import language_model, models
from lens.activations.corpus import LEAST_HELD_OUT, Windows, draw_windows
from lens.activations.extract import extract
from lens.activations.language_model import LanguageModel
from lens.activations.layers import Layer, as_layer
from lens.activations.split import Text, as_dataset
from lens.activations.store import open_layer, write_json
from lens.dictionaries.dictionary import Dictionary
from lens.dictionaries.folder import CONFIG
from lens.errors import ConfigError, seed_of, whole
from lens.fields import folder_name
from lens.files import check_can_hold, read_json
from lens.processes import holding_together, join
from lens.training.events import check_installed
from lens.training.recipe import build
from lens.training.stream import Stream
from lens.training.train import train_layer

REPETITIONS = 3  # windows that a token is in on average, from which a text counts as short


def fit(
    model: LanguageModel | str | os.PathLike,
    layer: Layer,
    text: Text,
    folder: Path | str,
    *,
    architecture: str = "relu",
    position: str = "mask",
    name: str = "",
    windows: int = 1024,
    length: int = 128,
    steps: int = 1000,
    seed: int = 0,
    redraw: bool = False,
    held_out: Text | None = None,
    log_dir: Path | str | None = None,
    **fields: object,
) -> Dictionary:
    """Train a dictionary on the residual stream of one layer of a model on a text.

    Everything is kept in `folder`: `activations/`, `dictionaries/<name>/<name>-seed<seed>/`, and in `pool/` what makes
    a second call go on where the first was stopped, or finish at once. Dictionaries that are fitted in one folder to
    the same model, text, layer and windows see the same windows in the same order; one seed gives them one start. What
    was asked for is in `dictionaries/<name>/fit.json`: a call that asks for something else of that name is refused, or
    for other activations of a model of that name.

    Args:
        model: a language model, or its name (`lens.activations.models.load`).
        layer: block index counted from 0, or `embedding`.
        text: a corpus by name, the path of a UTF-8 text file, a list of documents or of files (`Path`), or a data set.
        architecture: how features are selected: a file in `lens/dictionaries/architectures/`, or one of your own.
        position: what position does: `mask`, `none` or another file of `lens/dictionaries/positions/`, two of them
            (`centred+gain`), or one of your own.
        name: of the dictionary, by default `<architecture>-<position>`.
        windows: training windows, drawn at random starts.
        length: T, tokens of a window. Position 0 holds BOS, or, where the tokenizer has none, a text token that sees no
            other; it is not trained on.
        steps: optimiser steps, each on 16 windows.
        redraw: draw the windows anew each epoch, and run the language model on them when they are needed: more of a
            long text is seen, and no activations are stored. See `lens.training.stream`.
        held_out: text for a later profile. Nothing is done with it but to see, before the language model runs, that it
            is long enough for one.
        log_dir: folder for TensorBoard (`tensorboard --logdir`), which has to be installed: the metrics of training as
            they come, in `<name>-seed<seed>`. Steps that an earlier call has taken are not written again.
        fields: of `lens.training.recipe.Recipe`, the architecture or the position term, for instance `expansion=4` or
            `l1_coef=0.02`.

    Raises:
        ValueError: no such layer, or a text too short for its windows; the message has the characters it takes.
        ConfigError: an unknown field, architecture or position term, a seed that is none, a name that is no folder's,
            or a dictionary of this name that was fitted in another way.
        DictionaryError: an architecture of your own does not answer codes.
        ModuleNotFoundError: `log_dir` without TensorBoard.
        OSError: `folder` can't be made or written in, or there is no room.
        TrainingError: the loss is not finite, or every feature is silent.
    """
    recipe = build({"architecture": architecture, "position": position, "steps": steps, **fields}, "fit")
    windows, length, seed = whole("windows", windows, 1), whole("length", length, 2), seed_of(seed)
    if windows < recipe.batch_windows:
        raise ConfigError(f"windows={windows} are fewer than one batch of {recipe.batch_windows}: ask for more")
    if log_dir is not None:
        check_installed()
    parts = (part.rpartition(":")[2].replace("+", "-") for part in (architecture, position))
    name = folder_name(name or "-".join(parts), "fit: name")
    check_can_hold(folder)
    join()
    model = models.opened(model)
    [layer] = language_model.check_layers(model, [as_layer(layer)])
    folder = Path(folder)
    dataset = as_dataset(text)
    options = {"length": length, "starts": "random", "seed": seed}
    bos = {"bos": model.bos_id is not None, "bos_id": model.bos_id}
    train = draw_windows(dataset, model.tokenizer, windows, **bos, **options, name="training text")
    if not redraw:
        _warn_of_repetition(train, bos["bos"])
    if held_out is not None:
        one = {"length": length, "starts": "disjoint", "name": "held-out text"}
        draw_windows(as_dataset(held_out), model.tokenizer, LEAST_HELD_OUT, **bos, **one)
    asked = {"model": model.name, "layer": str(layer), "text": train.digest[:12], "windows": windows, "length": length}
    asked = json.loads(json.dumps(asked | {"seed": seed} | recipe.values()))
    record = folder / "dictionaries" / name / "fit.json"
    store, pool = folder / "activations", folder / "pool"
    with holding_together(pool / f"fit-{name}"):
        _check_same(record, asked)
        if redraw:
            activations = Stream(model, layer, dataset, windows, length)
            data_digest = activations.digest
        else:
            with holding_together(store):  # another call may ask for another layer: the store has what was asked last
                manifests = extract(model, {"train": train}, [layer], store, pool, window_rule=options)
                activations = open_layer(store, layer, "train").activations
            data_digest = manifests[layer]["sha256"]["train.safetensors"]
        asked["activations"] = data_digest[:12]  # models of one name may differ
        _check_same(record, asked)
        trained = train_layer(
            activations,
            {name: recipe},
            [seed],
            record.parent,
            pool,
            data_digest=data_digest,
            model=model.name,
            layer=layer,
            bos=model.bos_id is not None,
            order_seed=seed if redraw else 0,  # stored windows are drawn with the seed
            log_dir=None if log_dir is None else Path(log_dir),
        )
        write_json(record, asked)
    return Dictionary.load(trained.folders[name, seed], trust=True)


def _warn_of_repetition(train: Windows, bos: bool) -> None:
    """Windows start anywhere, so in a short text they overlap: say so where each token is in several."""
    n, n_text = train.tokens.shape[0], train.tokens.shape[1] - bos
    order = np.lexsort((train.start, train.document))
    document, start = train.document[order], train.start[order]
    new = np.where(np.diff(document) == 0, np.minimum(np.diff(start), n_text), n_text)
    different = n_text + int(new.sum())
    if n * n_text >= REPETITIONS * different:
        warnings.warn(
            f"the {n} training windows hold {different:,} tokens of the text, each of them "
            f"{n * n_text / different:.1f} times on average: more text would tell more",
            stacklevel=3,
        )


def _check_same(record: Path, asked: dict) -> None:
    """Raise ConfigError if what was fitted here before is something else than what is asked for."""
    before = _fitted(record)
    differ = [f"{key} {before[key]}, not {asked[key]}" for key in before if key in asked and before[key] != asked[key]]
    if differ:
        why = ""
        if differ[0].startswith("activations "):  # what they were asked of is the same by name
            why = f", so {asked['model']} isn't the model that it was: other weights, settings or precision"
        raise ConfigError(
            f"{record.parent} was fitted with {'; '.join(differ)}{why}: pass name= or another folder, or delete that "
            "one"
        )


def _fitted(record: Path) -> dict:
    """What was fitted here before, as its record says; where that is lost, as the dictionary itself says."""
    if record.is_file():
        return read_json(record, "delete it and fit again")
    for config in record.parent.glob(f"*/{CONFIG}"):
        with contextlib.suppress(ConfigError):  # what is damaged may be replaced
            return {key: value for key, value in read_json(config).items() if key in ("model", "layer", "seed")}
    return {}
