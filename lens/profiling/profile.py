"""`lens.profile`: a dictionary by position, on a text and a language model, or on activations that you have."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lens.activations import models
from lens.activations.clocks import named_clocks
from lens.activations.corpus import LEAST_HELD_OUT, Windows, draw_windows
from lens.activations.documents import Corpus
from lens.activations.hooks import Site
from lens.activations.language_model import LanguageModel
from lens.activations.layers import Layer
from lens.activations.offset_windows import TILES, draw_offset_windows
from lens.activations.packing import as_windows
from lens.activations.split import Text, as_dataset
from lens.activations.store import LayerStore
from lens.activations.token_texts import token_texts
from lens.dictionaries.compatible import check_hook
from lens.dictionaries.dictionary import Dictionary
from lens.dictionaries.load import load
from lens.dictionaries.wrapped import Encodes, Wrapped, own_copy
from lens.errors import seed_of, whole
from lens.measure.at_once import at_once
from lens.measure.offsets import MIN_SEGMENTS
from lens.measure.position_information import NULL_DRAWS
from lens.measure.profiles import PERMUTATIONS
from lens.profiling.features import Measured, clock_labellings
from lens.profiling.layer import measure_dictionaries
from lens.profiling.layer_data import LayerData
from lens.profiling.places import place_in, read_at
from lens.profiling.position_profile import About, PositionProfile, ProfileError
from lens.profiling.profile_tables import clock_rates, feature_rows, null_band, own_rows, positional_rows, verdict_rows
from lens.profiling.recorded import Activations
from lens.profiling.shown import show
from lens.profiling.specialisation import specialisation
from lens.progress import track

BATCH_WINDOWS = 16  # per forward pass, fewer of long ones
SHORTEST = 8  # tokens of a window of which a profile can be taken
WINDOWS, SPLICED = 256, 16  # where nothing is asked for
OFF = 2  # factor between L0 and what the dictionary states, from which on something is wrong
KEY = ("dictionary", 0)  # variant and seed in the tables, which are shaped like those of a study


class _Source(NamedTuple):
    """What activations are made of."""

    model: LanguageModel
    text: Corpus | Windows

    @property
    def width(self) -> int:
        return self.model.d_model


class _Subject(NamedTuple):
    """What a dictionary is measured on."""

    data: LayerData
    source: _Source | None
    """None: activations are all there is"""
    name: str
    digest: str
    """of the text, or of the activations"""
    bos_id: int | None
    texts: Callable[[np.ndarray], list[str]] | None
    """words of token numbers; None: it isn't known which token is where"""
    clocks: Mapping[str, np.ndarray]
    """[n, T] by name"""
    place: Site | Layer = ""
    """where the language model was read"""


