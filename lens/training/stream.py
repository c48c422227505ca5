"""Windows drawn anew each epoch, whose activations the language model gives as training needs them: nothing is stored.

A store holds a few windows of a long text, and training sees each of them many times. Here no epoch repeats the windows
of the one before. The price is the language model: every group of runs that do not share their batches runs it anew.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor

from lens.activations.corpus import Windows, draw_windows, tokenise
from lens.activations.documents import Corpus
from lens.activations.extract import BATCH_WINDOWS, decided_by
from lens.activations.language_model import LanguageModel, check_layers
from lens.activations.layers import Layer
from lens.dictionaries.shards import sent
from lens.processes import count, rank
from lens.training.source import epoch_seed

SAMPLE = 256  # windows whose moments stand for those of all


class Stream:
    """A source of training (`lens.training.source.Source`) that holds no more than a batch and a block of the model's.

    The windows of an epoch are distinct, and their starts uniform over the text. The model runs on the same blocks of
    windows as in an extraction, and its activations are kept in bf16, so that the numbers are those of a store.

    Args:
        windows: of an epoch.
        length: T, tokens of a window.

    Raises:
        ValueError: no such layer, or a text too short for its windows.
    """

    def __init__(self, model: LanguageModel, layer: Layer, text: Corpus, windows: int, length: int):
        [self.layer] = check_layers(model, [layer])
        self.model, self.text = model, text
        self.shape = (windows, length, model.d_model)
        self._shared = False
        self._opened = ExitStack()  # the file of tokens is closed when this object goes
        self._tokens = self._opened.enter_context(tokenise(text, model.tokenizer))
        self.draw(0, 0)  # what is wrong with the text shows here

    def draw(self, seed: int, epoch: int) -> Windows:
        """The windows of an epoch, in the order in which training sees them."""
        n, length, _ = self.shape
        bos = {"bos": self.model.bos_id is not None, "bos_id": self.model.bos_id}
        return draw_windows(
            self.text, self.model.tokenizer, n, length, **bos,
            seed=epoch_seed(seed, epoch), name="training text", tokens=self._tokens,
        )  # fmt: skip

    def shared(self) -> Stream:
        """The same source, of which all processes of a `torchrun` call read the same batches at the same time; each
        runs the model on a part of them."""
        source = copy.copy(self)
        source._shared = True
        return source

    @property
    def digest(self) -> str:
        """Of all that decides the activations but the seed."""
        of_all = decided_by(self.model, {"train": self.draw(0, 0)}, {"starts": "random, drawn anew each epoch"})
        return hashlib.sha256(json.dumps(of_all | {"layer": str(self.layer)}, sort_keys=True).encode()).hexdigest()

    def sample(self, seed: int) -> Tensor:
        """The first windows of the first epoch."""
        n = min(SAMPLE, self.shape[0])
        return next(self.batches(n, 1, seed)).cpu()

    def batches(self, size: int, steps: int, seed: int, first_step: int = 0) -> Iterator[Tensor]:
        """Windows in the order in which they are drawn."""
        blocks = self._blocks(seed, first_step * size)
        held = next(blocks)
        for _ in range(first_step, steps):
            while len(held) < size:
                held = torch.cat([held, next(blocks)])
            yield held[:size]
            held = held[size:]

    def _blocks(self, seed: int, first: int) -> Iterator[Tensor]:
        """Activations of the windows from the `first` of all epochs, a block of the model's at a time."""
        first_epoch, at = divmod(first, self.shape[0])
        for epoch in itertools.count(first_epoch):
            tokens = torch.from_numpy(self.draw(seed, epoch).tokens.astype("int64"))
            whole = at - at % BATCH_WINDOWS
            for block in self._activations(tokens[whole:].split(BATCH_WINDOWS)):
                yield block[at - whole :]
                at = whole  # of the first block alone some were drawn before
            at = 0

    def _activations(self, blocks: Sequence[Tensor]) -> Iterator[Tensor]:
        """Activations of blocks of tokens; of a shared source each process computes some, and sends them to all."""
        n, me = (count(), rank()) if self._shared else (1, 0)
        for first in range(0, len(blocks), n):
            group = blocks[first : first + n]
            found = [torch.empty(*tokens.shape, self.shape[2], dtype=torch.bfloat16) for tokens in group]
            if me < len(group):
                block = self.model.residual_stream(group[me], [self.layer])[self.layer]
                found[me] = block.to(torch.bfloat16, copy=True)  # autograd keeps no inference tensor
            for owner in range(len(group)) if n > 1 else ():
                found[owner] = sent(found[owner].to(self.model.device), owner)
            yield from found
