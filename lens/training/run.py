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
from lens.dictionaries.model import SAE, position_mask
from lens.training.optim import ConstrainedAdamW
from lens.training.presets import TrainConfig
from lens.training.schedule import PositionWeights, temperature
from lens.training.stability import local_variation, spike_rate
from lens.training.step import Losses, Workspace, loss_and_gradients

WEIGHT_SNAPSHOTS = 20  # of the position weights, spread evenly over log(step)
SHARP = 0.05  # a mask value outside (SHARP, 1 - SHARP) counts as sharp


class TrainingError(RuntimeError):
    """Training cannot start or cannot go on; no dictionary is written."""


class Run:
    """Training state of one (variant, seed).

    `step` does everything that belongs to one optimiser step: temperature (eq. 5), gradients (eqs. 3, 4, 8), the
    constrained step (eq. 7) and the position weights (eq. 6), in this order.
    """

    def __init__(self, config: TrainConfig, sae: SAE, workspace: Workspace):
        self.config, self.sae, self.workspace = config, sae, workspace
        self.name = f"{sae.config.variant}-seed{sae.config.seed}"
        if config.precision == "bf16":
            sae.to(torch.bfloat16)
        self.compute_dtype = torch.float32 if config.precision == "fp32" else torch.bfloat16
        self.first_position = 0 if config.include_bos else 1
        n_positions = sae.config.n_positions - self.first_position
        self.position_weights = PositionWeights(
            n_positions, config.ema_beta, in_place=config.weight_normalisation == "in_place", device=sae.b_dec.device
        )
        self.learned = [p for n, p in sae.named_parameters() if n != "pos_logits" or config.masks == "learned"]
        self.optimizer = ConstrainedAdamW(
            [sae.W_dec],
            [sae.W_enc],
            [p for p in self.learned if p is not sae.W_dec and p is not sae.W_enc],
            lr=config.lr,
            betas=config.betas,
            weight_decay=config.weight_decay,
        )
        self.initial_logits = sae.pos_logits.detach().clone() if sae.config.masked else None
        self.steps_done = 0
        self.first_bad = torch.tensor(-1, device=sae.b_dec.device)
        self.curves = torch.full((2, config.steps), float("nan"), device=sae.b_dec.device)  # loss, gradient norm
        self.late_weight_sum = torch.zeros(n_positions, device=sae.b_dec.device)
        self.late_weight_steps = 0
        self.history: list[tuple[int, str, float]] = []
        self.weight_history: list[tuple[int, list[float]]] = []
        last = max(config.steps - 1, 1)
        self.weight_steps = {round(last ** (i / (WEIGHT_SNAPSHOTS - 1))) for i in range(WEIGHT_SNAPSHOTS)} | {0}

    def step(self, x: Tensor, shuffled: Tensor | None, *, log: bool) -> None:
        """One optimiser step on raw windows x [B, T, d_in]; `shuffled` [B, P, d_in] replaces them where asked."""
        config, step = self.config, self.steps_done
        tau = temperature(step, config.steps, config.tau_start, config.tau_end) if self.sae.config.masked else None
        x = shuffled if config.positions == "shuffled" else x[:, self.first_position :]
        w = self._weights_in_use()
        losses = self._gradients(x, tau, w, log)
        self.curves[0, step] = losses.total(w, config.l1_coef, config.weight_l1) / w.numel()
        self.curves[1, step] = torch.stack([p.grad.float().norm() for p in self.learned]).norm()
        logits_before = self.sae.pos_logits.detach().clone() if log and config.masks == "learned" else None
        self.optimizer.step()

        if step in self.weight_steps and config.position_weights != "uniform":
            self.weight_history.append((step, w.tolist()))
        if step >= config.steps * 9 // 10:
            self.late_weight_sum += w
            self.late_weight_steps += 1
        if config.position_weights != "uniform":
            self.position_weights.update(losses.error if config.position_weights == "squared" else losses.error.sqrt())
        self.steps_done += 1
        bad = ~torch.isfinite(losses.error.sum()) & (self.first_bad < 0)
        self.first_bad = torch.where(bad, step, self.first_bad)  # kept on the device: no wait at every step
        if log:
            self._log(step, tau, w, losses)
            if logits_before is not None:
                self.history.append((step, "lost_update_share", self._lost_updates(logits_before)))

    def _weights_in_use(self) -> Tensor:
        if self.config.position_weights == "uniform":
            return torch.ones_like(self.position_weights.average)
        return self.position_weights.value

    def _gradients(self, x: Tensor, tau: float | None, w: Tensor, log: bool) -> Losses:
        """Set `.grad` of every weight, over micro-batches where asked, and return the batch's losses."""
        first = self.first_position
        weights = {n: p.detach() for n, p in self.sae.named_parameters()}
        if tau is not None:
            weights["pos_logits"] = weights["pos_logits"][first:]
        size = self.config.micro_batch_windows or len(x)
        sums, grads = None, None
        for part in x.split(size):
            losses, new = loss_and_gradients(
                weights,
                part,
                tau,
                w,
                self.config.l1_coef,
                self.workspace,
                input_scale=self.sae.config.input_scale,
                weight_l1=self.config.weight_l1,
                compute_dtype=self.compute_dtype,
                count_active=log,
            )
            share = len(part) / len(x)
            if share == 1:
                sums, grads = losses, new
            elif grads is None:
                sums, grads = Losses(*(share * v for v in losses)), {n: g.float() * share for n, g in new.items()}
            else:
                sums = Losses(*(s + share * v for s, v in zip(sums, losses, strict=True)))
                for n, g in new.items():
                    grads[n] += share * g
        for name, parameter in self.sae.named_parameters():
            grad = grads[name].to(parameter.dtype)
            if name == "pos_logits" and first:  # positions that are not trained on get no gradient
                parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                parameter.grad[first:] = grad
            else:
                parameter.grad = grad
        return sums

    def _log(self, step: int, tau: float | None, w: Tensor, losses: Losses) -> None:
        if (bad := int(self.first_bad)) >= 0:
            raise TrainingError(
                f"{self.name}, layer {self.sae.config.layer}: the loss is not finite at step {bad}; lower the "
                "learning rate, or check the activations for values that are not finite"
            )
        norms = torch.linalg.vector_norm(self.sae.W_dec.detach().float(), dim=-1)
        values = {
            "loss": self.curves[0, step].item(),
            "mse": losses.error.mean().item(),
            "l1": losses.l1.mean().item(),
            "l0": losses.active.mean().item(),
            "zero_fraction": 1 - losses.active.mean().item() / self.sae.config.d_sae,
            "weight_max": w.max().item(),
            "weight_effective_positions": (w.sum().square() / w.square().sum()).item(),
            "weight_sum_error": abs(w.sum(dtype=torch.float64).item() - w.numel()),
            "decoder_norm_error": (norms - 1).abs().max().item(),
        }
        if tau is not None:
            values |= {"tau": tau, **self._mask_statistics(tau)}
        self.history += [(step, metric, value) for metric, value in values.items()]

    def _lost_updates(self, before: Tensor) -> float:
        """Share of the mask logits with a gradient that the step left as they were: updates below half a unit in the
        last place, which pure bfloat16 rounds away."""
        had_gradient = self.sae.pos_logits.grad != 0
        lost = had_gradient & (self.sae.pos_logits.detach() == before)
        return (lost.sum() / had_gradient.sum().clamp_min(1)).item()

    def _mask_statistics(self, tau: float) -> dict[str, float]:
        """Drift of the logits from their start, relative to it, and shares of open and of sharp mask values."""
        now = self.sae.pos_logits.detach()[self.first_position :].float()
        start = self.initial_logits[self.first_position :].float()
        m = position_mask(now, tau)
        return {
            "mask_drift": ((now - start).norm() / start.norm()).item(),  # 1 = as far as the start is from zero
            "mask_open_share": (m > 0.5).float().mean().item(),
            "mask_sharp_share": ((m < SHARP) | (m > 1 - SHARP)).float().mean().item(),
        }

    def check_finished(self) -> None:
        """Raise TrainingError unless all steps were taken and some feature is alive."""
        if self.steps_done != self.config.steps:
            raise TrainingError(f"{self.name}: {self.steps_done} of {self.config.steps} steps taken")
        if self._last("l0") == 0:
            raise TrainingError(f"{self.name}: every feature is silent at step {self.steps_done - 1}; lower l1_coef")

    def _last(self, metric: str) -> float:
        return next(value for _, name, value in reversed(self.history) if name == metric)

    def _labelled(self, frame: pd.DataFrame) -> pd.DataFrame:
        frame.insert(0, "variant", self.sae.config.variant)
        frame.insert(1, "seed", self.sae.config.seed)
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
        if self.config.position_weights == "uniform":
            rows = []
        return pd.DataFrame(rows, columns=["position", "value"])

    def _summary(self) -> pd.DataFrame:
        """Invariants over all logged steps (eqs. 5-7), how smooth training was, and the masks at the end."""
        history = pd.DataFrame(self.history, columns=["step", "metric", "value"]).pivot(
            index="step", columns="metric", values="value"
        )
        second_half = history[history.index >= self.config.steps // 2]
        loss, gradient = self.curves.double().cpu().numpy()
        values = {
            "steps": float(self.steps_done),
            "max_decoder_norm_error": history["decoder_norm_error"].max(),
            "weight_sum_error": history["weight_sum_error"].max(),
            "weight_max": history["weight_max"].max(),
            "weight_effective_positions": second_half["weight_effective_positions"].mean(),
            "late_loss": loss[self.config.steps * 9 // 10 :].mean(),
            "loss_spike_rate": spike_rate(loss),
            "gradient_norm_cv": local_variation(gradient),
        }
        if "tau" in history:
            taus = history["tau"]
            kappa = torch.tensor(self.config.tau_start / self.config.tau_end).log().item() / max(
                self.config.steps - 1, 1
            )
            expected = torch.log(torch.tensor(self.config.tau_start)) - kappa * torch.tensor(taus.index.to_numpy())
            values |= {
                "tau_first": taus.iloc[0],
                "tau_last": taus.iloc[-1],
                "tau_loglinearity_error": (torch.tensor(taus.to_numpy()).log() - expected).abs().max().item(),
                "mask_drift": history["mask_drift"].iloc[-1],
                "mask_open_share": history["mask_open_share"].iloc[-1],
                "sharp_share": history["mask_sharp_share"].iloc[-1],
            }
        if "lost_update_share" in history:
            values["lost_update_share"] = second_half["lost_update_share"].mean()
        return pd.DataFrame(values.items(), columns=["metric", "value"]).dropna()  # nan: too short to tell

    # -- state of an unfinished run ------------------------------------------------------------------------------

    def state(self) -> tuple[dict[str, Tensor], dict]:
        """Tensors and JSON values from which the run goes on to the same numbers."""
        tensors = {f"sae.{n}": p.detach() for n, p in self.sae.named_parameters()}
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
        for n, p in self.sae.named_parameters():
            p.data.copy_(tensors[f"sae.{n}"])
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