def profile(
    sae: Dictionary | Encodes | Path | str,
    model: LanguageModel | str | os.PathLike | Activations | np.ndarray | Tensor,
    text: Text | Tensor | np.ndarray | None = None,
    *,
    layer: Layer | None = None,
    windows: int | None = None,
    length: int | None = None,
    fidelity: int | None = None,
    permutations: int = PERMUTATIONS,
    offsets: int = 0,
    contexts: int = 0,
    clocks: Sequence[str] = (),
    seed: int = 0,
    trust: bool = False,
) -> PositionProfile:
    """Profile a dictionary by position. Costs the language model's forward passes and little more.

    Args:
        sae: a dictionary, or where to find one (`lens.load`: a folder or a hub id, of any format it knows), or a module
            of any library with `encode` and `decode` (`lens.dictionaries.wrapped`). It is copied and left as it is. The
            encoder of a transcoder (`lens.dictionaries.encoder`) is read at the place that it names, on the way to an
            MLP, and has no FVU, Delta CE and KL.
        model: a language model, or its name (`lens.activations.models.load`); or activations [n, T, d] that you
            have, of anything, in the place of a model and a text, with labels as `lens.Activations`.
        text: a corpus by name, the path of a UTF-8 text file, a list of documents, or a data set with `text` and
            `document`. It should be text that the dictionary was not trained on. Or token ids [n, T] of windows as your
            pipeline makes them: packed documents, chats (see `lens.activations.packing`).
        layer: the block after which the dictionary reads; by default the one that it says it was trained on.
        windows: how many, without overlap, spread over all documents, by default 256; of a short text all that it has,
            with a warning, if they are `lens.activations.corpus.LEAST_HELD_OUT` (16) or more. A feature needs 100
            firings for a test of position and 300 for a width: with 256 windows of 128 tokens, a density of 0.3 % and
            1 %. All windows of activations are read.
        length: T, tokens of a window, at least 8; by default 128, or the dictionary's T if that is less. Position 0
            holds BOS, or text where the tokenizer has no BOS or the dictionary says that it was trained without
            (`Info.bos`), and is not counted among the `text` positions. Of activations, their own.
        fidelity: windows on which the reconstruction is spliced into the model, for Delta CE and KL, by default 16; 0:
            none. Needs a model, and a dictionary that reconstructs what it reads.
        permutations: of the null of the position test, at least 40.
        offsets: M, 2 or more: read as much text as `windows` hold M times, in windows that start at different places,
            and say of each feature whether it is specialised, inherits its profile, or follows the text (columns
            verdict and others of `features`, see `lens.profiling.specialisation`); 0: don't. Needs a model.
        contexts: strongest windows to keep of each feature and stretch of positions, for `lens explore` (3, say), with
            histograms, neighbours and what its direction promotes; about doubles the time. 0: none.
        clocks: `document`, `newline`, `turn`: test, beside the position in a window, for dependence on the tokens since
            a document, a line or a turn of a chat began, and on position among tokens at equal distance from it (see
            `lens.activations.clocks`). Activations have their own, `lens.Activations(..., clocks=...)`.
        seed: draws windows and permutations, at least 0.
        trust: as in `lens.load`: let code of somebody's own run that a folder names.

    Raises:
        ProfileError: no layer is known, a context longer than the dictionary's positions, or something that needs a
            model is asked of activations, or a reconstruction of an encoder alone.
        ConfigError: a number that is out of range, or activations and labels that do not fit each other.
        ValueError: the dictionary does not fit the model's width or the hook, or the text is too short; both sides
            are named. See `lens.load` and `lens.activations.corpus` for what else can be wrong with either.
    """
    asked = {"windows": windows, "length": length, "fidelity": fidelity, "offsets": offsets}
    windows = whole("windows", WINDOWS if windows is None else windows, 1)
    spliced, seed = whole("fidelity", SPLICED if fidelity is None else fidelity, 0), seed_of(seed)
    permutations, offsets = whole("permutations", permutations, 2 * NULL_DRAWS), whole("offsets", offsets, 0)
    contexts = whole("contexts", contexts, 0)
    corpus = None if text is None else _text(text)
    opened = load(sae, trust=trust) if isinstance(sae, str | Path) else own_copy(sae)
    name = str(sae) if isinstance(sae, str | Path) else ""
    source = _source(model, corpus, asked, clocks)
    sae = (opened if isinstance(opened, Dictionary) else Wrapped(opened, source.width)).eval()
    name = name or sae.info.name or type(sae).__name__
    if not sae.reconstructs:
        if fidelity:
            raise ProfileError(
                f"{name} writes something else than it reads, and can't be spliced in its place: leave fidelity out"
            )
        spliced = 0
    if isinstance(source, Activations):
        subject, spliced = _of_activations(sae, source, layer), 0
    else:
        if offsets and not 2 <= offsets < (length or _length_of(sae)):
            raise ProfileError(
                f"offsets={offsets}: a text is read at 2 offsets or more, and fewer than its windows' tokens"
            )
        if spliced and not source.model.causal:
            raise ProfileError(f"{source.model.name} is an encoder and predicts no next token: pass fidelity=0")
        subject = _of_text(sae, source, layer, windows, length, seed, clocks)
    if contexts and subject.texts is None:
        raise ProfileError("contexts are windows of text: pass tokens= of lens.Activations, or leave contexts out")
    data = subject.data
    windows, length = data.test.tokens.shape
    if (x := data.test.activations[:, 1:]).eq(x[0, 0]).all():
        where = f"at layer {data.layer}" if data.layer != "" else "given"
        raise ProfileError(f"the activations {where} are the same at every token: profile on text that varies")
    spliced = min(spliced, windows)
    labels = clock_labellings(windows, length, subject.clocks)
    tables, measured = measure_dictionaries(
        {KEY: sae.float().cpu()}, data, subject.source and subject.source.model,
        labellings=labels, spliced=list(range(spliced)), by_document=False,
        permutations=permutations, seed=seed,
    )  # fmt: skip
    found = measured[KEY]
    features = feature_rows(found, subject.texts is not None)
    if offsets and subject.source is not None:
        told = _verdicts(sae, subject, subject.source, found, offsets, permutations, seed)
        features = features.merge(told, on="feature")
    about = About(
        name, subject.name, str(data.layer), subject.digest, windows, length, spliced, permutations, seed,
        subject.bos_id is not None, subject.source is None,
    )  # fmt: skip
    rates = pd.DataFrame(
        found.profile.firings_TK / found.profile.windows, index=pd.RangeIndex(1, length, name="position")
    )
    summary = pd.concat(
        [own_rows(tables["summary"]), positional_rows(found), verdict_rows(features)], ignore_index=True
    )
    _warn_of_other_inputs(sae, summary, data.scale)
    shown = None
    if contexts and subject.texts is not None:
        shown = show(sae, data.test, subject.texts, subject.source and subject.source.model, contexts)
    return PositionProfile(
        about, summary, own_rows(tables["positions"]), features, rates, null_band(found.profile), shown,
        clock_rates(found, labels),
    )  # fmt: skip


