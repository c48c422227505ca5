"""What a model's blocks give and are given, caught or replaced while its `forward` runs."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator
from typing import cast

import torch
import transformers
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from lens.activations.layers import Layer
from lens.bf16 import products


def depth(layer: Layer) -> int:
    return layer if isinstance(layer, int) else -1


@contextlib.contextmanager
def at(blocks: nn.ModuleList, layer: Layer, function: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    """Call `function` with the residual stream at `layer`; what it returns, if anything, takes its place."""

    def after(module, args, output):
        hidden, *rest = output if isinstance(output, tuple | list) else (output,)
        new = _like(hidden, function(hidden))
        return type(output)((new, *rest)) if isinstance(output, tuple | list) else new

    def before(module, args, kwargs):
        hidden = args[0] if args else kwargs["hidden_states"]
        new = _like(hidden, function(hidden))
        return ((new, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": new})

    if isinstance(layer, int):
        handle = blocks[layer].register_forward_hook(after)
    else:
        handle = blocks[0].register_forward_pre_hook(before, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def trunk(model: transformers.PreTrainedModel) -> transformers.PreTrainedModel:
    """The model without its head, which answers final hidden states. What some families answer as their decoder is the
    whole model, or a part of the head."""
    candidates = [model.get_decoder(), model.base_model, *model.children()]
    for found in candidates if model.get_output_embeddings() is not None else ():
        if isinstance(found, transformers.PreTrainedModel) and found is not model:
            return found
    return model


def learned_positions(model: transformers.PreTrainedModel) -> int | None:
    """How many positions a model has embeddings of; None for one that computes them (rotary ones, say)."""
    for name, module in trunk(model).named_modules():
        own = name.rpartition(".")[2]
        if isinstance(module, nn.Embedding) and ("pos" in own or own == "wpe"):
            padding = module.padding_idx
            return module.num_embeddings - getattr(module, "offset", 0 if padding is None else padding + 1)
    return None


def states(answer: BaseModelOutput) -> Tensor:
    return cast(Tensor, answer.last_hidden_state)


def answered(model: transformers.PreTrainedModel, answer: BaseModelOutput, hidden: Tensor) -> Tensor:
    """Logits `[n, vocab]` of `forward`, where the blocks answer `answer` with final hidden states `[n, d]` in it."""
    answer = copy.copy(answer)
    answer["last_hidden_state"] = hidden[None].to(states(answer))
    ids = torch.zeros(1, len(hidden), dtype=torch.long, device=hidden.device)
    with _forwards([trunk(model)], lambda forward: lambda *args, **kwargs: answer), products(hidden.device):
        return model(input_ids=ids, use_cache=False).logits[0]


def run_once(blocks: nn.ModuleList) -> contextlib.AbstractContextManager[None]:
    """Run each of `blocks` on its first call only; afterwards it answers the same again. Hooks run every time."""
    return _forwards(blocks, _first_answer)


@contextlib.contextmanager
def _forwards(modules: Iterable[nn.Module], change: Callable[[Callable], Callable]) -> Iterator[None]:
    """Change the `forward` of modules for a while; hooks still run."""
    before = [(module, module.__dict__.get("forward")) for module in modules]  # where another library has put its own
    for module, _ in before:
        module.forward = change(module.forward)
    try:
        yield
    finally:
        for module, own in before:
            if own is None:
                del module.forward  # what hid the method of the class
            else:
                module.forward = own


def _first_answer(function: Callable) -> Callable:
    answers = []

    def answer(*args, **kwargs):
        if not answers:
            answers.append(function(*args, **kwargs))
        return answers[0]

    return answer


def _like(hidden: Tensor, new: Tensor | None) -> Tensor:
    if new is None:
        return hidden
    if new.shape != hidden.shape:
        raise ValueError(f"replacement of shape {tuple(new.shape)} for a residual stream {tuple(hidden.shape)}")
    return new.to(hidden.dtype)
