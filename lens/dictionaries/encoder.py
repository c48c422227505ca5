"""The encoder of what reads one place of a model and writes another: a transcoder, a layer of a cross-layer transcoder.

Its features fire somewhere, and so have firing profiles and all that follows from them. What they are multiplied with
afterwards rebuilds something else than the input (the output of an MLP, or of several), so that there is no error of
reconstruction, and nothing to splice in the place of what was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from torch import Tensor, nn

from lens.dictionaries import by_name
from lens.dictionaries.codes import Codes
from lens.dictionaries.dictionary import Dictionary
from lens.dictionaries.info import Info, split
from lens.dictionaries.positions.none import NoTerm
from lens.errors import DictionaryError


class Encoder(Dictionary):
    """Read-only: f = select(x W_enc), x as it is at the place that `info.hook` names.

    Args:
        info: without positions, scale or normalisation; `hook` empty where the source doesn't say.
        weights: W_enc [d_in, d_sae], and the parameters of the architecture. Not copied.

    Raises:
        DictionaryError: an unknown architecture or setting, or weights that are not those of it.
    """

    reconstructs = False

    def __init__(self, info: Info, weights: Mapping[str, Tensor]):
        nn.Module.__init__(self)
        kind = by_name.architecture(info.architecture)
        self.architecture = kind(info.d_in, info.d_sae, split(info.settings, kind.Settings)[0])
        self.position_term = NoTerm(info.d_in, info.d_sae, None, NoTerm.Settings())
        self.info = info
        needed = {"W_enc": (info.d_in, info.d_sae)}
        needed |= {name: tuple(p.shape) for name, p in self.architecture.named_parameters()}
        if (found := {name: tuple(value.shape) for name, value in weights.items()}) != needed:
            raise DictionaryError(f"weights have shapes {found}, an encoder of {info.architecture} needs {needed}")
        self.W_enc = nn.Parameter(weights["W_enc"])
        for name in dict(self.architecture.named_parameters()):
            setattr(self.architecture, name, nn.Parameter(weights[name]))
        self.stated_l0 = getattr(self.architecture.settings, "k", None)
        self.eval()

    def encode(self, x: Tensor, positions: Tensor | None = None, *, clamp: bool = False) -> Codes:
        """Features of activations at the place it reads, [..., d_in] -> codes [..., d_sae].

        Raises:
            DictionaryError: x has another width.
        """
        if x.shape[-1] != self.info.d_in:
            raise DictionaryError(f"activations of width {x.shape[-1]}, this encoder reads {self.info.d_in}")
        return self.architecture.select(x.to(self.W_enc.dtype) @ self.W_enc)

    def decode(self, codes: Codes | Tensor, positions: Tensor | None = None, *, clamp: bool = False) -> NoReturn:
        self._refuse()

    @property
    def linear(self) -> bool:
        """Features don't rebuild the input, so that the score of one isn't made of the others."""
        return False

    @property
    def directions(self) -> NoReturn:
        self._refuse()

    def weights(self) -> dict[str, nn.Parameter]:
        return {"W_enc": self.W_enc, **dict(self.architecture.named_parameters())}

    def on_disk(self) -> NoReturn:
        self._refuse()

    def uncentred(self) -> NoReturn:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise DictionaryError(
            f"{self.info.name} reads {self.info.hook or 'a place that it does not name'} and writes another: its "
            "encoder alone was read, for firing profiles; it has no reconstruction of what it reads, can't be spliced "
            "in, and isn't ours to save or export"
        )