def _text(text: Text | Tensor | np.ndarray) -> Corpus | Windows:
    if isinstance(text, np.ndarray) and text.dtype.kind in "UO":
        text = text.tolist()
    return as_windows(text) if isinstance(text, Tensor | np.ndarray) else as_dataset(text)


def _source(
    model: LanguageModel | str | os.PathLike | Activations | np.ndarray | Tensor,
    text: Corpus | Windows | None,
    asked: dict[str, int | None],
    clocks: Sequence[str],
) -> Activations | _Source:
    """Raise ProfileError for a model without a text, and for what activations alone can't answer."""
    if not isinstance(model, Activations | np.ndarray | Tensor):
        if text is None:
            raise ProfileError("a model without a text: pass the text to profile on, or activations [n, T, d] alone")
        if isinstance(text, Windows) and (wanted := [n for n in ("windows", "length", "offsets") if asked[n]]):
            raise ProfileError(f"{' and '.join(wanted)} asked of token ids, which are windows already: leave it out")
        return _Source(models.opened(model), text)
    if clocks:
        raise ProfileError("clocks asked of activations: compute them, and pass lens.Activations(..., clocks=...)")
    if text is not None:
        raise ProfileError("activations and a text: pass activations alone, with labels as lens.Activations")
    if wanted := [name for name, value in asked.items() if value]:
        raise ProfileError(
            f"{' and '.join(wanted)} asked of activations: cutting, splicing and reading a text anew need a language "
            "model and a text; leave it out"
        )
    return model if isinstance(model, Activations) else Activations(model)


def _of_activations(sae: Dictionary, given: Activations, layer: Layer | None) -> _Subject:
    n, length, width = given.values.shape
    if width != sae.info.d_in:
        raise ProfileError(f"the dictionary reads width {sae.info.d_in}, the {given.name} have width {width}")
    if n < LEAST_HELD_OUT:
        raise ProfileError(f"{n} windows of activations: a profile needs {LEAST_HELD_OUT} or more")
    check_hook(sae, given.hook)
    _check_length(sae, length, given.name)
    data = given.layer_data("" if layer is None else str(layer))
    texts = None if given.tokens is None else given.texts
    return _Subject(data, None, given.name, given.digest(), None, texts, given.clocks)


def _of_text(
    sae: Dictionary, source: _Source, layer: Layer | None, windows: int, length: int | None, seed: int,
    clocks: Sequence[str],
) -> _Subject:  # fmt: skip
    model, text = source
    place = place_in(sae, model, layer)
    _warn_of_another_model(sae.info.model, model.name)
    if isinstance(text, Windows):
        _check_length(sae, text.tokens.shape[1], "token ids")
        cut, bos_id = text, model.bos_id if (text.tokens[:, 0] == model.bos_id).all() else None
    else:
        length = _length_of(sae) if length is None else whole("length", length, SHORTEST)
        _check_length(sae, length)
        bos_id = model.bos_id if sae.info.bos else None
        cut = _windows(text, model, windows, length, bos_id, seed)
    start = None if cut is text else cut.start
    measured = named_clocks(clocks, cut.tokens, model.tokenizer, start, bos_id is not None)
    return _Subject(
        _layer_data(cut, model, place),
        source,
        model.name,
        cut.digest,
        bos_id,
        partial(token_texts, tokenizer=model.tokenizer),
        measured,
        place,
    )


