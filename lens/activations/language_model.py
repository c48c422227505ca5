"""A language model: its residual stream at any block, and its predictions with a block's output replaced."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import transformers
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from lens.activations import forward
from lens.activations.layers import EMBEDDING, Layer
from lens.activations.modes import evaluating
from lens.bf16 import products

_COMPARED = 8  # tokens on which what we read and make is compared with the model's own


class _Reached(Exception):
    """The last block asked for has run; what follows is not needed."""


@dataclass(frozen=True)
class LanguageModel:
    """A language model: causal, or an encoder, which has a residual stream but predicts nothing.

    It runs in evaluation mode, whatever mode the model is in.

    Attributes:
        name: as asked for.
        revision: sha256 of the GGUF file or of the weights (local or random), or commit on the hub.
        quantisation: how the weights were quantised before they were loaded; empty if they were not.
        bos_id: token for position 0, [CLS] for an encoder; None if the tokenizer has none.
    """

    name: str
    revision: str
    quantisation: str
    model: transformers.PreTrainedModel
    tokenizer: transformers.PreTrainedTokenizerBase
    n_layers: int
    d_model: int
    bos_id: int | None
    vocab_size: int

    def __repr__(self) -> str:
        kind = "causal" if self.causal else "encoder"
        return f"LanguageModel {self.name}: {kind}, {self.n_layers} blocks of width {self.d_model}, on {self.device}"

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def head(self) -> nn.Linear:
        """The language-model head; a ValueError for an encoder, which has none."""
        head = self.model.get_output_embeddings()
        if head is None:
            raise ValueError(f"{self.name} is an encoder: it predicts no next token; set windows.fidelity to 0")
        return cast(nn.Linear, head)

    @property
    def causal(self) -> bool:
        """Whether it predicts the next token; an encoder does not."""
        return self.model.get_output_embeddings() is not None

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks in order, wherever the architecture keeps them; a ValueError if that isn't known."""
        for module in forward.trunk(self.model).modules():
            if isinstance(module, nn.ModuleList) and len(module) == self.n_layers:
                return module
        raise ValueError(
            f"{self.name}: {type(self.model).__name__} has no list of {self.n_layers} blocks whose residual stream "
            "could be read: give activations that you read yourself, lens.Activations"
        )

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
        layers = check_layers(self, layers)
        self.check_blocks  # noqa: B018
        return self._read(tokens, layers, first_position)

    def _read(
        self, tokens: Tensor | np.ndarray, layers: Sequence[Layer], first_position: int = 0, finite: bool = True
    ) -> dict[Layer, Tensor]:
        caught: dict[Layer, Tensor] = {}
        last = max(layers, key=forward.depth)
        shape = (*torch.as_tensor(tokens).shape, self.d_model)

        def keep(layer: Layer) -> Callable[[Tensor], None]:
            def catch(hidden: Tensor) -> None:
                if hidden.shape != shape:
                    raise ValueError(
                        f"{self.name}: {type(self.model).__name__} has {tuple(hidden.shape)} at layer {layer}, where "
                        f"[B, T, d] = {shape} is expected: it has no residual stream that can be read here"
                    )
                if finite:
                    self._check_finite(hidden, layer)
                caught[layer] = hidden
                if layer == last:
                    raise _Reached

            return catch

        with contextlib.ExitStack() as hooks, contextlib.suppress(_Reached):
            for layer in layers:
                hooks.enter_context(forward.at(self.blocks, layer, keep(layer)))
            self._trunk(tokens, first_position)
        return {layer: caught[layer] for layer in layers}

    @torch.inference_mode()
    def spliced(self, tokens: Tensor | np.ndarray, layer: Layer, replace: Callable[[Tensor], Tensor] | None) -> Tensor:
        """The final hidden states `[B, T, d]`, after the final norm, with a block's output replaced.

        Args:
            tokens: integers `[B, T]`.
            replace: from the residual stream `[B, T, d]` at `layer` to what the following blocks shall see;
                None leaves it alone.

        Raises:
            ValueError: the model is an encoder.
        """
        _ = self.head  # an encoder predicts nothing
        [layer] = check_layers(self, [layer])
        if replace is None:
            return self._trunk(tokens)
        with forward.at(self.blocks, layer, replace):
            return self._trunk(tokens)

    def spliced_each(
        self, tokens: Tensor | np.ndarray, layer: Layer, replacements: Sequence[Callable[[Tensor], Tensor] | None]
    ) -> list[Tensor]:
        """`spliced` with each of `replacements`, to the bit; the blocks up to `layer` run once for all of them.

        All of them are given one and the same residual stream, so none may change it in place.
        """
        [layer] = check_layers(self, [layer])
        if not self._can_run_once(layer):
            return [self.spliced(tokens, layer, replace) for replace in replacements]
        with forward.run_once(self.blocks[: forward.depth(layer) + 1]):
            return [self.spliced(tokens, layer, replace) for replace in replacements]

    def _can_run_once(self, layer: Layer) -> bool:
        """Whether what follows a layer needs nothing of the blocks up to it but their output: some models hand keys and
        values on to later blocks beside it. Tried on a few tokens, once for each layer."""
        if layer not in self._run_once:
            ids = self._few_tokens
            plain = self.spliced(ids, layer, None)
            try:
                with forward.run_once(self.blocks[: forward.depth(layer) + 1]):
                    again = [self.spliced(ids, layer, None) for _ in range(2)]
                self._run_once[layer] = all(torch.equal(x, plain) for x in again)
            except Exception:  # of the model's own code
                self._run_once[layer] = False
        return self._run_once[layer]

    @functools.cached_property
    def _run_once(self) -> dict[Layer, bool]:
        return {}

    @property
    def _few_tokens(self) -> Tensor:
        return (torch.arange(_COMPARED, device=self.device)[None] + self.vocab_size // 2) % self.vocab_size

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """The model's own next-token logits `[..., vocab]` of final hidden states `[..., d]`, in the dtype it uses.

        They come from its own `forward`, so that what it does to them (scale, cap, bias) is done here too. In bf16 a
        single logit is off by up to 0.4 % of its size.

        Raises:
            ValueError: the model is an encoder, or its `forward` doesn't make its logits of these states alone.
        """
        made = forward.answered(self.model, self._checked_answer, hidden.flatten(0, -2))
        return made.unflatten(0, hidden.shape[:-1])

    @torch.inference_mode()
    def unembedded(self, hidden: Tensor) -> Tensor:
        """What the unembedding matrix is multiplied with, `[n, d]`, for final hidden states `[n, d]`: the same states,
        unless the head transforms them first."""
        answer, caught = self._checked_answer, []

        def catch(module: nn.Module, args: tuple[Tensor]) -> None:
            caught.append(args[0])
            raise _Reached

        handle = self.head.register_forward_pre_hook(catch)
        try:
            with contextlib.suppress(_Reached):
                forward.answered(self.model, answer, hidden)
        finally:
            handle.remove()
        return caught[0].flatten(0, -2)

    @functools.cached_property
    def check_blocks(self) -> None:
        """Compare what is read at the blocks with the hidden states that the model itself answers, once per model.

        Raises:
            ValueError: they differ.
        """
        ids = self._few_tokens
        own = cast(Sequence[Tensor], self._run_trunk(ids, output_hidden_states=True).hidden_states or [])
        if len(own) != self.n_layers + 1 or self.n_layers < 2:  # not every model answers them all
            return
        layers: list[Layer] = [EMBEDDING, *range(self.n_layers - 1)]  # the last is answered after the final norm
        read = self._read(ids, layers, finite=False)
        if not any(all(_agree(x, own, depth + before) for depth, x in _depths(read, before)) for before in (1, 0)):
            raise ValueError(
                f"{self.name}: what is read at the blocks of {type(self.model).__name__} are not the hidden states "
                f"that it answers itself (at layer 0 {read[0].flatten()[0]:.5g}, not {own[1].flatten()[0]:.5g}): its "
                "residual stream can't be read here; give activations that you read yourself, lens.Activations"
            )

    @functools.cached_property
    def _checked_answer(self) -> BaseModelOutput:
        """What the blocks answer to `forward`, after comparing logits made of it with the model's own, once per model.

        Raises:
            ValueError: they differ, or the logits of a token depend on later ones.
        """
        _ = self.head  # an encoder predicts nothing
        ids = self._few_tokens
        half = _COMPARED // 2
        other = torch.cat([ids[:, :half], ids[:, :half]], 1)
        answer = self._run_trunk(ids)
        made = forward.answered(self.model, answer, forward.states(answer)[0])
        with evaluating(self.model), products(self.device):
            own, elsewhere = (self.model(input_ids=x, use_cache=False).logits[0] for x in (ids, other))
        if not own.isfinite().all():
            raise ValueError(
                f"{self.name}: its logits are NaN or infinite: weights behind its blocks are damaged, or {own.dtype} "
                "is too narrow for them: get the files again, or load it with dtype=torch.float32"
            )
        tolerance = max(1e-4, 2 * torch.finfo(own.dtype).eps) * own.abs().max()  # kernels may round differently
        advice = (
            "for Delta CE and KL a causal model is needed; fidelity=0 (in a study windows.fidelity: 0) does without"
        )
        if made.shape != own.shape or not (made - own).abs().max() <= tolerance:
            place = (made - own).abs().argmax() if made.shape == own.shape else 0
            raise ValueError(
                f"{self.name}: {type(self.model).__name__} doesn't make its logits of its last hidden states alone: "
                f"{made.flatten()[place]:.6g} from them, {own.flatten()[place]:.6g} from the whole model; {advice}"
            )
        if (gap := (elsewhere - own)[:half].abs().max()) > 10 * tolerance:
            raise ValueError(
                f"{self.name}: {type(self.model).__name__} sees later tokens: other ones change logits of up to "
                f"{own.abs().max():.3g} before them by {gap:.3g}; {advice}"
            )
        return answer

    def _trunk(self, tokens: Tensor | np.ndarray, first_position: int = 0) -> Tensor:
        ids = torch.as_tensor(tokens, dtype=torch.long)
        if ids.numel() and not 0 <= (least := int(ids.min())) <= (largest := int(ids.max())) < self.vocab_size:
            raise ValueError(
                f"token {largest if least >= 0 else least} is not among the {self.vocab_size} that {self.name} has "
                f"embeddings of; its tokenizer has {len(self.tokenizer)}: take the tokenizer that it was trained with, "
                f"or add embeddings: model.resize_token_embeddings({len(self.tokenizer)})"
            )
        known = forward.learned_positions(self.model)
        if known is not None and first_position + ids.shape[1] > known:
            raise ValueError(
                f"positions up to {first_position + ids.shape[1] - 1} asked for, {self.name} has learned {known} "
                f"(0 to {known - 1}): pass length={known} or less (in a study windows.length)"
            )
        ids, options = ids.to(self.device), {}
        if first_position:
            options["position_ids"] = torch.arange(ids.shape[1], device=self.device).expand_as(ids) + first_position
        return forward.states(self._run_trunk(ids, **options))

    def _run_trunk(self, ids: Tensor, **options: Tensor | bool) -> BaseModelOutput:
        with evaluating(self.model), products(self.device):
            return forward.trunk(self.model)(input_ids=ids, use_cache=False, **options)

    def _check_finite(self, hidden: Tensor, layer: Layer) -> None:
        if not (finite := hidden.isfinite()).all():
            raise ValueError(
                f"{self.name}: {int((~finite).sum())} of {hidden.numel()} activations at layer {layer} are NaN or "
                f"infinite in {hidden.dtype}: load it in a wider precision (dtype=torch.float32), or get it again"
            )


def _depths(read: dict[Layer, Tensor], before: int) -> list[tuple[int, Tensor]]:
    """What was read by depth; some families answer what comes before the first block, and some do not."""
    return [(forward.depth(layer), x) for layer, x in read.items() if before or layer != EMBEDDING]


def _agree(read: Tensor, own: Sequence[Tensor], place: int) -> bool:
    return read.shape == own[place].shape and torch.allclose(read, own[place], 1e-2, 1e-3, equal_nan=True)


def check_layers(model: LanguageModel, layers: Sequence[Layer], d_model: int | None = None) -> list[Layer]:
    """The layers, integers of NumPy as plain ones; a ValueError naming depth and width if the model has no such layers,
    or not the width expected."""
    layers = [int(layer) if isinstance(layer, np.integer) else layer for layer in layers]
    shape = f"{model.name} has {model.n_layers} blocks (0 to {model.n_layers - 1}) of width {model.d_model}"
    if not layers:
        raise ValueError(f"no layer asked for; {shape}")
    wrong = [x for x in layers if x != EMBEDDING and not (type(x) is int and 0 <= x < model.n_layers)]
    if wrong:
        raise ValueError(f"no layer {', '.join(map(repr, wrong))}: {shape}; {EMBEDDING!r} is the input of block 0")
    if d_model is not None and d_model != model.d_model:
        raise ValueError(f"width {d_model} expected: {shape} (2304 is the width of gemma-2-2b, not of gemma-2b)")
    return layers
