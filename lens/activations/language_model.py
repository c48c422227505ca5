"""A language model by name: its residual stream at any block, and its predictions with a block's output replaced."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from lens.activations import gguf_packages, random_models
from lens.config import EMBEDDING, Layer, suggest


class _Reached(Exception):
    """The last block asked for has run; what follows is not needed."""


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model in evaluation mode.

    Attributes:
        name: as asked for.
        revision: sha256 of the GGUF file or of the weights (local or random), or commit on the hub.
        quantisation: how the weights were quantised before they were loaded; empty if they were not.
        bos_id: token for position 0; None if the tokenizer has none.
    """

    name: str
    revision: str
    quantisation: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    n_layers: int
    d_model: int
    bos_id: int | None
    vocab_size: int

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks in order, wherever the architecture keeps them."""
        for module in self.model.get_decoder().modules():
            if isinstance(module, nn.ModuleList) and len(module) == self.n_layers:
                return module
        raise TypeError(f"{self.name}: no list of {self.n_layers} blocks in {type(self.model).__name__}")

    @torch.inference_mode()
    def residual_stream(
        self, tokens: Tensor | np.ndarray, layers: Sequence[Layer], first_position: int = 0
    ) -> dict[Layer, Tensor]:
        """The residual stream after each block of `layers` (`embedding`: before block 0), each `[B, T, d]`.

        Runs no further than the last block asked for, so the language-model head is never touched.

        Args:
            tokens: integers `[B, T]`.
            first_position: the position index of column 0; a model with rotary positions must not care.
        """
        check_layers(self, layers)
        caught: dict[Layer, Tensor] = {}
        last = max(layers, key=_depth)

        def keep(layer: Layer) -> Callable[[Tensor], None]:
            def catch(hidden: Tensor) -> None:
                caught[layer] = hidden
                if layer == last:
                    raise _Reached

            return catch

        with contextlib.ExitStack() as hooks, contextlib.suppress(_Reached):
            for layer in layers:
                hooks.enter_context(_at(self.blocks, layer, keep(layer)))
            self._trunk(tokens, first_position)
        return {layer: caught[layer] for layer in layers}

    @torch.inference_mode()
    def spliced(self, tokens: Tensor | np.ndarray, layer: Layer, replace: Callable[[Tensor], Tensor] | None) -> Tensor:
        """The final hidden states `[B, T, d]`, after the final norm, with a block's output replaced.

        Args:
            tokens: integers `[B, T]`.
            replace: from the residual stream `[B, T, d]` at `layer` to what the following blocks shall see;
                None leaves it alone.
        """
        check_layers(self, [layer])
        if replace is None:
            return self._trunk(tokens)
        with _at(self.blocks, layer, replace):
            return self._trunk(tokens)

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token logits, fp32 `[..., vocab]`, of final hidden states `[..., d]`.

        The product is taken in the dtype of the weights: in bf16 a single logit is off by up to 0.4 % of its size.
        """
        head = self.model.get_output_embeddings()
        logits = head(hidden.to(head.weight.dtype)).float()
        cap = getattr(self.model.config.get_text_config(), "final_logit_softcapping", None)
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def _trunk(self, tokens: Tensor | np.ndarray, first_position: int = 0) -> Tensor:
        ids = torch.as_tensor(tokens, dtype=torch.long, device=self.device)
        options = {}
        if first_position:
            options["position_ids"] = torch.arange(ids.shape[1], device=self.device).expand_as(ids) + first_position
        return self.model.get_decoder()(input_ids=ids, use_cache=False, **options).last_hidden_state


def check_layers(model: LanguageModel, layers: Sequence[Layer], d_model: int | None = None) -> None:
    """Raise a ValueError naming depth and width if the model has no such layers, or not the width expected."""
    shape = f"{model.name} has {model.n_layers} blocks (0 to {model.n_layers - 1}) of width {model.d_model}"
    if not layers:
        raise ValueError(f"no layer asked for; {shape}")
    wrong = [x for x in layers if x != EMBEDDING and not (isinstance(x, int) and 0 <= x < model.n_layers)]
    if wrong:
        raise ValueError(f"no layer {', '.join(map(repr, wrong))}: {shape}; {EMBEDDING!r} is the input of block 0")
    if d_model is not None and d_model != model.d_model:
        raise ValueError(f"width {d_model} expected: {shape} (2304 is the width of gemma-2-2b, not of gemma-2b)")


