"""One training run: a dictionary, its optimiser, its position weights and its history."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lens.activations.store import digest
from lens.dictionaries.codes import Codes
from lens.dictionaries.dictionary import Dictionary
from lens.training.gradients import Workspace, applies_to, loss_and_gradients
from lens.training.objective import Losses, losses
from lens.training.optim import ConstrainedAdamW
from lens.training.recipe import Recipe
from lens.training.schedule import PositionWeights
from lens.training.stability import local_variation, spike_rate

WEIGHT_SNAPSHOTS = 20  # of the position weights, spread evenly over log(step)


class TrainingError(RuntimeError):
    """Training cannot start or cannot go on; no dictionary is written."""


class Run:
    """Training state of one (variant, seed).

    `step` does everything that belongs to one optimiser step: temperature (eq. 5), gradients (eqs. 3, 4, 8), the
    constrained step (eq. 7), the architecture's own state and the position weights (eq. 6), in this order.
    """

    def __init__(self, recipe: Recipe, dictionary: Dictionary, workspace: Workspace):
        self.recipe, self.dictionary, self.workspace = recipe, dictionary.train(), workspace
        self.name = f"{dictionary.info.name}-seed{dictionary.info.seed}"
        self.fast = applies_to(dictionary)
        weights = dictionary.weights()
        if recipe.precision == "bf16":  # weights alone: what an architecture counts and averages stays exact
            for p in weights.values():
                p.data = p.data.to(torch.bfloat16)
        self.compute_dtype = torch.float32 if recipe.precision == "fp32" else torch.bfloat16
        self.first_position = 0 if recipe.include_bos else 1
        n_positions = dictionary.info.n_positions - self.first_position
        device = dictionary.b_dec.device
        self.position_weights = PositionWeights(
            n_positions, recipe.ema_beta, in_place=recipe.weight_normalisation == "in_place", device=device
        )
        self.learned = [p for p in weights.values() if p.requires_grad]
        self.optimizer = ConstrainedAdamW(
            [dictionary.W_dec],
            [dictionary.W_enc],
            [p for p in self.learned if p is not dictionary.W_dec and p is not dictionary.W_enc],
            lr=recipe.lr,
            betas=recipe.betas,
            weight_decay=recipe.weight_decay,
        )
        self.start = {n: p.detach().clone() for n, p in dictionary.position_term.named_parameters()}
        self.steps_done = 0
        self.codes: list[Codes] = []
        self.first_bad = torch.tensor(-1, device=device)
        self.curves = torch.full((2, recipe.steps), float("nan"), device=device)  # loss, gradient norm
        self.late_weight_sum = torch.zeros(n_positions, device=device)
        self.late_weight_steps = 0
        self.history: list[tuple[int, str, float]] = []
        self.weight_history: list[tuple[int, list[float]]] = []
        last = max(recipe.steps - 1, 1)
        self.weight_steps = {round(last ** (i / (WEIGHT_SNAPSHOTS - 1))) for i in range(WEIGHT_SNAPSHOTS)} | {0}

    def step(self, x: Tensor, shuffled: Tensor | None, *, log: bool) -> None:
        """One optimiser step on raw windows x [B, T, d_in]; `shuffled` [B, P, d_in] replaces them where asked."""
        recipe, step, term = self.recipe, self.steps_done, self.dictionary.position_term
        term.before_step(step, recipe.steps)
        x = shuffled if recipe.positions == "shuffled" else x[:, self.first_position :]
        w = self._weights_in_use()
        found, auxiliary = self._gradients(x, w, log)
        loss = found.total(w, self.dictionary.architecture.coefficient, recipe.weight_l1) + auxiliary
        self.curves[0, step] = loss / w.numel()
        self.curves[1, step] = torch.stack([p.grad.float().norm() for p in self.learned]).norm()
        learned = [p for p in term.parameters() if p.requires_grad] if log else []
        before = [p.detach().clone() for p in learned]
        self.optimizer.step()
        while self.codes:
            self.dictionary.architecture.after_step(self.codes.pop(0))

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

    def _weights_in_use(self) -> Tensor:
        if self.recipe.position_weights == "uniform":
            return torch.ones_like(self.position_weights.average)
        return self.position_weights.value

    def _gradients(self, x: Tensor, w: Tensor, log: bool) -> tuple[Losses, Tensor | float]:
        """Set `.grad` of every weight, over micro-batches where asked; the batch's losses and auxiliary loss."""
        size = self.recipe.micro_batch_windows or len(x)
        one = self._written_out if self.fast else self._differentiated
        sums, grads, auxiliary = None, None, 0.0
        for part in x.split(size):
            found, new, extra = one(part, w, log)
            share = len(part) / len(x)
            auxiliary = auxiliary + share * extra
            if share == 1:
                sums, grads = found, new
            elif grads is None:
                sums, grads = Losses(*(share * v for v in found)), {n: g.float() * share for n, g in new.items()}
            else:
                sums = Losses(*(s + share * v for s, v in zip(sums, found, strict=True)))
                for n, g in new.items():
                    grads[n] += share * g
        for name, parameter in self.dictionary.weights().items():
            grad = grads[name].to(parameter.dtype)
            if len(grad) < len(parameter):  # positions that are not trained on get no gradient
                parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                parameter.grad[self.first_position :] = grad
            else:
                parameter.grad = grad
        return sums, auxiliary

    def _written_out(self, x: Tensor, w: Tensor, log: bool) -> tuple[Losses, dict[str, Tensor], float]:
        """Losses and gradients of ReLU, the fast path; those of a position term have no rows of untrained positions."""
        weights = {n: p.detach() for n, p in self.dictionary.weights().items()}
        masked = "pos_logits" in weights
        if masked:
            weights["pos_logits"] = weights["pos_logits"][self.first_position :]
        found, grads = loss_and_gradients(
            weights,
            x,
            self.dictionary.position_term.tau if masked else None,
            w,
            self.dictionary.architecture.coefficient,
            self.workspace,
            input_scale=self.dictionary.info.input_scale,
            weight_l1=self.recipe.weight_l1,
            compute_dtype=self.compute_dtype,
            count_active=log,
        )
        return found, grads, 0.0

    def _differentiated(self, x: Tensor, w: Tensor, log: bool) -> tuple[Losses, dict[str, Tensor], Tensor | float]:
        """Losses and gradients of any architecture, by autograd."""
        dictionary = self.dictionary
        weights = {n: p for n, p in dictionary.weights().items() if p.requires_grad}
        positions = torch.arange(self.first_position, dictionary.info.n_positions, device=x.device)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16_autocast"):
            found, auxiliary, codes = losses(dictionary, x, positions)
        total = found.total(w, dictionary.architecture.coefficient, self.recipe.weight_l1)
        total = total if auxiliary is None else total + auxiliary
        grads = dict(zip(weights, torch.autograd.grad(total, list(weights.values()), allow_unused=True), strict=True))
        self.codes.append(Codes(codes.values.detach(), codes.index, codes.d_sae))
        grads = {n: torch.zeros_like(p) if (g := grads.get(n)) is None else g for n, p in dictionary.weights().items()}
        return Losses(*(v.detach() for v in found)), grads, 0.0 if auxiliary is None else auxiliary.detach()

    def _log(self, step: int, w: Tensor, found: Losses) -> None:
        if (bad := int(self.first_bad)) >= 0:
            raise TrainingError(
                f"{self.name}, layer {self.dictionary.info.layer}: the loss is not finite at step {bad}; lower the "
                "learning rate, or check the activations for values that are not finite"
            )
        norms = torch.linalg.vector_norm(self.dictionary.W_dec.detach().float(), dim=-1)
        values = {
            "loss": self.curves[0, step].item(),
            "mse": found.error.mean().item(),
            self.dictionary.architecture.penalty_name: found.penalty.mean().item(),
            "l0": found.active.mean().item(),
            "zero_fraction": 1 - found.active.mean().item() / self.dictionary.info.d_sae,
            "weight_max": w.max().item(),
            "weight_effective_positions": (w.sum().square() / w.square().sum()).item(),
            "weight_sum_error": abs(w.sum(dtype=torch.float64).item() - w.numel()),
            "decoder_norm_error": (norms - 1).abs().max().item(),
        }
        values |= self.dictionary.position_term.statistics(self.first_position, self.start)
        self.history += [(step, metric, value) for metric, value in values.items()]

    def check_finished(self) -> None:
        """Raise TrainingError unless all steps were taken and some feature is alive."""
        if self.steps_done != self.recipe.steps:
            raise TrainingError(f"{self.name}: {self.steps_done} of {self.recipe.steps} steps taken")
        if self._last("l0") == 0:
            raise TrainingError(f"{self.name}: every feature is silent at step {self.steps_done - 1}; lower l1_coef")

    def _last(self, metric: str) -> float:
        return next(value for _, name, value in reversed(self.history) if name == metric)

    def _labelled(self, frame: pd.DataFrame) -> pd.DataFrame:
        frame.insert(0, "variant", self.dictionary.info.name)
        frame.insert(1, "seed", self.dictionary.info.seed)
        return frame

    def table(self, name: str) -> pd.DataFrame:
        """`history`, `position_weights`, `late_weights` or `summary`, labelled with variant and seed."""
        tables = {
            "history": self._history,
            "position_weights": self._position_weights,
            "late_weights": self._late_weights,
            "summary": self._summary,
        }
        return self._labelled(tables[name]())

    def _history(self) -> pd.DataFrame:
        return pd.DataFrame(self.history, columns=["step", "metric", "value"])

    def _position_weights(self) -> pd.DataFrame:
        rows = [
            (step, self.first_position + p, value)
            for step, values in self.weight_history
            for p, value in enumerate(values)
        ]
        return pd.DataFrame(rows, columns=["step", "position", "value"])

    def _late_weights(self) -> pd.DataFrame:
        """Mean of w_t over the last tenth of the steps; empty for uniform weights."""
        late = (self.late_weight_sum / max(self.late_weight_steps, 1)).tolist()
        rows = [(self.first_position + p, value) for p, value in enumerate(late)]
        if self.recipe.position_weights == "uniform":
            rows = []
        return pd.DataFrame(rows, columns=["position", "value"])

    def _summary(self) -> pd.DataFrame:
        """Invariants over all logged steps (eqs. 5-7), how smooth training was, and the masks at the end."""
        history = pd.DataFrame(self.history, columns=["step", "metric", "value"]).pivot(
            index="step", columns="metric", values="value"
        )
        second_half = history[history.index >= self.recipe.steps // 2]
        loss, gradient = self.curves.double().cpu().numpy()
        values = {
            "steps": float(self.steps_done),
            "max_decoder_norm_error": history["decoder_norm_error"].max(),
            "weight_sum_error": history["weight_sum_error"].max(),
            "weight_max": history["weight_max"].max(),
            "weight_effective_positions": second_half["weight_effective_positions"].mean(),
            "late_loss": loss[self.recipe.steps * 9 // 10 :].mean(),
            "loss_spike_rate": spike_rate(loss),
            "gradient_norm_cv": local_variation(gradient),
        }
        values |= self.dictionary.position_term.summary(history, self.recipe.steps)
        if "lost_update_share" in history:
            values["lost_update_share"] = second_half["lost_update_share"].mean()
        return pd.DataFrame(values.items(), columns=["metric", "value"]).dropna()  # nan: too short to tell

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
        self.history = [tuple(row) for row in values["history"]]
        self.weight_history = [tuple(row) for row in values["weight_history"]]


def _lost_updates(learned: list[Tensor], before: list[Tensor]) -> float:
    """Share of a position term's parameters with a gradient that the step left as they were: updates below half a unit
    in the last place, which pure bfloat16 rounds away."""
    had_gradient = torch.cat([(p.grad != 0).flatten() for p in learned])
    lost = had_gradient & torch.cat([(p.detach() == old).flatten() for p, old in zip(learned, before, strict=True)])
    return (lost.sum() / had_gradient.sum().clamp_min(1)).item()


def snapshot(runs: list[Run], folder: Path, step: int) -> None:
    """Save the state of all runs after `step` steps; the previous state stays until the new one is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".step-{step}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    values = {}
    for run in runs:
        path = temporary / f"{run.name}.safetensors"
        tensors, values[run.name] = run.state()
        save_file(tensors, path)
        values[run.name]["sha256"] = digest(path)
    (temporary / "runs.json").write_text(json.dumps(values))
    older = list(folder.glob("step-*"))
    os.rename(temporary, folder / f"step-{step}")
    for path in older:
        shutil.rmtree(path)


def restore(runs: list[Run], folder: Path) -> int:
    """Load the newest complete state into `runs`; the number of steps already taken, 0 when there is none.

    Raises:
        TrainingError: a file of the state is truncated or altered.
    """
    states = sorted(folder.glob("step-*"), key=lambda path: int(path.name.removeprefix("step-")))
    if not states:
        return 0
    values = json.loads((states[-1] / "runs.json").read_text())
    for run in runs:
        path = states[-1] / f"{run.name}.safetensors"
        if (found := digest(path)) != (expected := values[run.name]["sha256"]):
            raise TrainingError(
                f"{path} is truncated or altered: sha256 {found}, recorded {expected}; "
                f"delete {folder} to train from the start"
            )
        run.load_state(load_file(path), values[run.name])
    return runs[0].steps_done
