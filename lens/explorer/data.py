"""All that the page shows of one study, from its tables, dictionaries, activations and language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lens import checkout
from lens.activations import language_model
from lens.activations.language_model import LanguageModel
from lens.activations.layers import Layer
from lens.activations.store import LayerStore, StoreError, open_layer
from lens.dictionaries.dictionary import Dictionary
from lens.errors import ConfigError
from lens.explorer.contexts import buckets
from lens.explorer.layer import PERMUTATIONS, LayerSource, describe
from lens.explorer.pack import LEVELS, Part
from lens.explorer.text import token_texts, vocabulary
from lens.measure.bands import SHARE, edge_distance
from lens.measure.logit_lens import logit_lens
from lens.measure.spans import BANDWIDTH
from lens.study import tables
from lens.study.analysis import spread
from lens.study.extraction import store_for
from lens.study.params import Study

METHOD = "temporallens"
PAPER_MODEL = "google/gemma-2-2b"
PASSAGES = 12  # windows that can be read with every feature's activations


@dataclass(frozen=True)
class StudyData:
    """The parts of the page that belong to one study."""

    name: str
    study: Part
    """what the study is, and the text of all windows that the page shows"""
    layers: dict[str, Part]
    """by name of the layer, in order of depth"""


def collect(study: Study) -> StudyData:
    """Everything the explorer shows of a study.

    Raises:
        ConfigError: tables or dictionaries are missing, or do not belong together; the message has the command.
        StoreError: activations are missing or altered.
    """
    variant = METHOD if METHOD in study.variants else study.variants[0]
    features, summary = (_table(study, name) for name in ("features", "summary"))
    dictionaries = {layer: _dictionaries(study, layer, variant) for layer in study.layers}
    model = language_model.load(study.model)
    passages = spread(study.windows.test, min(PASSAGES, study.windows.test))
    sources, test = {}, None
    for layer in study.layers:
        test = _opened(study, layer)
        sources[layer] = _source(study, layer, variant, dictionaries[layer], test, model, features, summary)
    facts = _facts(study, variant, model, sources)
    return assemble(facts, list(sources.values()), test.tokens, test.document, test.documents, test.start, passages,
                    model.tokenizer)  # fmt: skip


def assemble(
    facts: dict,
    sources: Sequence[LayerSource],
    tokens: Tensor,
    document: Tensor,
    documents: Sequence[str],
    start: Tensor,
    passages: Sequence[int],
    tokenizer: PreTrainedTokenizerBase,
) -> StudyData:
    """The study's parts from what was read; only windows that some context or passage shows are kept.

    Args:
        facts: what the page says about the study, among it `study`, its name.
        tokens: [n, T]; document, start: [n], see `LayerStore`.
        passages: windows that are kept whole for reading.
    """
    described = [describe(source, passages) for source in sources]
    shown = [np.asarray(passages)] + [c.window_KBC[_there(c)] for _, c in described]
    kept = np.unique(np.concatenate([np.ravel(x) for x in shown]))
    layers = {}
    for source, (part, contexts) in zip(sources, described, strict=True):
        window = np.where(_there(contexts), np.searchsorted(kept, contexts.window_KBC), 0)
        layers[source.name] = Part(
            part.header | _lens_words(source, tokenizer), {**part.arrays, "context_window": window}
        )
    words, place = vocabulary(tokens.numpy()[kept], tokenizer)
    T = tokens.shape[1]
    header = {
        **facts,
        "T": T,
        "windows": len(tokens),
        "documents": list(documents),
        "buckets": [[where.start, where.stop - 1] for where in buckets(T)],
        "edge_distance": edge_distance(T - 1).tolist(),
        "band_share": SHARE,
        "band_permutations": PERMUTATIONS,
        "bandwidth": BANDWIDTH,
        "levels": LEVELS,
        "passages": np.searchsorted(kept, passages).tolist(),
        "words": words,
        "layers": list(layers),
    }
    arrays = {"tokens": place, "document": document.numpy()[kept], "start": start.numpy()[kept]}
    return StudyData(facts["study"], Part(header, arrays), layers)


def _there(contexts) -> np.ndarray:
    """[K, buckets, C] which entries of the contexts mean something."""
    return np.arange(contexts.window_KBC.shape[-1]) < contexts.count_KB[..., None]


def _lens_words(source: LayerSource, tokenizer: PreTrainedTokenizerBase) -> dict:
    """The logit-lens tokens of a layer: texts of the distinct ones, and which they are for each feature."""
    lens = source.lens
    if lens is None:
        return {"lens": None}
    ids, place = np.unique(np.stack([lens.promoted_KN, lens.suppressed_KN]), return_inverse=True)
    place = place.reshape(2, *lens.promoted_KN.shape)
    z = [np.round(x, 1).tolist() for x in (lens.promoted_z_KN, lens.suppressed_z_KN)]
    return {
        "lens": {
            "words": token_texts(ids, tokenizer), "promoted": place[0].tolist(), "suppressed": place[1].tolist(),
            "promoted_z": z[0], "suppressed_z": z[1],
        }
    }  # fmt: skip


def _source(
    study: Study, layer: Layer, variant: str, dictionaries: dict[int, Dictionary], test: LayerStore,
    model: LanguageModel, features: pd.DataFrame, summary: pd.DataFrame,
) -> LayerSource:  # fmt: skip
    seed = min(dictionaries)
    rows, numbers = (_rows(study, table, layer, variant, seed) for table in (features, summary))
    lens = logit_lens(model, dictionaries[seed].W_dec.detach()) if model.causal else None
    numbers = numbers[numbers["positions"] == "text"].set_index("metric")["value"].to_dict()
    return LayerSource(
        str(layer), dictionaries, test.activations, test.document, rows.sort_values("feature"), numbers, lens
    )


def _facts(study: Study, variant: str, model: LanguageModel, sources: dict[Layer, LayerSource]) -> dict:
    first = next(iter(sources.values()))
    return {
        "study": study.name,
        "model": study.model,
        "role": _role(study, model),
        "causal": model.causal,
        "quantisation": model.quantisation,
        "variant": variant,
        "method": variant == METHOD,
        "seed": min(first.dictionaries),
        "seeds": list(study.seeds),
        "steps": study.training.steps,
        "corpus": study.corpus.test,
        "trained_on": study.corpus.train,
        "depth": {str(x): 0.0 if isinstance(x, str) else (x + 1) / model.n_layers for x in sources},
    }


def _role(study: Study, model: LanguageModel) -> str:
    if study.model == PAPER_MODEL:
        return "the model of the paper"
    if model.causal and not study.model.startswith("random:"):
        return "a stand-in for Gemma-2-2B"
    return "a control, not the paper's Gemma-2-2B"


def _table(study: Study, name: str) -> pd.DataFrame:
    try:
        return tables.read(study, name)
    except ConfigError as error:
        message = f"the explorer of study {study.name!r} has no tables to show: {error}; {_run(study)}"
        raise ConfigError(message) from None


def _rows(study: Study, table: pd.DataFrame, layer: Layer, variant: str, seed: int) -> pd.DataFrame:
    rows = table[(table["layer"] == str(layer)) & (table["variant"] == variant) & (table["seed"] == seed)]
    if rows.empty:
        raise ConfigError(
            f"no measures of {variant}, seed {seed}, at layer {layer} in {_shown(study.results / 'tables')}; "
            f"{_run(study, '04_analysis', layer)}"
        )
    return rows


def _dictionaries(study: Study, layer: Layer, variant: str) -> dict[int, Dictionary]:
    folder = study.dictionaries("dictionaries", layer)
    try:
        return {seed: Dictionary.load(folder / f"{variant}-seed{seed}") for seed in sorted(study.seeds_at(layer))}
    except ValueError as error:
        raise ConfigError(
            f"the explorer needs the dictionaries of layer {layer}, which are not in {_shown(folder)}: {error}; "
            f"{_run(study, '02_train', layer)}"
        ) from None


def _opened(study: Study, layer: Layer) -> LayerStore:
    try:
        return open_layer(store_for(study, layer), layer, "test")
    except StoreError as error:
        raise ConfigError(f"{error}; {_run(study, '01_extract')}") from None


def _run(study: Study, stage: str = "", layer: Layer | None = None) -> str:
    """What to type to get what is missing."""
    pipeline = (
        "" if study.params_file.parent == checkout.root() else f" {_shown(study.params_file.parent / 'dvc.yaml')}"
    )
    alone = f"python -m lens run {stage} --study {study.name}" + ("" if layer is None else f" --layer {layer}")
    return f"make it with `dvc repro{pipeline}`" + (f", or alone with `{alone}`" if stage else "")


def _shown(path) -> str:
    return str(path.relative_to(checkout.root())) if path.is_relative_to(checkout.root()) else str(path)
