"""What a dictionary is and where it came from, and the settings of its parts: values of the right kind, or refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_type_hints

from lens.errors import ConfigError, DictionaryError, suggest
from lens.fields import convert

Normalisation = Literal["none", "constant_norm_rescale", "layer_norm"]
LARGEST = 2**31 - 1  # of a size; two of them multiplied can still be counted
MOST_POSITIONS = 2**24  # more than any context: a number beyond it is a damaged file


@dataclass(frozen=True)
class Info:
    """What a dictionary is and where it came from; stored beside its weights as `cfg.json`."""

    d_in: int
    """width of the residual stream"""
    d_sae: int
    """number of features (the paper's k)"""
    n_positions: int | None = None
    """T: positions 0..T-1 exist, 0 is BOS; None: any position will do"""
    architecture: str = "relu"
    """how features are selected: a file in `architectures/`, or one of your own"""
    position: str = "none"
    """what position does: a file in `positions/`, or one of your own"""
    settings: Mapping[str, object] = field(default_factory=dict)
    """of the architecture and of the position term, for instance k or tau_end; those left out have their defaults"""
    input_scale: float = 1.0
    """inputs are multiplied by this before encoding, reconstructions divided by it"""
    normalisation: Normalisation = "none"
    """what is done to each input vector before encoding, and undone after decoding"""
    apply_b_dec_to_input: bool = False
    """whether b_dec is taken from the (normalised) input before encoding"""
    model: str = ""
    """language model, as the source names it"""
    layer: str = ""
    """block whose output is read, or `embedding`; empty where the hook is not the residual stream or not known"""
    hook: str = ""
    """where in the model the inputs come from, as another library names it; empty where nothing says"""
    name: str = ""
    """the variant of a study, or library and architecture"""
    seed: int = 0
    bos: bool = True
    """whether position 0 of its training windows held BOS; true where nothing says"""

    def __post_init__(self):
        for name, hint in get_type_hints(Info).items():
            converted(hint, getattr(self, name), name)
        for name, most in {"d_in": LARGEST, "d_sae": LARGEST, "n_positions": MOST_POSITIONS}.items():
            if (value := getattr(self, name)) is not None and not 1 <= value <= most:
                raise DictionaryError(f"{name} = {value}: a whole number from 1 to {most} is needed")
        if self.input_scale <= 0:
            raise DictionaryError(f"input_scale = {self.input_scale}: a positive factor is needed")
        if self.seed < 0:
            raise DictionaryError(f"seed = {self.seed}: a whole number from 0 is needed")


def split(settings: Mapping[str, object], *kinds: type) -> list:
    """An instance of each settings dataclass from one flat mapping.

    Raises:
        DictionaryError: a key that none of them has, or a value of another type.
    """
    fields = [{f.name for f in dataclasses.fields(kind)} for kind in kinds]
    if unknown := set(settings) - set().union(*fields):
        first = min(unknown)
        known = sorted(set().union(*fields))
        raise DictionaryError(f"unknown setting {first!r}{suggest(first, known)}; known: {', '.join(known) or 'none'}")
    hints = [get_type_hints(kind) for kind in kinds]
    return [
        kind(**{key: converted(own[key], value, key) for key, value in settings.items() if key in own})
        for kind, own in zip(kinds, hints, strict=True)
    ]


def converted(hint: object, value: object, where: str):
    """A value as its type says.

    Raises:
        DictionaryError: it is of another type, or not finite.
    """
    try:
        return convert(hint, value, where)
    except ConfigError as error:
        raise DictionaryError(str(error)) from None
