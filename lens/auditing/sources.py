"""Where a pipeline's tokens and activations come from: `transformers` itself, other libraries, or code of your own."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Sequence
from importlib import metadata
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lens.activations import forward
from lens.activations.language_model import LanguageModel
from lens.activations.layers import Layer
from lens.dictionaries.by_name import own_class
from lens.errors import ConfigError, suggest

Side = Literal["left", "right"]


class Source(Protocol):
    """A pipeline under audit. A class of your own has these four, and is made of (model, layer)."""

    versions: str
    """the library's name and version, for the report"""
    pads: Side | None
    """the side on which it pads if nobody says otherwise; None: it pads on neither"""

    def tokens(self, text: str) -> list[int]:
        """The ids of a text, with whatever the pipeline puts before it."""
        ...

    def activations(self, sequences: Sequence[Sequence[int]], side: Side) -> list[Tensor]:
        """Activations [T_i, d] of each sequence, read as one batch padded on a side, without those of the pads."""
        ...


class Transformers:
    """The model as `transformers` has it: ids and attention mask in, no `position_ids`."""

    def __init__(self, model: LanguageModel, layer: Layer):
        import transformers

        self.model, self.layer = model, layer
        self.versions = f"transformers {transformers.__version__}"
        self.pads: Side | None = model.tokenizer.padding_side  # type: ignore[assignment]

    def tokens(self, text: str) -> list[int]:
        return tokenised(self.model.tokenizer, text)

    def activations(self, sequences: Sequence[Sequence[int]], side: Side) -> list[Tensor]:
        return self.read(sequences, side)

    @torch.inference_mode()
    def read(self, sequences: Sequence[Sequence[int]], side: Side, numbered: bool = False) -> list[Tensor]:
        """`activations`; `numbered`: with `position_ids` that count each sequence's own tokens from 0."""
        ids, mask = padded(sequences, side, pad_id(self.model.tokenizer))
        ids, mask = ids.to(self.model.device), mask.to(self.model.device)
        options: dict[str, Any] = {"position_ids": (mask.cumsum(1) - 1).clamp(min=0)} if numbered else {}
        caught: list[Tensor] = []
        with forward.at(self.model.blocks, self.layer, lambda hidden: caught.append(hidden)):
            forward.trunk(self.model.model)(input_ids=ids, attention_mask=mask, use_cache=False, **options)
        return unpadded(caught[0], mask)


class NNsight:
    """The model in nnsight: a trace of a batch of ids, which nnsight pads by itself on the side asked for."""

    def __init__(self, model: LanguageModel, layer: Layer):
        nnsight = _library("nnsight")
        self.versions = f"nnsight {nnsight.__version__}"
        self.model, self.layer = model, layer
        self.traced = nnsight.LanguageModel(model.model, tokenizer=model.tokenizer)
        self.tokenizer = self.traced.tokenizer
        self.pads: Side | None = "left"  # as for a model that it opens by name

    def tokens(self, text: str) -> list[int]:
        return tokenised(self.tokenizer, text)

    def activations(self, sequences: Sequence[Sequence[int]], side: Side) -> list[Tensor]:
        self.tokenizer.padding_side = side
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token or self.tokenizer.bos_token
        caught: list[Tensor] = []
        with torch.inference_mode(), forward.at(self.model.blocks, self.layer, lambda hidden: caught.append(hidden)):
            with self.traced.trace([list(ids) for ids in sequences]):
                pass
        _, mask = padded(sequences, side, 0)
        return unpadded(caught[-1], mask)


class TransformerLens:
    """The model in TransformerLens' bridge, which is given ids and attention mask."""

    def __init__(self, model: LanguageModel, layer: Layer):
        _library("transformer_lens")
        bridge = importlib.import_module("transformer_lens.model_bridge").TransformerBridge
        self.versions = f"transformer_lens {metadata.version('transformer-lens')}"
        with tempfile.TemporaryDirectory() as folder:  # what isn't a name on the hub is opened from a folder
            model.model.save_pretrained(folder)
            model.tokenizer.save_pretrained(folder)
            self.bridge = bridge.boot_transformers(folder, dtype=model.model.dtype)
        self.name = "hook_embed" if isinstance(layer, str) else f"blocks.{layer}.hook_out"
        self.pads: Side | None = self.bridge.tokenizer.padding_side
        self.pad = pad_id(model.tokenizer)  # the bridge may make one of which the model has no embedding

    def tokens(self, text: str) -> list[int]:
        return self.bridge.to_tokens(text)[0].tolist()

    @torch.inference_mode()
    def activations(self, sequences: Sequence[Sequence[int]], side: Side) -> list[Tensor]:
        self.bridge.tokenizer.padding_side = side
        ids, mask = padded(sequences, side, self.pad)
        _, cache = self.bridge.run_with_cache(ids, attention_mask=mask, names_filter=self.name)
        return unpadded(cache[self.name], mask)


KNOWN = {"transformers": Transformers, "nnsight": NNsight, "transformer_lens": TransformerLens}


def open_source(name: str, model: LanguageModel, layer: Layer) -> Source:
    """A source by name, or by `file.py:Name` one of your own.

    Raises:
        ConfigError: neither.
        ModuleNotFoundError: its library isn't installed.
    """
    if ":" in name:
        return own_class(name)(model, layer)
    if name not in KNOWN:
        raise ConfigError(
            f"no source {name!r}{suggest(name, KNOWN)}: expected {', '.join(KNOWN)}, or file.py:Name for a class of "
            "your own (lens.auditing.sources.Source says what it has)"
        )
    return KNOWN[name](model, layer)


def tokenised(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The ids of a text, as the tokenizer gives them when nothing else is asked."""
    return list(tokenizer(text)["input_ids"])  # type: ignore[arg-type]


def pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """A token to pad with: which one doesn't matter where the attention mask is obeyed."""
    return next((i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if isinstance(i, int)), 0)


def padded(sequences: Sequence[Sequence[int]], side: Side, pad: int) -> tuple[Tensor, Tensor]:
    """Ids and attention mask [B, T] of sequences padded to the longest."""
    width = max(map(len, sequences))
    ids, mask = torch.full((len(sequences), width), pad), torch.zeros(len(sequences), width, dtype=torch.long)
    for row, sequence in enumerate(sequences):
        here = slice(width - len(sequence), width) if side == "left" else slice(len(sequence))
        ids[row, here], mask[row, here] = torch.tensor(sequence), 1
    return ids, mask


def unpadded(hidden: Tensor, mask: Tensor) -> list[Tensor]:
    """The vectors [T_i, d] of each row of [B, T, d] where its mask is 1, in fp32 on the CPU."""
    return [x[on.bool()].float().cpu() for x, on in zip(hidden, mask.to(hidden.device), strict=True)]


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:  # of what it needs itself
            raise
        raise ModuleNotFoundError(f"source {name} needs its library: pip install {name.replace('_', '-')}") from error
