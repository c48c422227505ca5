"""A dictionary of your own making, dressed as one of ours."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from lens.dictionaries.codes import Codes
from lens.dictionaries.dictionary import Dictionary, Info
from lens.dictionaries.positions.none import NoTerm
from lens.errors import DictionaryError


class Encodes(Protocol):
    """What a dictionary must be able to do: a module of any library, or any object."""

    def encode(self, x: Tensor) -> Tensor:
        """[B, T, d_in] raw activations -> [B, T, d_sae] features, 0 where a feature is off."""
        ...

    def decode(self, features: Tensor) -> Tensor:
        """[B, T, d_sae] -> [B, T, d_in], in the units of the activations."""
        ...


class Wrapped(Dictionary):
    """Gives anything that encodes and decodes the information that measures read.

    Args:
        inner: whole windows [B, T, d_in] are given to its `encode`, first vector at position 0.
        d_in: width of the residual stream; the number of features is found by encoding one zero vector.

    Raises:
        DictionaryError: it has no `encode` and `decode`, or they do not lead from this width back to it.
    """

    def __init__(self, inner: Encodes, d_in: int):
        nn.Module.__init__(self)
        name = type(inner).__name__
        if not (callable(getattr(inner, "encode", None)) and callable(getattr(inner, "decode", None))):
            raise DictionaryError(f"{name} is not a dictionary: it has no encode and decode")
        self.inner = inner
        first = next(inner.parameters(), None) if isinstance(inner, nn.Module) else None
        try:
            with torch.no_grad():
                features = inner.encode(torch.zeros(1, 2, d_in, **({} if first is None else _kind(first))))
                back = inner.decode(features)
        except RuntimeError as error:
            raise DictionaryError(f"{name} does not encode activations [B, T, {d_in}]: {error}") from error
        if features.shape[:2] != (1, 2) or back.shape != (1, 2, d_in):
            raise DictionaryError(
                f"{name} makes {tuple(features.shape)} and then {tuple(back.shape)} of activations (1, 2, {d_in}); "
                f"expected (1, 2, d_sae) and (1, 2, {d_in})"
            )
        self.info = Info(d_in, features.shape[-1], architecture=name, name=name)
        self.position_term = NoTerm(None, self.info.d_sae, NoTerm.Settings())

    def encode(self, x: Tensor, positions: Tensor | None = None, *, clamp: bool = False) -> Codes:
        return Codes(self.inner.encode(x), None, self.info.d_sae)

    def decode(self, codes: Codes | Tensor) -> Tensor:
        return self.inner.decode(codes.dense() if isinstance(codes, Codes) else codes)

    def weights(self) -> dict[str, nn.Parameter]:
        raise DictionaryError(f"a {self.info.name} is not ours to save, export or take apart: use its own library")


def _kind(parameter: Tensor) -> dict:
    return {"dtype": parameter.dtype, "device": parameter.device}