def _verdicts(
    sae: Dictionary, subject: _Subject, source: _Source, found: Measured, offsets: int, permutations: int, seed: int
) -> pd.DataFrame:
    model, text = source
    assert not isinstance(text, Windows)  # `_source` has looked
    test = subject.data.test
    n, length = test.tokens.shape
    drawn = draw_offset_windows(
        text,
        model.tokenizer,
        max(MIN_SEGMENTS, n // (2 * TILES)),
        length,
        readings=offsets,
        bos_id=subject.bos_id,
        seed=seed,
    )
    read = (
        _read_all(model, torch.from_numpy(tokens).flatten(0, 1), subject.place).unflatten(0, tokens.shape[:2])
        for tokens in track(drawn.tokens, f"text read at {offsets} offsets", "stretches")
    )
    return specialisation(sae, test, drawn, read, found.positional_K, permutations=permutations, seed=seed)


def _layer_data(cut: Windows, model: LanguageModel, place: Site | Layer) -> LayerData:
    """Windows of text with their activations, which also set the scale of errors: those of training are not known."""
    tokens, document, start = (torch.as_tensor(a) for a in (cut.tokens, cut.document, cut.start))
    store = LayerStore(_activations(model, tokens, place), tokens, document, start, cut.documents, {})
    return LayerData(str(place) if isinstance(place, Site) else place, lambda split: store)


def _warn_of_another_model(trained_on: str, name: str) -> None:
    """A model goes by several names, so that one name which is not the other is no proof."""
    if trained_on and trained_on.split("/")[-1].lower() != name.split("/")[-1].lower():
        warnings.warn(
            f"the dictionary says that it was trained on {trained_on}, and is profiled on {name}", stacklevel=4
        )


def _warn_of_other_inputs(sae: Dictionary, summary: pd.DataFrame, scale: float) -> None:
    """What a dictionary gives of activations in another scale than those that it was trained on, or of other ones."""
    value = summary[summary["positions"] == "text"].set_index("metric")["value"]
    said = []
    if "fvu" in value and not value["fvu"] <= 1:
        said.append(f"FVU is {value['fvu']:.3g}, where the mean of the activations alone gives 1")
    stated, l0 = sae.stated_l0, value["l0"]
    if stated and not stated / OFF <= l0 <= stated * OFF:
        said.append(f"L0 is {l0:.3g}, where the dictionary states {stated}")
    if said:
        warnings.warn(
            f"{'; '.join(said)}. Was it trained on activations in another scale (here their norm is about "
            f"{value['sq_norm'] ** 0.5 / scale:.3g}), of another model or layer? A factor that inputs were multiplied "
            "by in training is norm_scaling_factor= of lens.load",
            stacklevel=3,
        )


def _length_of(sae: Dictionary) -> int:
    return min(128, sae.info.n_positions or 128)


def _check_length(sae: Dictionary, length: int, given: str = "") -> None:
    trained = sae.info.n_positions
    if trained is not None and length > trained:
        raise ProfileError(
            f"windows of {length} tokens asked for, this dictionary has positions 0..{trained - 1}: "
            + (f"pass {given} of {trained} positions or less" if given else f"pass length={trained} or less")
        )
    if length < SHORTEST:
        raise ProfileError(f"{given or 'the dictionary'}: {length} positions, a profile needs {SHORTEST}")


def _windows(text: Corpus, model: LanguageModel, n: int, length: int, bos_id: int | None, seed: int) -> Windows:
    options = {"starts": "disjoint", "bos": bos_id is not None, "bos_id": bos_id, "seed": seed}
    options |= {"least": LEAST_HELD_OUT, "name": "text to profile on"}
    return draw_windows(text, model.tokenizer, n, length, **options)


def _activations(model: LanguageModel, tokens: Tensor, place: Site | Layer) -> Tensor:
    """Activations [n, T, d] in the model's precision, on the CPU."""
    batches = track(tokens.split(at_once(BATCH_WINDOWS, tokens.shape[1])), "language model", "batches")
    return torch.cat([read_at(model, batch, place) for batch in batches])


def _read_all(model: LanguageModel, tokens: Tensor, place: Site | Layer) -> Tensor:
    """All windows [m, T] of one stretch, at once unless they are long."""
    return torch.cat([read_at(model, part, place) for part in tokens.split(at_once(len(tokens), tokens.shape[1]))])
