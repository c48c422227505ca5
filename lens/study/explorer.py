"""The explorer of a study: what its page needs of tables, dictionaries, activations and language model."""

from __future__ import annotations

from collections.abc import Sequence
from http.server import ThreadingHTTPServer
from pathlib import Path

import pandas as pd

from lens import checkout
from lens.activations import models
from lens.activations.language_model import LanguageModel
from lens.activations.layers import Layer
from lens.activations.store import LayerStore, StoreError, layer_folder
from lens.dictionaries.dictionary import Dictionary
from lens.dictionaries.info import Info
from lens.errors import ConfigError
from lens.explorer import page
from lens.explorer.data import StudyData, assemble, kept_layer, same_study
from lens.explorer.layer import KeptLayer, LayerSource
from lens.explorer.serve import serving
from lens.measure.logit_lens import logit_lens
from lens.profiling.own_text import Reader
from lens.profiling.reading import passages_of
from lens.study import tables
from lens.study.extraction import store_for
from lens.study.layer_data import load_dictionary, open_layer_data
from lens.study.params import Study


def build(studies: Study | Sequence[Study], path: Path | None = None) -> Path:
    """Write the explorer of one or several studies; see `collect` for what it keeps of a page that is there.

    Args:
        path: None stands for `explorer.html` among the results of the (first) study.

    Raises:
        ConfigError, StoreError: tables, dictionaries or activations are missing; the message has the command.
    """
    studies = [studies] if isinstance(studies, Study) else list(studies)
    path = path or studies[0].results / "explorer.html"
    page.check_place(path)
    before = page.read(path)
    return page.write([collect(study, before.get(study.name)) for study in studies], path)


def server_of(studies: Sequence[Study], port: int = 0) -> ThreadingHTTPServer:
    """A server of the explorer of studies, where own text is read with the dictionary of the layer that is shown; it
    runs once it is told to (`serve_forever`). Raises as `collect` does, and ConfigError where the port is taken.
    """
    found = [collect(study) for study in studies]
    opened = {name: models.load(name) for name in {study.model for study in studies}}
    readers = {
        (study.name, str(layer)): Reader(
            load_dictionary(study, layer, shown_variant(study), min(study.seeds_at(layer))).eval(),
            opened[study.model], layer, study.windows.bos,
        )
        for study in studies
        for layer in study.layers
    }  # fmt: skip
    return serving(found, readers, port)


def shown_variant(study: Study) -> str:
    """The variant whose dictionaries the explorer shows: the method, or the first."""
    return study.roles.method or study.variants[0]


def collect(study: Study, before: StudyData | None = None) -> StudyData:
    """Everything the explorer shows of a study: the dictionaries of its method, or of its first variant.

    Args:
        before: the study as a page has it that was written before. Layers whose dictionaries or activations are here no
            longer are taken from it, if it is of a study with the same facts, and of the dictionaries of the tables.

    Raises:
        ConfigError: tables or dictionaries are missing, or do not belong together; the message has the command.
        StoreError: activations are missing or altered.
    """
    variant = shown_variant(study)
    features, summary = (_table(study, name) for name in ("features", "summary"))

    def measured(layer: Layer) -> tuple[pd.DataFrame, dict]:
        values = _rows(study, summary, layer, variant).query("positions == 'text'").set_index("metric")["value"]
        return _rows(study, features, layer, variant).sort_values("feature"), values.to_dict()

    old = before.layers if before else {}
    there = {layer: _is_here(study, layer) for layer in study.layers}
    read = [x for x in study.layers if there[x] or str(x) not in old] or list(study.layers[:1])
    dictionaries = {layer: _dictionaries(study, layer, variant) for layer in read}
    model = models.load(study.model)
    opened = {layer: _opened(study, layer) for layer in read}
    text = opened[read[0]]
    facts = _facts(study, model, next(iter(dictionaries[read[0]].values())).info)
    n, T = text.tokens.shape
    kept = before if before and same_study(before, facts, n, T, text.documents) else None
    sources: list[LayerSource | KeptLayer] = []
    for layer in study.layers:
        name = str(layer)
        if kept and name in kept.layers and layer not in read:
            sources.append(kept_layer(kept, name, text.document, text.start, *measured(layer)))
        else:
            made = dictionaries.get(layer) or _dictionaries(study, layer, variant)
            store = opened.get(layer) or _opened(study, layer)
            lens = _logit_lens(model, made)
            sources.append(LayerSource(name, made, store.activations, store.document, *measured(layer), lens))
    return assemble(
        facts, sources, text.tokens, text.document, text.documents, text.start,
        passages_of(study.windows.test), model.tokenizer,
    )  # fmt: skip


def _is_here(study: Study, layer: Layer) -> bool:
    folders = study.dictionaries("dictionaries", layer), layer_folder(store_for(study, layer), layer)
    return all(folder.is_dir() for folder in folders)


def _facts(study: Study, model: LanguageModel, info: Info) -> dict:
    return {
        "study": study.name,
        "model": study.model,
        "model_note": study.model_note,
        "causal": model.causal,
        "quantisation": model.quantisation,
        "variant": info.name,
        "architecture": info.architecture,
        "position": info.position,
        "seed": info.seed,
        "seeds": list(study.seeds),
        "steps": study.training.steps,
        "corpus": study.corpus.test,
        "trained_on": study.corpus.train,
        "depth": {str(x): 0.0 if isinstance(x, str) else (x + 1) / model.n_layers for x in study.layers},
    }


def _logit_lens(model: LanguageModel, dictionaries: dict[int, Dictionary]):
    return logit_lens(model, dictionaries[min(dictionaries)].directions.detach()) if model.causal else None


def _table(study: Study, name: str) -> pd.DataFrame:
    try:
        return tables.read(study, name)
    except ConfigError as error:
        message = f"the explorer of study {study.name!r} has no tables to show: {error}; {_run(study)}"
        raise ConfigError(message) from None


def _rows(study: Study, table: pd.DataFrame, layer: Layer, variant: str) -> pd.DataFrame:
    """Rows of the dictionary shown: of the first seed."""
    seed = min(study.seeds_at(layer))
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
        return {seed: load_dictionary(study, layer, variant, seed) for seed in sorted(study.seeds_at(layer))}
    except ValueError as error:
        raise ConfigError(
            f"the explorer needs the dictionaries of layer {layer}, which are not in {_shown(folder)}: {error}; "
            f"{_run(study, '02_train', layer)}"
        ) from None


def _opened(study: Study, layer: Layer) -> LayerStore:
    try:
        return open_layer_data(study, layer).test
    except StoreError as error:
        raise ConfigError(f"{error}; {_run(study, '01_extract')}") from None


def _run(study: Study, stage: str = "", layer: Layer | None = None) -> str:
    """What to type to get what is missing."""
    alone = f"python -m lens run {stage} --study {study.name}" + ("" if layer is None else f" --layer {layer}")
    return f"make it with `{study.repro}`" + (f", or alone with `{alone}`" if stage else "")


def _shown(path: Path) -> str:
    return str(path.relative_to(checkout.root())) if path.is_relative_to(checkout.root()) else str(path)
