"""`lens.audit`: does this pipeline number positions as you think?"""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from lens.activations import models
from lens.activations.corpus import draw_windows
from lens.activations.language_model import LanguageModel
from lens.activations.layers import Layer, as_layer
from lens.activations.split import Text, as_dataset
from lens.auditing import context, positions, tokens
from lens.auditing.findings import Audit
from lens.auditing.sources import Source, open_source
from lens.dictionaries.compatible import check_fits
from lens.dictionaries.dictionary import Dictionary
from lens.dictionaries.load import load
from lens.dictionaries.wrapped import Encodes, Wrapped, own_copy
from lens.errors import whole

LENGTH = 128
TEXTS = 4  # that are batched, padded and packed
BATCH = 8  # windows read at once
SHORTEST = 32  # tokens of a window: halves and tails of it are read, too


def audit(
    model: LanguageModel | str | os.PathLike,
    dictionary: Dictionary | Encodes | Path | str | None = None,
    *,
    layer: Layer | None = None,
    source: str | Source = "transformers",
    text: Text = "shakespeare-held-out",
    windows: int = 32,
    length: int | None = None,
    seed: int = 0,
    trust: bool = False,
) -> Audit:
    """Read the same text in every way in which pipelines go wrong, and say where the activations differ.

    Checked are BOS (once, at t = 0), a second one, the chat template; batches, padding on the left and on the right,
    packed documents, BOS left out; positions beyond the context of model or dictionary; and from which position on a
    dictionary errs no more than later (`lens.auditing.context.sound_from`).

    Args:
        model: a language model or its name, read in fp32 where it is a name.
        dictionary: one, or where to find it, as in `lens.profile`.
        layer: where activations are read; by default where the dictionary reads, or after the middle block.
        source: `transformers`, `nnsight`, `transformer_lens`, or `file.py:Name`: a class of your own that is
            `lens.auditing.sources.Source`, or an object that is one.
        text: as in `lens.profile`.
        windows: of the text, on which the dictionary is read.
        length: T, tokens of a window, at least 32; by default 128, or the dictionary's T.
        trust: as in `lens.load`.

    Raises:
        ConfigError: a number that is out of range, or an unknown source.
        ValueError: the dictionary doesn't fit the model, or the text is too short.
    """
    model = models.opened(model, torch.float32)
    sae = _opened(dictionary, model, trust)
    layer = as_layer(layer if layer is not None else _layer(sae, model))
    if sae is not None:
        check_fits(sae, model, layer)
    n, length = whole("windows", windows, TEXTS), whole("length", _length(sae) if length is None else length, SHORTEST)
    opened = open_source(source, model, layer) if isinstance(source, str) else source
    bos = {"bos": model.bos_id is not None, "bos_id": model.bos_id}
    rule = {"starts": "disjoint", "seed": seed, "least": TEXTS, "name": "text to audit on"}
    drawn = draw_windows(as_dataset(text), model.tokenizer, n, length, **bos, **rule).tokens.tolist()
    findings = [
        tokens.beginning(opened, model.tokenizer, _plain(model, drawn[0]), None if sae is None else sae.info.bos),
        tokens.second_bos(opened, model.tokenizer, _plain(model, drawn[0])),
        tokens.chat(opened, model.tokenizer),
        context.window(model, length),
        context.trained_context(model, length),
    ]
    if findings[-1].status != "fail":  # a model may have no embedding of a position beyond its context
        texts = [ids[: length - i * length // (2 * TEXTS)] for i, ids in enumerate(drawn[:TEXTS])]
        reference = positions.alone(opened, texts)
        findings += [
            positions.finite(reference),
            positions.batched(opened, texts, reference),
            positions.padded(opened, texts, reference, "right"),
            positions.padded(opened, texts, reference, "left"),
            positions.causal(opened, texts, reference),
            positions.packed(opened, [ids[: length // 2] for ids in texts], model.bos_id),
            positions.without_bos(opened, texts, reference, model.bos_id),
        ]
        if sae is not None:
            findings.append(context.dictionary_context(sae, length))
            if findings[-1].status != "fail":
                findings.append(context.soundness(sae, _read(opened, drawn), seed))
    about = {"model": model.name, "layer": f"layer {layer}", "source": opened.versions}
    if sae is not None:
        about["dictionary"] = str(dictionary) if isinstance(dictionary, str | Path) else sae.info.name or "dictionary"
    return Audit(about, tuple(findings))


def _opened(
    dictionary: Dictionary | Encodes | Path | str | None, model: LanguageModel, trust: bool
) -> Dictionary | None:
    if isinstance(dictionary, str | Path):
        return load(dictionary, trust=trust)
    if dictionary is None or isinstance(dictionary, Dictionary):
        return copy.deepcopy(dictionary)
    return Wrapped(own_copy(dictionary), model.d_model)


def _read(source: Source, windows: list[list[int]]) -> Tensor:
    """Activations [n, T, d] of windows of one length."""
    batches = (windows[i : i + BATCH] for i in range(0, len(windows), BATCH))
    return torch.stack([x for batch in batches for x in source.activations(batch, "right")])


def _layer(sae: Dictionary | None, model: LanguageModel) -> Layer:
    return sae.info.layer if sae is not None and sae.info.layer else model.n_layers // 2


def _length(sae: Dictionary | None) -> int:
    return min(LENGTH, (sae and sae.info.n_positions) or LENGTH)


def _plain(model: LanguageModel, ids: list[int]) -> str:
    """The text of a window, without BOS."""
    return cast(str, model.tokenizer.decode(ids[1:] if ids[0] == model.bos_id else ids))
