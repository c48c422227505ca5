"""What a language model's MLPs are given, and what it was before the norm: where transcoders read."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lens.activations.hooks import Site
from lens.activations.language_model import LanguageModel

MLPS = ("mlp", "feed_forward", "block_sparse_moe")  # names that families give to a block's MLP
CLOSE = 1e-2  # of the largest value: a bf16 gain, rounded twice


@torch.inference_mode()
def activations_at(model: LanguageModel, tokens: Tensor, site: Site) -> Tensor:
    """Activations [B, T, d] of tokens [B, T] at a place inside a block, in the model's precision.

    The norm before the MLP is the module of the block whose output the MLP is given, whatever its name.

    Raises:
        ValueError: there is no such block, it has no MLP of a known name or none that is given a norm's output; or
            the norm is neither a LayerNorm nor an RMSNorm with a gain, so that it can't be taken apart.
    """
    block = model.blocks[site.block] if 0 <= site.block < model.n_layers else None
    name = next((name for name in MLPS if isinstance(getattr(block, name, None), nn.Module)), None)
    if block is None or name is None:
        raise ValueError(
            f"{model.name} has blocks 0 to {model.n_layers - 1}, no {site.place} is known of block {site.block}: an "
            f"MLP is called {', '.join(MLPS)}; read the activations yourself and give them as lens.Activations"
        )
    passed, given = _run(model, tokens, site.block, block, getattr(block, name))
    if site.place == "mlp_in":
        return given
    norm, before = next(((m, x) for m, x, made in passed if made is given), (None, given))
    if norm is None:
        raise ValueError(f"{model.name}: no norm gives the MLP of block {site.block} its input as it is")
    return before if site.place == "resid_mid" else _without_gain(model.name, norm, before, given)


def _run(
    model: LanguageModel, tokens: Tensor, number: int, block: nn.Module, mlp: nn.Module
) -> tuple[list[tuple[nn.Module, Tensor, Tensor]], Tensor]:
    """Modules of a block with their first input and output, where these are tensors; and what the MLP is given."""
    passed: list[tuple[nn.Module, Tensor, Tensor]] = []
    given: list[Tensor] = []

    def keep(module: nn.Module, args: tuple, kwargs: dict[str, Any], output: object) -> None:
        first = args[0] if args else kwargs.get("hidden_states")
        if isinstance(first, Tensor) and isinstance(output, Tensor):
            passed.append((module, first, output))
            if module is mlp:
                given.append(first)

    model.check_blocks  # noqa: B018  # which runs the model, and is not to be caught
    handles = [child.register_forward_hook(keep, with_kwargs=True) for child in block.children()]
    try:
        model.residual_stream(tokens, [number])
    finally:
        for handle in handles:
            handle.remove()
    if not given:
        raise ValueError(f"{model.name}: the MLP of block {number} is not called with one tensor")
    return passed, given[0]


def _without_gain(name: str, norm: nn.Module, before: Tensor, after: Tensor) -> Tensor:
    """What a norm makes of its input before its gain, checked against what it made."""
    x = before.float()
    weight = getattr(norm, "weight", None)
    eps = next((e for e in (getattr(norm, n, None) for n in ("eps", "variance_epsilon")) if e is not None), None)
    if isinstance(weight, Tensor) and isinstance(eps, float):
        if isinstance(norm, nn.LayerNorm):
            plain = nn.functional.layer_norm(x, norm.normalized_shape, eps=eps)
            shift = 0 if norm.bias is None else norm.bias.float()
        else:
            plain, shift = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps), 0
        for gain in (weight.float(), 1 + weight.float()):
            if (plain * gain + shift - after.float()).abs().max() <= CLOSE * after.float().abs().max():
                return plain.to(after.dtype)
    raise ValueError(f"{name}: {type(norm).__name__} is no LayerNorm or RMSNorm whose gain can be taken off")
