"""A dictionary of your own making, dressed as one of ours."""

from __future__ import annotations

import contextlib
import copy
import warnings
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lens.activations.modes import evaluating
from lens.dictionaries.codes import Codes
from lens.dictionaries.dictionary import Dictionary, Info
from lens.dictionaries.positions.none import NoTerm
from lens.errors import DictionaryError

SAME = 1e-2  # of the size of features, by which kernels that add in another order may be off


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

    It is given copies, in evaluation mode: whatever it does to them in place, measures see what they handed over. A
    module is in its own mode again afterwards.

    Args:
        inner: whole windows [B, T, d_in] are given to its `encode`, first vector at position 0.
        d_in: width of the residual stream; the number of features is found by encoding one zero vector.

    What it answers first it is asked again, and of its first window alone: what answers otherwise then is random, or
    keeps count, and is refused; where the answer for a window depends on the others of its batch, it says so.

    Raises:
        DictionaryError: it has no `encode` and `decode`, or they do not lead from this width back to it, or answer
            something else than a tensor of floating-point numbers, or numbers that are not finite, or others each time.
    """

    def __init__(self, inner: Encodes, d_in: int):
        nn.Module.__init__(self)
        name = type(inner).__name__
        if not (callable(getattr(inner, "encode", None)) and callable(getattr(inner, "decode", None))):
            raise DictionaryError(f"{name} is not a dictionary: it has no encode and decode")
        self.inner = inner
        self._kind: tuple[torch.dtype, torch.device] | None = None  # of the features that it made last
        self._compared: set[str] = set()  # what has been asked the same thing again
        first = next(inner.parameters(), None) if isinstance(inner, nn.Module) else None
        x = torch.zeros(1, 2, d_in, **({} if first is None else {"dtype": first.dtype, "device": first.device}))
        try:
            with torch.no_grad():
                features = self._answer("encode", x, None)
                self._answer("decode", features, d_in)
        except DictionaryError:
            raise
        except Exception as error:  # somebody else's code
            raise DictionaryError(
                f"{name} does not encode and decode activations [B, T, {d_in}] in {x.dtype}: {error!r}"
            ) from error
        self.info = Info(d_in, features.shape[-1], architecture=name, name=name)
        self.position_term = NoTerm(self.info.d_in, self.info.d_sae, None, NoTerm.Settings())

    def encode(self, x: Tensor, positions: Tensor | None = None, *, clamp: bool = False) -> Codes:
        features = self._finite("encode", self._answer("encode", x, self.info.d_sae))
        self._compare("encode", x, features)
        self._kind = features.dtype, features.device
        return Codes(features.to(x.device, x.dtype), None, self.info.d_sae)

    def decode(self, codes: Codes | Tensor, positions: Tensor | None = None, *, clamp: bool = False) -> Tensor:
        features = codes.dense() if isinstance(codes, Codes) else codes
        dtype, device = self._kind or (features.dtype, features.device)
        given = features.to(device, dtype)
        x_hat = self._finite("decode", self._answer("decode", given, self.info.d_in))
        self._compare("decode", given, x_hat)
        return x_hat.to(features.device, features.dtype)

    @property
    def linear(self) -> bool:
        return False

    def weights(self) -> dict[str, nn.Parameter]:
        raise DictionaryError(f"a {self.info.name} is not ours to save, export or take apart: use its own library")

    @torch.no_grad()
    def _compare(self, does: str, given: Tensor, answer: Tensor) -> None:
        """Ask the same again, the first time that there is something to answer."""
        if does in self._compared or not answer.any() or not given.any():
            return
        self._compared.add(does)
        name, width = f"{type(self.inner).__name__}.{does}", answer.shape[-1]
        try:
            alone = self._answer(does, given[:1], width)
        except Exception:  # what some decode is of the batch that they encoded last, hence the whole again comes last
            alone = answer[:1]
        if (off := _off(self._answer(does, given, width), answer)) > SAME:
            raise DictionaryError(
                f"{name} answers something else when it is given the same again, off by {off:.2g} of its size: it "
                "draws at random or keeps count; make it a function of its input"
            )
        if (off := _off(alone, answer[:1])) > SAME:
            warnings.warn(
                f"{name} answers something else for a window where others are beside it, off by {off:.2g} of its size: "
                "numbers depend on how windows are batched (of BatchTopK, use its learned threshold)",
                stacklevel=4,
            )

    def _answer(self, does: str, given: Tensor, width: int | None) -> Tensor:
        """What `encode` or `decode` makes of a copy [B, T, d], [B, T, width]; a copy too, where it is not new."""
        with evaluating(self.inner):
            answer = getattr(self.inner, does)(given.clone())
        name = f"{type(self.inner).__name__}.{does}"
        if not isinstance(answer, Tensor):
            raise DictionaryError(f"{name} answers a {type(answer).__name__}, a tensor [B, T, width] is needed")
        if not answer.is_floating_point() or answer.layout != torch.strided:
            raise DictionaryError(
                f"{name} answers {answer.dtype}, {answer.layout}: dense floating-point numbers needed"
            )
        if answer.ndim != given.ndim or answer.shape != (*given.shape[:-1], width or answer.shape[-1]):
            raise DictionaryError(
                f"{name} makes {tuple(answer.shape)} of {tuple(given.shape)}; "
                f"expected {(*given.shape[:-1], width or 'd_sae')}"
            )
        return answer.clone()

    def _finite(self, does: str, answer: Tensor) -> Tensor:
        if not (finite := answer.isfinite()).all():
            name, broken = f"{type(self.inner).__name__}.{does}", int((~finite).sum())
            raise DictionaryError(f"{name} answers NaN or infinity in {broken} of {finite.numel()} places")
        return answer


def own_copy(inner: Any) -> Any:
    """A copy that may be moved and cast. What it holds that can't be copied (a lock, a file) both have in common.

    Raises:
        DictionaryError: it is a module that can't be copied at all.
    """
    with contextlib.suppress(Exception):
        return copy.deepcopy(inner)
    memo: dict[int, object] = {}
    for part in inner.modules() if isinstance(inner, nn.Module) else (inner,):
        for value in getattr(part, "__dict__", {}).values():
            if isinstance(value, Tensor) and not value.is_leaf:  # computed from a parameter
                memo[id(value)] = value.detach().clone()
                continue
            try:
                copy.deepcopy(value, dict(memo))
            except Exception:  # of any kind
                if not isinstance(value, dict):  # of torch: parameters, modules, buffers
                    memo[id(value)] = value
    try:
        return copy.deepcopy(inner, memo)
    except Exception as error:
        if isinstance(inner, nn.Module):
            name = type(inner).__name__
            raise DictionaryError(f"{name} can't be copied, which is done to leave it as it is: {error}") from error
        return inner


def _off(one: Tensor, other: Tensor) -> float:
    """Distance of two answers, as a share of the size of the second."""
    return float((one.float() - other.float()).norm() / other.float().norm().clamp(min=1e-30))
