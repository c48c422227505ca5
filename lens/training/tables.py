"""What a training run leaves behind as tables, labelled with variant and seed."""

from __future__ import annotations

import pandas as pd

from lens.training.run import Run
from lens.training.stability import local_variation, spike_rate


def tables(run: Run) -> dict[str, pd.DataFrame]:
    """`history`, `position_weights`, `late_weights` and `summary` of a run that has ended."""
    history = pd.DataFrame(run.history, columns=["step", "metric", "value"])
    found = {
        "history": history,
        "position_weights": _position_weights(run),
        "late_weights": _late_weights(run),
        "summary": _summary(run, history.pivot(index="step", columns="metric", values="value")),
    }
    for table in found.values():
        table.insert(0, "variant", run.dictionary.info.name)
        table.insert(1, "seed", run.dictionary.info.seed)
    return found


def _position_weights(run: Run) -> pd.DataFrame:
    rows = [
        (step, run.first_position + p, value) for step, values in run.weight_history for p, value in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=["step", "position", "value"])


def _late_weights(run: Run) -> pd.DataFrame:
    """Mean of w_t over the last tenth of the steps; empty for uniform weights."""
    late = run.late_weight_sum / max(run.late_weight_steps, 1)
    uniform = run.recipe.position_weights == "uniform"
    rows = [] if uniform else [(run.first_position + p, value) for p, value in enumerate(late.tolist())]
    return pd.DataFrame(rows, columns=["position", "value"])


def _summary(run: Run, history: pd.DataFrame) -> pd.DataFrame:
    """Invariants over all logged steps (eqs. 5-7), how smooth training was, and the position term at the end."""
    steps = run.recipe.steps
    second_half = history[history.index >= steps // 2]
    loss, gradient = run.curves.double().cpu().numpy()
    values = {
        "steps": float(run.steps_done),
        "max_decoder_norm_error": history["decoder_norm_error"].max(),
        "weight_sum_error": history["weight_sum_error"].max(),
        "weight_max": history["weight_max"].max(),
        "weight_effective_positions": second_half["weight_effective_positions"].mean(),
        "late_loss": loss[steps * 9 // 10 :].mean(),
        "loss_spike_rate": spike_rate(loss),
        "gradient_norm_cv": local_variation(gradient),
    }
    values |= run.dictionary.position_term.summary(history, steps)
    if "lost_update_share" in history:
        values["lost_update_share"] = second_half["lost_update_share"].mean()
    return pd.DataFrame(values.items(), columns=["metric", "value"]).dropna()  # nan: too short to tell
