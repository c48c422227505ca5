"""A dictionary without positions, as other libraries train them: any of the field's selection rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from lens.errors import DictionaryError

Rule = Literal["relu", "topk", "jumprelu", "gated"]
Normalisation = Literal["none", "constant_norm_rescale", "layer_norm"]
LAYER_NORM_EPS = 1e-5  # added to the standard deviation, on the way in only, as SAELens does


@dataclass(frozen=True)
class DictionaryConfig:
    """What a dictionary is and where it came from. It has the fields of `SAEConfig` that measures read."""

    d_in: int
    """width of the residual stream"""
    d_sae: int
    """number of features"""
    rule: Rule
    """how features are selected from the encoder's output u = x W_enc, see `Dictionary`"""
    k: int | None = None
    """number of features that TopK keeps; None for the other rules"""
    normalisation: Normalisation = "none"
    """what is done to each input vector before encoding, and undone after decoding"""
    apply_b_dec_to_input: bool = False
    """whether b_dec is taken from the (normalised) input before encoding"""
    model: str = ""
    """language model, as the source names it"""
    hook: str = ""
    """where in the model the inputs come from, as the source names it; empty where it does not say"""
    layer: str = ""
    """block whose output that is, or `embedding`; empty where the hook is not the residual stream or not known"""
    variant: str = ""
    """library and architecture"""
    seed: int = 0

    n_positions: ClassVar[None] = None
    """any position will do"""
    masked: ClassVar[bool] = False


class Dictionary(nn.Module):
    """Sparse autoencoder that treats all positions alike; stands wherever an `SAE` is measured.

    Parameters: W_enc [d_in, d_sae], W_dec [d_sae, d_in], b_dec [d_in], and by selection rule, with u = x W_enc:

        relu      b_enc [d_sae]                    f = ReLU(u + b_enc)
        topk      b_enc                            the same, but 0 for all but the k largest of u + b_enc
        jumprelu  b_enc, threshold [d_sae]         the same, but 0 where u + b_enc <= threshold
        gated     b_gate, r_mag, b_mag [d_sae]     f = ReLU(u exp(r_mag) + b_mag), but 0 where u + b_gate <= 0

    (Gao et al. 2024, arXiv 2406.04093; Rajamanoharan et al. 2024, arXiv 2407.14435 and 2404.16014.)

    With a normalisation, decoding needs the norm, or the mean and deviation, of each encoded vector. They are those of
    the batch that was encoded last, as in SAELens: decode the features of one batch before encoding the next.

    Raises:
        DictionaryError: the weights are not those of the rule, have other shapes than the configuration says, or
            hold NaN.
    """

    def __init__(self, config: DictionaryConfig, weights: dict[str, Tensor]):
        super().__init__()
        self.config = config
        _check(config, weights)
        for name, value in weights.items():
            setattr(self, name, nn.Parameter(value))
        self._undo: tuple[Tensor, Tensor] | None = None

    def encode(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        """Features of raw activations, [..., d_in] -> [..., d_sae]; `positions` make no difference here.

        Raises:
            DictionaryError: x has another width.
        """
        if x.shape[-1] != self.config.d_in:
            raise DictionaryError(f"activations of width {x.shape[-1]}, this dictionary reads {self.config.d_in}")
        x = x.to(self.W_enc.dtype)
        if self.config.normalisation != "none":
            x, *self._undo = _NORMALISE[self.config.normalisation](x)
        if self.config.apply_b_dec_to_input:
            x = x - self.b_dec
        return self._select(x @ self.W_enc)

    def _select(self, u: Tensor) -> Tensor:
        rule = self.config.rule
        if rule == "gated":
            return torch.relu(u * self.r_mag.exp() + self.b_mag) * (u + self.b_gate > 0)
        u = u + self.b_enc
        if rule == "topk":
            values, index = u.topk(self.config.k, dim=-1, sorted=False)
            return torch.zeros_like(u).scatter_(-1, index, values.relu())
        f = torch.relu(u)
        return f * (u > self.threshold) if rule == "jumprelu" else f

    def decode(self, features: Tensor) -> Tensor:
        """x_hat = f W_dec + b_dec, [..., d_sae] -> [..., d_in], in the units of the activations.

        Raises:
            DictionaryError: the dictionary normalises its inputs, and these are not the features of as many vectors
                as were encoded last.
        """
        x_hat = features @ self.W_dec + self.b_dec
        if self.config.normalisation == "none":
            return x_hat
        encoded = None if self._undo is None else tuple(self._undo[0].shape[:-1])
        if encoded != tuple(features.shape[:-1]):
            raise DictionaryError(
                f"{tuple(features.shape[:-1])} vectors to decode, {encoded or 'none'} encoded last: this dictionary "
                f"({self.config.normalisation}) needs the statistics of its inputs; encode the same batch first"
            )
        scale, shift = self._undo
        return x_hat * scale + shift

    def forward(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        """Reconstruction of raw activations [..., d_in]."""
        return self.decode(self.encode(x))


def _constant_norm(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x scaled to norm sqrt(d), and (scale, shift) [..., 1] that undo it; a zero vector stays zero."""
    scale = x.norm(dim=-1, keepdim=True) / x.shape[-1] ** 0.5
    return x / scale.clamp_min(torch.finfo(x.dtype).tiny), scale, torch.zeros_like(scale)


def _layer_norm(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x with mean 0 and deviation 1 over its coordinates, and (scale, shift) [..., 1] that undo it."""
    mean = x.mean(dim=-1, keepdim=True)
    x = x - mean
    deviation = x.std(dim=-1, keepdim=True)
    return x / (deviation + LAYER_NORM_EPS), deviation, mean


_NORMALISE = {"constant_norm_rescale": _constant_norm, "layer_norm": _layer_norm}


def _check(config: DictionaryConfig, weights: dict[str, Tensor]) -> None:
    for name, value, known in (
        ("selection rule", config.rule, get_args(Rule)),
        ("normalisation", config.normalisation, get_args(Normalisation)),
    ):
        if value not in known:
            raise DictionaryError(f"{name} {value!r} is not known; known are {', '.join(known)}")
    if (config.rule == "topk") != (config.k is not None):
        raise DictionaryError(f"k = {config.k} with the selection rule {config.rule}: TopK, and only it, has a k")
    if config.k is not None and not 1 <= config.k <= config.d_sae:
        raise DictionaryError(f"k = {config.k} of {config.d_sae} features: choose 1..{config.d_sae}")
    d_in, d_sae = config.d_in, config.d_sae
    vectors = {"gated": ("b_gate", "r_mag", "b_mag"), "jumprelu": ("b_enc", "threshold")}.get(config.rule, ("b_enc",))
    shapes = {"W_enc": (d_in, d_sae), "W_dec": (d_sae, d_in), "b_dec": (d_in,), **dict.fromkeys(vectors, (d_sae,))}
    if set(weights) != set(shapes):
        raise DictionaryError(f"weights are {sorted(weights)}, a {config.rule} dictionary needs {sorted(shapes)}")
    for name, shape in shapes.items():
        if tuple(weights[name].shape) != shape:
            raise DictionaryError(
                f"{name} has shape {tuple(weights[name].shape)}, its configuration (d_in {d_in}, d_sae {d_sae}) "
                f"says {shape}"
            )
        if weights[name].isnan().any():
            raise DictionaryError(f"{name} holds NaN: the dictionary was saved broken; get another copy of it")
