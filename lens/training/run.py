"""One training run: a dictionary, its optimiser, its position weights and its history."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lens.bf16 import products
from lens.dictionaries.codes import Codes
from lens.dictionaries.dictionary import Dictionary
from lens.dictionaries.positions.mask import Mask
from lens.dictionaries.shards import ALONE, Shards, average_
from lens.training.gradients import Workspace, applies_to, loss_and_gradients
from lens.training.objective import Gradients, Losses, gradients
from lens.training.optim import ConstrainedAdamW
from lens.training.recipe import Recipe
from lens.training.schedule import PositionWeights, decay, warmup

WEIGHT_SNAPSHOTS = 20  # of the position weights, spread evenly over log(step)


def weight_steps(steps: int) -> set[int]:
    """Steps at which the position weights are kept."""
    last = max(steps - 1, 1)
    return {round(last ** (i / (WEIGHT_SNAPSHOTS - 1))) for i in range(WEIGHT_SNAPSHOTS)} | {0}


class TrainingError(RuntimeError):
    """Training cannot start or cannot go on; no dictionary is written."""


class Run:
    """Training state of one (variant, seed).

    `step` does everything that belongs to one optimiser step: temperature (eq. 5), gradients (eqs. 3, 4, 8), the
    constrained step (eq. 7) at its learning rate, the architecture's own state and the position weights (eq. 6), in
    this order.
    """

    def __init__(self, recipe: Recipe, dictionary: Dictionary, workspace: Workspace, shards: Shards = ALONE):
        self.recipe, self.dictionary, self.workspace, self.shards = recipe, dictionary.train(), workspace, shards
        dictionary.architecture.shards = shards
        dictionary.check_codes()
        self.name = f"{dictionary.info.name}-seed{dictionary.info.seed}"
        self.fast = applies_to(dictionary) and shards.by != "features"
        weights = dictionary.weights()
        if recipe.precision == "bf16":  # weights alone: what an architecture counts and averages stays exact
            for p in weights.values():
                p.data = p.data.to(torch.bfloat16)
        self.compute_dtype = torch.float32 if recipe.precision == "fp32" else torch.bfloat16
        self.first_position = 0 if recipe.include_bos else 1
        n_positions = (dictionary.info.n_positions or 0) - self.first_position
        device = dictionary.b_dec.device
        self.position_weights = PositionWeights(
            n_positions, recipe.ema_beta, in_place=recipe.weight_normalisation == "in_place", device=device
        )
        self.tied = dictionary.architecture.free_decoder
        self.learned = [p for p in weights.values() if p.requires_grad and not (self.tied and p is dictionary.W_enc)]
        constrained, decayed = ([], self.learned) if self.tied else ([dictionary.W_dec], [dictionary.W_enc])
        others = [p for p in self.learned if not any(p is q for q in (*constrained, *decayed))]
        self.optimizer = ConstrainedAdamW(
            constrained, decayed, others, betas=recipe.betas, weight_decay=recipe.weight_decay
        )
        self.start = {n: p.detach().clone() for n, p in dictionary.position_term.named_parameters()}
        self.steps_done = 0
        self.failure = ""  # why it goes no further
        self.codes: list[Codes] = []
        self.first_bad = torch.tensor(-1, device=device)
        self.curves = torch.full((2, recipe.steps), float("nan"), device=device)  # loss, gradient norm
        self.late_weight_sum = torch.zeros(n_positions, device=device)
        self.late_weight_steps = 0
        self.history: list[tuple[int, str, float]] = []
        self.weight_history: list[tuple[int, list[float]]] = []
        self.weight_steps = weight_steps(recipe.steps)

    def step(self, x: Tensor, shuffled: Tensor | None, *, log: bool) -> None:
        """One optimiser step on raw windows x [B, T, d_in]; `shuffled` [B, P, d_in] replaces them where asked.

        Nothing is done once there is a `failure`. A loss that is not finite becomes one at the next logged step.
        """
        if self.failure:
            return
        recipe, step, term = self.recipe, self.steps_done, self.dictionary.position_term
        term.before_step(step, recipe.steps)
        x = x[:, self.first_position :] if shuffled is None or recipe.positions == "true" else shuffled
        x, w = self.shards.windows(x), self._weights_in_use()
        coefficient = self.dictionary.architecture.coefficient * warmup(step, recipe.steps, recipe.sparsity_warmup)
        with products(x.device):
            found, auxiliary = self._gradients(x, w, coefficient, log)
        loss = found.total(w, coefficient, recipe.weight_l1) + auxiliary
        self.curves[0, step] = loss / w.numel()
        norm = self.curves[1, step] = self._gradient_norm()
        if recipe.gradient_clip:
            share = (recipe.gradient_clip * w.numel() / norm).clamp(max=1)
            for p in self.learned:
                _gradient(p).mul_(share)
        learned = [p for p in term.parameters() if p.requires_grad] if log else []
        before = [p.detach().clone() for p in learned]
        lr = recipe.lr * warmup(step, recipe.steps, recipe.lr_warmup) * decay(step, recipe.steps, recipe.lr_decay)
        self.optimizer.step(lr)
        if self.tied:
            self.dictionary.W_enc.data.copy_(self.dictionary.W_dec.T)
        while self.codes:
            codes = self.codes.pop(0)
            self.dictionary.architecture.after_step(codes)
            term.after_step(codes, self.first_position)

        if step in self.weight_steps and recipe.position_weights != "uniform":
            self.weight_history.append((step, w.tolist()))
        if step >= recipe.steps * 9 // 10:
            self.late_weight_sum += w
            self.late_weight_steps += 1
        if recipe.position_weights != "uniform":
            self.position_weights.update(found.error if recipe.position_weights == "squared" else found.error.sqrt())
        self.steps_done += 1
        bad = ~torch.isfinite(found.error.sum()) & (self.first_bad < 0)
        self.first_bad = torch.where(bad, step, self.first_bad)  # kept on the device: no wait at every step
        if log:
            self._log(step, w, found)
            if learned:
                self.history.append((step, "lost_update_share", _lost_updates(learned, before)))

    def _gradient_norm(self) -> Tensor:
        norms = torch.stack([_gradient(p).float().norm() for p in self.learned])
        if self.shards.by != "features":
            return norms.norm()
        own = torch.tensor([p is not self.dictionary.b_dec for p in self.learned], device=norms.device)
        return (self.shards.sum_over_features((norms * own).square().sum()) + (norms * ~own).square().sum()).sqrt()

    def _weights_in_use(self) -> Tensor:
        if self.recipe.position_weights == "uniform":
            return torch.ones_like(self.position_weights.average)
        return self.position_weights.value

    def _gradients(self, x: Tensor, w: Tensor, coefficient: float, log: bool) -> tuple[Losses, Tensor | float]:
        """Set `.grad` of every weight, over micro-batches where asked; the batch's losses and auxiliary loss."""
        one = self._written_out if self.fast else self._differentiated
        parts = x.split(self.recipe.micro_batch_windows or len(x))
        found, grads, auxiliary = one(parts[0], w, coefficient, log)
        if len(parts) > 1:
            share = len(parts[0]) / len(x)
            found, auxiliary = Losses(*(share * v for v in found)), share * auxiliary
            grads = {n: g.float() * share for n, g in grads.items()}
        for part in parts[1:]:
            share = len(part) / len(x)
            more, new, extra = one(part, w, coefficient, log)
            found, auxiliary = (
                Losses(*(a + share * b for a, b in zip(found, more, strict=True))),
                auxiliary + share * extra,
            )
            for n, g in new.items():
                grads[n] += share * g
        if self.shards.by == "batch":
            average_([*found, *grads.values(), *([auxiliary] if isinstance(auxiliary, Tensor) else [])])
        if self.tied:
            grads["W_dec"] = grads["W_dec"] + grads["W_enc"].T
        if not self.fast:
            self.dictionary.position_term.change_gradients(grads)
        for name, parameter in self.dictionary.weights().items():
            grad = grads[name].to(parameter.dtype)
            if len(grad) < len(parameter):  # positions that are not trained on get no gradient
                whole = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                whole[self.first_position :] = grad
                grad = whole
            parameter.grad = grad
        return found, auxiliary

    def _written_out(self, x: Tensor, w: Tensor, coefficient: float, log: bool) -> tuple[Losses, Gradients, float]:
        """Losses and gradients of ReLU, the fast path; those of a mask have no rows of untrained positions."""
        weights, term = {n: p.detach() for n, p in self.dictionary.weights().items()}, self.dictionary.position_term
        tau = term.tau if isinstance(term, Mask) else None
        if tau is not None:
            weights["pos_logits"] = weights["pos_logits"][self.first_position :]
        found, grads = loss_and_gradients(
            weights, self.dictionary.centred(x), tau, w, coefficient, self.workspace,
            input_scale=self.dictionary.info.input_scale, weight_l1=self.recipe.weight_l1,
            compute_dtype=self.compute_dtype, count_active=log,
        )  # fmt: skip
        return found, grads, 0.0

    def _differentiated(
        self, x: Tensor, w: Tensor, coefficient: float, log: bool
    ) -> tuple[Losses, Gradients, Tensor | float]:
        """Losses and gradients of any architecture, by autograd."""
        positions = torch.arange(self.first_position, self.first_position + x.shape[1], device=x.device)
        autocast = torch.autocast(x.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16_autocast")
        found, grads, auxiliary, codes = gradients(
            self.dictionary, x, positions, w, coefficient, weight_penalty=self.recipe.weight_l1, autocast=autocast
        )
        self.codes.append(codes)
        return found, grads, auxiliary

    def _log(self, step: int, w: Tensor, found: Losses) -> None:
        if (bad := int(self.first_bad)) >= 0:
            self.failure = (
                f"{self.name}, layer {self.dictionary.info.layer}: the loss is not finite at step {bad}; lower the "
                "learning rate, or check the activations for values that are not finite"
            )
            return
        norms = torch.linalg.vector_norm(self.dictionary.W_dec.detach().float(), dim=-1)
        d_sae = self.dictionary.info.d_sae * (self.shards.size if self.shards.by == "features" else 1)
        values = {
            "loss": self.curves[0, step].item(),
            "mse": found.error.mean().item(),
            self.dictionary.architecture.penalty_name: found.penalty.mean().item(),
            "l0": found.active.mean().item(),
            "zero_fraction": 1 - found.active.mean().item() / d_sae,
            "weight_max": w.max().item(),
            "weight_effective_positions": (w.sum().square() / w.square().sum()).item(),
            "weight_sum_error": abs(w.sum(dtype=torch.float64).item() - w.numel()),
            "decoder_norm_error": float("nan") if self.tied else -self.shards.least(-(norms - 1).abs().max()).item(),
        }
        values |= self.dictionary.position_term.statistics(self.first_position, self.start)
        self.history += [(step, metric, value) for metric, value in values.items()]

    def check_finished(self) -> None:
        """Set `failure` unless all steps were taken and some feature is alive."""
        if self.failure:
            return
        if self.steps_done != self.recipe.steps:
            self.failure = f"{self.name}: {self.steps_done} of {self.recipe.steps} steps taken"
        elif next(value for _, name, value in reversed(self.history) if name == "l0") == 0:
            self.failure = (
                f"{self.name}: every feature is silent at step {self.steps_done - 1}; lower its penalty (l1_coef)"
            )

    # -- state of an unfinished run ------------------------------------------------------------------------------

    def state(self) -> tuple[dict[str, Tensor], dict]:
        """Tensors and JSON values from which the run goes on to the same numbers."""
        tensors = {f"dictionary.{n}": v for n, v in self.dictionary.state_dict().items()}
        for i, p in enumerate(self.learned):
            for key, value in self.optimizer.state.get(p, {}).items():
                tensors[f"optimizer.{i}.{key}"] = torch.as_tensor(value)
        tensors |= {"ema": self.position_weights.average, "late": self.late_weight_sum, "curves": self.curves}
        values = {
            "steps_done": self.steps_done,
            "failure": self.failure,
            "late_weight_steps": self.late_weight_steps,
            "history": self.history,
            "weight_history": self.weight_history,
            "ema_updates": self.position_weights.updates,
        }
        return {k: v.cpu().contiguous() for k, v in tensors.items()}, values

    def load_state(self, tensors: dict[str, Tensor], values: dict) -> None:
        for n, value in self.dictionary.state_dict().items():
            value.copy_(tensors[f"dictionary.{n}"])
        for i, p in enumerate(self.learned):
            prefix = f"optimizer.{i}."
            self.optimizer.state[p] = {
                k.removeprefix(prefix): v.to(p.device) for k, v in tensors.items() if k.startswith(prefix)
            }
        self.position_weights.average = tensors["ema"].to(self.position_weights.average)
        self.position_weights.updates = values["ema_updates"]
        self.late_weight_sum = tensors["late"].to(self.late_weight_sum)
        self.curves = tensors["curves"].to(self.curves)
        self.late_weight_steps, self.steps_done = values["late_weight_steps"], values["steps_done"]
        self.failure = values.get("failure", "")  # states of before there was one
        self.history = [tuple(row) for row in values["history"]]
        self.weight_history = [tuple(row) for row in values["weight_history"]]


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def _lost_updates(learned: Sequence[Tensor], before: Sequence[Tensor]) -> float:
    """Share of a position term's parameters with a gradient that the step left as they were: updates below half a unit
    in the last place, which pure bfloat16 rounds away."""
    had_gradient = torch.cat([(_gradient(p) != 0).flatten() for p in learned])
    lost = had_gradient & torch.cat([(p.detach() == old).flatten() for p, old in zip(learned, before, strict=True)])
    return (lost.sum() / had_gradient.sum().clamp_min(1)).item()
