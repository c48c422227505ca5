"""What decides the numbers of a language model in memory, whatever it is called and wherever it came from."""

from __future__ import annotations

import hashlib
import inspect
import json
import types
from collections.abc import Callable

import torch
import transformers
from torch import nn

from lens.activations import forward
from lens.activations.modes import evaluating

_TOKENS = 64  # of which the answer of a model counts that does more than its class says
_DECIDES_NOTHING = {  # entries of a configuration: where and by what it was saved, and how text is generated
    "_name_or_path", "_commit_hash", "transformers_version", "architectures", "dtype", "torch_dtype", "use_cache",
    "bos_token_id", "eos_token_id", "return_dict", "output_hidden_states", "output_attentions", "id2label", "label2id",
    "problem_type",
}  # fmt: skip


# attributes of modules that say nothing of the numbers, or of which the answer of the model tells
_OF_TORCH = {*vars(nn.Module()), "name_or_path", "_is_hf_initialized", "_output_capturing_hooks_installed", "forward"}
_WATCHING = "transformers.utils.output_capturing"  # its hooks keep the hidden states that are asked for; they stay


def fingerprint(model: transformers.PreTrainedModel) -> dict:
    """Configuration, precision, kernels, device, modules and weights of a model, as values that JSON has.

    Every weight and buffer counts, to the bit: about 1.5 seconds per gigabyte of them; of each module its class, the
    code of its `forward`, and its plain attributes. Of a model with hooks or a `forward` of its own (steered, patched)
    what it answers to a few tokens counts too.

    Raises:
        ValueError: weights are not in memory (on the device `meta`).
    """
    weights = weights_digest(model)
    config = json.dumps(_deciding(model.config.to_dict()), sort_keys=True, default=str)
    own = {"answer": _answer(model)} if _is_changed(model) else {}
    return own | {
        "architecture": type(model).__name__,
        "config": hashlib.sha256(config.encode()).hexdigest(),
        "precision": sorted({str(p.dtype) for p in model.parameters()}),
        "kernels": [getattr(model.config, f"_{part}_implementation", None) for part in ("attn", "experts")],
        "device": model.device.type,
        "modules": _modules_digest(model),
        "weights": weights,
    }


def weights_digest(model: transformers.PreTrainedModel) -> str:
    """sha256 of all weights, by name."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        value: object = weight
        if not isinstance(value, torch.Tensor) or value.is_quantized:
            raise ValueError(
                f"{name} is packed ({type(value).__name__}), as in models that PyTorch quantised: pass the model as "
                "it was before, or activations that you read yourself, lens.Activations"
            )
        if weight.is_meta:
            raise ValueError(f"{name} has no values: the model was made on the device meta; load its weights first")
        digest.update(name.encode())
        digest.update(weight.cpu().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _modules_digest(model: transformers.PreTrainedModel) -> str:
    """sha256 of what modules do beside their weights: an activation function or a scale that was replaced, an adapter
    that is switched off, frequencies of rotary positions."""
    digest = hashlib.sha256()
    for name, module in model.named_modules():
        said = [(key, _said(value)) for key, value in sorted(vars(module).items()) if key not in _OF_TORCH]
        digest.update(repr((name, type(module).__qualname__, _code(type(module).forward), said)).encode())
        for key in sorted(module._non_persistent_buffers_set):
            if (buffer := module._buffers.get(key)) is not None:
                digest.update(key.encode() + buffer.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _code(function: Callable) -> object:
    """What a function does, with the plain values that it has from elsewhere; nothing of one that isn't Python's."""
    function = inspect.unwrap(function)
    code = getattr(function, "__code__", None)
    if code is None:
        return None
    held = [cell.cell_contents for cell in function.__closure__ or () if cell != types.CellType()]
    return code.co_code.hex(), code.co_names, _said(code.co_consts), _said(function.__defaults__), _said(held)


def _said(value: object) -> object:
    """A plain value, or the name of a function; of all else nothing, as it may say where it lies in memory."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_said(part) for part in value]
    return getattr(value, "__qualname__", None)


def _is_changed(model: transformers.PreTrainedModel) -> bool:
    """Whether something is done in the model that neither its class nor its weights say."""
    return any("forward" in m.__dict__ or any(map(_acts, _hooks(m))) for m in model.modules())


def _hooks(module: nn.Module) -> list[Callable]:
    return [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]


def _acts(hook: Callable) -> bool:
    return getattr(hook, "__module__", None) != _WATCHING


@torch.inference_mode()
def _answer(model: transformers.PreTrainedModel) -> str:
    """sha256 of the last hidden states of some tokens."""
    ids = torch.arange(_TOKENS, device=model.device)[None] * 7919 % model.config.get_text_config().vocab_size
    with evaluating(model):
        hidden = forward.states(forward.trunk(model)(input_ids=ids, use_cache=False))
    return hashlib.sha256(hidden.float().cpu().numpy().tobytes()).hexdigest()


def _deciding(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _deciding(part) for key, part in value.items() if key not in _DECIDES_NOTHING}
    return [_deciding(part) for part in value] if isinstance(value, list | tuple) else value
