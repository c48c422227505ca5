"""Temporal feature analysis: `latest_ckpt.safetensors` and `conf.yaml` (Lubana et al. 2025, arXiv 2511.01836)."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import torch
from torch import Tensor, nn

from lens.dictionaries.attention import Attention, along, direction
from lens.dictionaries.formats.files import pick, read_safetensors, setting
from lens.dictionaries.wrapped import Wrapped
from lens.errors import DictionaryError
from lens.files import read_yaml

CONFIG, WEIGHTS = "conf.yaml", "latest_ckpt.safetensors"
KINDS = ("relu", "topk")
_LAYER = re.compile(r"layer_(\d+)")


class TemporalFeatureAnalysis(nn.Module):
    """What attention over the codes of earlier vectors predicts is taken from a vector; the rest has a sparse code.

    Features are those of the rest alone, and k of them are kept (None: all that are positive). Decoding them adds what
    was predicted, of the batch that was encoded last: decode the features of one batch before encoding the next.
    """

    def __init__(
        self,
        d_in: int,
        d_sae: int,
        *,
        heads: int,
        layers: int,
        bottleneck: int,
        tied: bool,
        k: int | None,
        scale: float,
    ):
        super().__init__()
        self.k, self.scale, self.shrink = k, scale, 1 / (4 * d_in)
        self.D, self.b = nn.Parameter(torch.empty(d_sae, d_in)), nn.Parameter(torch.empty(d_in))
        self.E = None if tied else nn.Parameter(torch.empty(d_in, d_sae))
        self.attn_layers = nn.ModuleList(Attention(d_sae, heads, bottleneck) for _ in range(layers))
        self._predicted = torch.zeros(0)

    def encode(self, x: Tensor) -> Tensor:
        """Whole windows of raw activations [B, T, d_in] -> features [B, T, d_sae]."""
        x = x * self.scale - self.b
        self._predicted = torch.zeros_like(x)
        for attention in self.attn_layers:
            assert isinstance(attention, Attention)
            u = direction(attention, self._code(x), self.D)
            explained = along(u, x) * u
            self._predicted = self._predicted + explained
            x = x - explained
        f = self._code(x)
        if self.k is None:
            return f
        kept = f.topk(self.k, dim=-1)
        return torch.zeros_like(f).scatter(-1, kept.indices, kept.values)

    def _code(self, x: Tensor) -> Tensor:
        return torch.relu(self.shrink * x @ (self.D.T if self.E is None else self.E))

    def decode(self, features: Tensor) -> Tensor:
        """[B, T, d_sae] -> [B, T, d_in], in the units of the activations, with what was predicted of them.

        Raises:
            DictionaryError: these are not the features of as many vectors as were encoded last.
        """
        if features.shape[:-1] != self._predicted.shape[:-1]:
            raise DictionaryError(
                f"{tuple(features.shape[:-1])} vectors to decode, {tuple(self._predicted.shape[:-1])} encoded last: "
                "what was predicted is a part of their reconstructions; encode the same batch first"
            )
        return (features @ self.D + self._predicted + self.b) / self.scale


def read(folder: Path) -> Wrapped:
    """Read a folder, whose name or that of one around it is the layer, such as `layer_12/temporal`.

    Its code is no score of one vector, so that it is profiled and not taken apart, as any module of another library.

    Raises:
        DictionaryError: weights and configuration do not fit each other, or an option is not known.
    """
    config = read_yaml(folder / CONFIG, "get it again", DictionaryError)
    model, sae = (setting(config, key, dict, CONFIG) for key in ("llm", "sae"))
    kind = setting(sae, "sae_diff_type", str, CONFIG)
    if kind not in KINDS:
        raise DictionaryError(f"{CONFIG} says sae_diff_type {kind!r}; known are {', '.join(KINDS)}")
    d_in, scale = setting(model, "dimin", int, CONFIG), setting(sae, "scaling_factor", float, CONFIG)
    heads, layers, bottleneck = (
        setting(sae, key, int, CONFIG) for key in ("n_heads", "n_attn_layers", "bottleneck_factor")
    )
    k = setting(sae, "kval_topk", int, CONFIG) if kind == "topk" else None
    weights = read_safetensors(folder / WEIGHTS)
    d_sae = weights["D"].shape[0] if "D" in weights and weights["D"].ndim else 0
    if min(d_sae, heads, layers, bottleneck, scale, 1 if k is None else k) <= 0 or d_sae % (heads * bottleneck):
        raise DictionaryError(
            f"{CONFIG} says n_heads {heads}, n_attn_layers {layers}, bottleneck_factor {bottleneck}, kval_topk {k} and "
            f"scaling_factor {scale} of {d_sae} features: positive numbers are needed, and heads of equal width"
        )
    with torch.device("meta"):
        inner = TemporalFeatureAnalysis(
            d_in, d_sae, heads=heads, layers=layers, bottleneck=bottleneck, k=k, scale=scale,
            tied=setting(sae, "tied_weights", bool, CONFIG),
        )  # fmt: skip
    weights = pick(weights, {name: name for name in inner.state_dict()}, (), WEIGHTS)
    weights["b"] = weights["b"].flatten()
    for name, needed in inner.state_dict().items():
        if weights[name].shape != needed.shape:
            raise DictionaryError(
                f"{name} has shape {tuple(weights[name].shape)}, {CONFIG} (dimin {d_in}) says {tuple(needed.shape)}"
            )
    inner.load_state_dict(weights, assign=True)
    opened = Wrapped(inner, d_in)
    layer = next((found[1] for name in folder.absolute().parts[::-1] if (found := _LAYER.fullmatch(name))), "")
    hook = f"blocks.{layer}.hook_resid_post" if layer else ""
    opened.info = dataclasses.replace(opened.info, layer=layer, hook=hook, name=f"tfa-{kind}")
    opened.stated_l0 = k
    return opened