def load(name: str, *, device: str | torch.device | None = None, dtype: torch.dtype = torch.bfloat16) -> LanguageModel:
    """A language model, on CUDA when there is one.

    Args:
        name: `gemma-3-270m` or `smollm2-135m` (from installed packages, no network); `random:<config>` (random
            weights; a name in `random_models.CONFIGS` or the path of a `config.json`); or what `transformers`
            can open: a local folder or a name on the model hub.

    Raises:
        OSError: the hub cannot be reached, or refuses; the message has the reason and what works offline.
        ModuleNotFoundError, ValueError: see `gguf_packages.prepare`.
    """
    quantisation = ""
    if name in gguf_packages.RECIPES:
        folder = gguf_packages.prepare(name)
        source = json.loads((folder / "source.json").read_text())
        revision, quantisation = source["gguf"], source["quantisation"]
        model, tokenizer = _open(str(folder), dtype)
    elif name.startswith("random:"):
        model, tokenizer, revision = random_models.build(name.removeprefix("random:"), dtype)
    else:
        model, tokenizer = _open_or_explain(name, dtype)
        revision = _revision(name, model)
    model = model.eval().requires_grad_(False).to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    config = model.config.get_text_config()
    return LanguageModel(
        name=name,
        revision=revision,
        quantisation=quantisation,
        model=model,
        tokenizer=tokenizer,
        n_layers=config.num_hidden_layers,
        d_model=config.hidden_size,
        bos_id=tokenizer.bos_token_id,
        vocab_size=config.vocab_size,
    )


def _open(name: str, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    with gguf_packages.quiet():
        return AutoModelForCausalLM.from_pretrained(name, dtype=dtype), AutoTokenizer.from_pretrained(name)


def _open_or_explain(name: str, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    try:
        return _open(name, dtype)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        if "gated" in reason or "401" in reason:
            reason += " Accept its licence on its page, then log in with `hf auth login` or set HF_TOKEN."
        offline = [*gguf_packages.RECIPES, *(f"random:{config}" for config in random_models.CONFIGS)]
        raise OSError(
            f"language model {name!r} could not be opened{suggest(name, offline)}: {reason} "
            f"Models that need no hub: {', '.join(offline)}"
        ) from error


def _revision(name: str, model: PreTrainedModel) -> str:
    if Path(name).is_dir():
        weights = sorted(path for path in Path(name).iterdir() if path.suffix in (".safetensors", ".bin"))
        return " ".join(gguf_packages.sha256(path) for path in weights)
    return getattr(model.config, "_commit_hash", None) or "unknown"


def _depth(layer: Layer) -> int:
    return -1 if layer == EMBEDDING else layer


@contextlib.contextmanager
def _at(blocks: nn.ModuleList, layer: Layer, function: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    """Call `function` with the residual stream at `layer`; what it returns, if anything, takes its place."""

    def after(module, args, output):
        hidden, *rest = output if isinstance(output, tuple) else (output,)
        new = _like(hidden, function(hidden))
        return (new, *rest) if isinstance(output, tuple) else new

    def before(module, args, kwargs):
        hidden = args[0] if args else kwargs["hidden_states"]
        new = _like(hidden, function(hidden))
        return ((new, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": new})

    if layer == EMBEDDING:
        handle = blocks[0].register_forward_pre_hook(before, with_kwargs=True)
    else:
        handle = blocks[layer].register_forward_hook(after)
    try:
        yield
    finally:
        handle.remove()


def _like(hidden: Tensor, new: Tensor | None) -> Tensor:
    if new is None:
        return hidden
    if new.shape != hidden.shape:
        raise ValueError(f"replacement of shape {tuple(new.shape)} for a residual stream {tuple(hidden.shape)}")
    return new.to(hidden.dtype)
