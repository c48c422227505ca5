"""Activations that you have, of a language model or of anything else, as `lens.profile` takes them."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from lens.activations.store import LayerStore
from lens.errors import ConfigError
from lens.profiling.layer_data import LayerData

CHUNK = 64  # windows of which numbers are looked through at a time


class Activations:
    """Windows of vectors in order, and what is known of them.

    Position 0 is what came first; like BOS in a text, it is reconstructed and not counted among the text positions.

    Args:
        values: [n, T, d] floating-point numbers of PyTorch or NumPy (a memory map, too), in the units that the
            dictionary reads.
        documents: [n] name of the text, recording, ... that each window is of: windows of one are not independent of
            each other. None: all are of one, in the order of its course.
        tokens: [n, T] number from 0 on of the token, class, ... at each position.
        words: the text of each of these numbers.
        name: what they are of, for titles.
        clocks: by name, [n, T] steps since something began at each position (a turn, a scene), -1 before it ever did
            (see `lens.activations.clocks`).
        hook: where in a model they were read, as libraries name it (`blocks.3.mlp.hook_in`); needed by what reads
            something else than the residual stream, so that it isn't given that.

    Raises:
        ConfigError: no such shape or numbers, numbers that are not finite, or labels that do not fit them.
    """

    def __init__(
        self,
        values: Tensor | np.ndarray,
        documents: Sequence | np.ndarray | None = None,
        tokens: Tensor | np.ndarray | None = None,
        words: Mapping[int, str] | Sequence[str] | None = None,
        name: str = "activations",
        hook: str = "",
        clocks: Mapping[str, np.ndarray] | None = None,
    ):
        self.values, self.words, self.name, self.hook = _tensor(values), words, name, hook
        self.tokens = None if tokens is None else _tensor(tokens)
        self.documents = None if documents is None else [str(x) for x in documents]
        shape = tuple(self.values.shape)
        if len(shape) != 3 or not self.values.is_floating_point() or not self.values.numel():
            raise ConfigError(
                f"activations are {self.values.dtype} of shape {shape}: floating-point numbers [n, T, d] are needed, "
                "windows of T vectors in order"
            )
        for start in range(0, len(self.values), CHUNK):
            finite = self.values[start : start + CHUNK].isfinite().flatten(1).all(1)
            if not finite.all():
                raise ConfigError(
                    f"window {start + int(finite.int().argmin())} of the activations holds NaN or infinity"
                )
        if self.documents is not None and len(self.documents) != shape[0]:
            raise ConfigError(f"documents names {len(self.documents)} windows, the activations are {shape[0]}")
        self._check_tokens(shape[:2])
        self.clocks = {name: _clock(name, np.asarray(clock), shape[:2]) for name, clock in (clocks or {}).items()}

    def _check_tokens(self, shape: tuple[int, ...]) -> None:
        if self.tokens is None:
            if self.words is not None:
                raise ConfigError("words without tokens: say with tokens= [n, T] which one is where")
            return
        found = tuple(self.tokens.shape)
        if found != shape or self.tokens.is_floating_point() or int(self.tokens.min()) < 0:
            raise ConfigError(
                f"tokens are {self.tokens.dtype} of shape {found}: whole numbers from 0 on of shape {shape} are needed"
            )
        if self.words is not None:
            known = self.words if isinstance(self.words, Mapping) else range(len(self.words))
            if unknown := [i for i in self.tokens.unique().tolist() if i not in known]:
                raise ConfigError(f"words has no text for token {unknown[0]}, which is among tokens")

    def __repr__(self) -> str:
        n, T, d = self.values.shape
        return f"Activations ({self.name}): {n} windows of {T} vectors of {d} dimensions"

    @property
    def width(self) -> int:
        """d: of the vectors."""
        return self.values.shape[-1]

    def texts(self, ids: Sequence[int] | np.ndarray) -> list[str]:
        """The words of token numbers, or the numbers themselves, apart from each other."""
        return [f" {int(i)}" if self.words is None else self.words[int(i)] for i in ids]

    def layer_data(self, layer: str) -> LayerData:
        """As every measure reads them; without tokens, these are all 0."""
        n, T, _ = self.values.shape
        tokens = torch.zeros(n, T, dtype=torch.int32) if self.tokens is None else self.tokens.int()
        labels = self.documents or [self.name] * n
        names = tuple(dict.fromkeys(labels))
        number = {name: i for i, name in enumerate(names)}
        document = torch.tensor([number[label] for label in labels])
        start = torch.zeros(n, dtype=torch.long)
        for i in range(len(names)):  # windows of a document follow each other
            mine = document == i
            start[mine] = torch.arange(int(mine.sum())) * T
        store = LayerStore(self.values, tokens, document, start, names, {})
        return LayerData(layer, lambda split: store)

    def digest(self) -> str:
        """sha256 of the values."""
        sha = hashlib.sha256(repr((tuple(self.values.shape), self.values.dtype)).encode())
        for chunk in self.values.split(CHUNK):
            sha.update(chunk.contiguous().view(torch.uint8).numpy().data)
        return sha.hexdigest()


def _clock(name: str, clock: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if not name.isidentifier():
        raise ConfigError(f"clock {name!r}: name it with letters, digits and underscores")
    if clock.shape != shape or not np.issubdtype(clock.dtype, np.integer) or clock.min() < -1 or clock.max() < 0:
        raise ConfigError(
            f"clock {name!r} is {clock.dtype} of shape {clock.shape}: whole numbers of shape {shape} are needed, -1 "
            "before it started, and it has to start"
        )
    return clock


def _tensor(values: Tensor | np.ndarray) -> Tensor:
    """On the CPU and without a copy, where there is a choice."""
    if isinstance(values, Tensor):
        return values.detach().cpu()
    if isinstance(values, np.ma.MaskedArray):
        raise ConfigError("a masked array: what its mask hides would be measured; pass windows that are whole")
    values = np.asarray(values)
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    if any(stride < 0 for stride in values.strides):
        values = values.copy()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nothing writes to it
        try:
            return torch.from_numpy(values)
        except TypeError:
            raise ConfigError(
                f"an array of {values.dtype} where numbers are expected that PyTorch has: values.astype(np.float32)"
            ) from None
