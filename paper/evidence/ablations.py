"""C11 to C13, C35, C36: what each part of the method does, from dictionaries trained without it on the same batches."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.stats import binomtest, t

from paper.evidence.compare import beside_controls, largest, relative_change, weight_variation
from paper.evidence.measured import BASELINE, METHOD, NULL, Measured, Missing
from paper.evidence.readings import Evidence, Measures, Reading, attempt, exact, measure, over_seeds
from paper.verdicts import ALPHA, Measure

FIXED = {"temperature 0.1": "fixed_tau_0.1", "temperature 1": "fixed_tau_1", "temperature 5": "fixed_tau_5"}
WINDOWS, ALL_ONES = "static_windows", "all_ones_masks"
STATIC = {
    "windows of T/4 that do not wrap": WINDOWS,
    "windows of T/4 that wrap": "static_windows_wrapped",
    "frozen initial masks": "frozen_masks",
    "all-ones masks": ALL_ONES,
}
UNLEARNED = (ALL_ONES, BASELINE, NULL)  # without learned masks, with nothing taken away, without position to learn


def annealing(data: Measured) -> Evidence:
    """C11: loss spikes, jitter of the gradient and held-out FVU at fixed temperatures, against the annealed runs.

    A run that diverges ends the study with an error, so none that is counted here did. Any of the temperatures is
    enough for the claim, so the largest ratio is what its rule reads, with intervals that hold for all of them together
    (Bonferroni).
    """
    data = data.ablated()
    found = {name: variant for name, variant in FIXED.items() if data.has(variant, "fvu")}
    if not found:
        raise Missing(f"no run with a fixed temperature: add {', '.join(FIXED.values())} to the ablations")
    spikes = {name: attempt(name, lambda n=name, v=v: _spikes(data, n, v)) for name, v in FIXED.items()}
    fvu = [_change(data, f"FVU, {name}", v, "fvu") for name, v in found.items()]
    growth = largest([_jointly(spikes[name]) for name in found])
    runs = len(found) * len(data.seeds)
    high = binomtest(0, runs).proportion_ci().high  # Clopper and Pearson
    diverged = f"0 of {runs}; a share up to {high:.2f} is in the exact 95 % interval"
    return Evidence(
        (*spikes.values(), *fvu),
        context=(
            *_changes(
                data, {f"variation of the gradient norm, {name}": v for name, v in found.items()}, "gradient_norm_cv"
            ),
            exact("diverged runs", 0.0, diverged),
        ),
        measures={
            "spike_rate_ratio_or_divergence": growth._replace(**{k: 1 + v for k, v in growth._asdict().items()}),
            "fvu_difference": largest([_jointly(r) for r in fvu]),
        },
        null=0.0,
    )


def _jointly(reading: Reading) -> Measure:
    """A reading with the interval of level 1 - 0.05 / 3: 95 % for the three temperatures together.

    Raises:
        Missing: the reading is empty.
    """
    if (found := reading.interval) is None or not found.se > 0:
        return measure(reading)
    half = found.se * t.ppf(1 - ALPHA / len(FIXED) / 2, found.df)
    wider = found._replace(low=found.estimate - half, high=found.estimate + half)
    return measure(dataclasses.replace(reading, interval=wider))


def _spikes(data: Measured, name: str, variant: str) -> Reading:
    """Ratio of spike rates - 1; half a spike is added to both, so that runs without spikes have a ratio."""
    half = 0.5 / data.value(METHOD, "steps")
    return relative_change(name, *(data.value(v, "loss_spike_rate") + half for v in (variant, METHOD)))


def _change(data: Measured, name: str, variant: str, metric: str) -> Reading:
    """A metric of a variant relative to the method's."""
    return relative_change(name, data.value(variant, metric), data.value(METHOD, metric))


def _changes(data: Measured, named: dict[str, str], metric: str) -> tuple[Reading, ...]:
    """Name of a reading -> variant: the change of each, empty where it is not there."""
    return tuple(attempt(name, lambda n=name, v=v: _change(data, n, v, metric)) for name, v in named.items())


def static_masks(data: Measured) -> Evidence:
    """C12: explained variance lost with masks that are not learned; the windows of the paper's companion code decide.

    Windows take features away. Where they lose as much against masks of ones, against no masks, or against masks that
    had no position to learn, the loss is not for want of learning where to open: these are the controls, and what the
    rule reads of them is the loss against them.
    """
    data = data.ablated()
    if not data.has(WINDOWS, "fvu"):
        raise Missing(f"the static masks of the companion code are not in this study: add {WINDOWS} to the ablations")

    def ev(variant: str) -> np.ndarray:
        return 1 - data.value(variant, "fvu")

    def loss(name: str, variant: str, base: str = METHOD) -> Reading:
        """1 - EV / EV of `base`; not a log ratio, as a bad enough mask explains less than nothing."""
        if not (ev(base) > 0).all():
            raise Missing(f"the explained variance of {base} is not positive, so none can be lost")
        return over_seeds(name, (1 - ev(variant) / ev(base)).mean(axis=0), "plain")

    def measures(base: str) -> Measures:
        return {"ev_loss": measure(loss(base, WINDOWS, base)), "ev_loss_beyond_all_ones": measure(gap)}

    first, *others = STATIC
    gap = over_seeds("loss beyond all-ones masks", ((ev(ALL_ONES) - ev(WINDOWS)) / ev(METHOD)).mean(axis=0), "plain")
    return beside_controls(
        first,
        lambda v: ev(v).mean(axis=0),
        *(attempt(name, lambda n=name: loss(n, STATIC[n])) for name in others),
        gap,
        controls=UNLEARNED,
        read=lambda name, base: loss(name, WINDOWS, base),
        control=f"{first}, against {{}}",
        context=_changes(data, {f"squared error, {name}": v for name, v in STATIC.items()}, "mse"),
        measures=measures,
        null=0.0,
    )


def uniform_weights(data: Measured) -> Evidence:
    """C13: mean held-out error, and the training objective itself, with uniform weights against adaptive ones."""
    data, uniform = data.ablated(), "uniform_weights"
    on_error = {"mean error, weights on the error alone against on both terms": "recon_only_weights"}
    return Evidence(
        (_change(data, "mean error", uniform, "mse"), *_changes(data, {"weighted loss": uniform}, "late_loss")),
        context=(*_changes(data, on_error, "mse"), *_changes(data, {"L0": uniform}, "l0")),
        measures={"weight_variation": weight_variation(data)},
    )


def bfloat16(data: Measured) -> Evidence:
    """C35: held-out FVU and lost updates of mask logits with every parameter in bfloat16."""
    data, variant = data.ablated(), "bf16_parameters"

    def lost(name: str, of: str) -> Reading:
        return over_seeds(name, data.value(of, "lost_update_share").mean(axis=0), "plain")

    rise, lost_share = _change(data, "FVU", variant, "fvu"), lost("lost logit updates", variant)
    in_float32 = "lost logit updates, float32 parameters"
    return Evidence(
        (rise, lost_share),
        context=(
            attempt(in_float32, lambda: lost(in_float32, METHOD)),
            *_changes(data, {"drift of the masks": variant}, "mask_drift"),
        ),
        measures={"fvu_rise": measure(rise), "lost_update_share": measure(lost_share)},
        null=0.0,
    )


def width(data: Measured) -> Evidence:
    """C36: how much FVU falls from a dictionary as wide as the model to one eight times as wide, at equal L0.

    The wide dictionary is trained at two L1 coefficients; its log FVU is taken at the narrow one's L0, on the line
    through both in log L0.
    """
    data = data.ablated()
    if not data.has("wide_8", "fvu") or not data.has("wide_8_sparser", "fvu"):
        raise Missing("no wider dictionaries in this study: add wide_8 and wide_8_sparser to the ablations")
    four = "FVU, four times as wide"
    return Evidence(
        (_fall(data, "FVU", "wide_8"), attempt(four, lambda: _fall(data, four, "wide_4"))),
        null=0.0,
    )


def _fall(data: Measured, name: str, wide: str) -> Reading:
    variants = (METHOD, wide, f"{wide}_sparser")
    fvu, a, b = (np.log(data.value(v, "fvu")) for v in variants)
    l0, l0_a, l0_b = (np.log(data.value(v, "l0")) for v in variants)
    if (l0_a == l0_b).any():
        raise Missing(f"{name}: both wide dictionaries have the same L0, so there is no line to the narrow one's")
    at_equal_l0 = a + (b - a) / (l0_b - l0_a) * (l0 - l0_a)
    narrow, *wider = (float(np.exp(x.mean())) for x in (l0, l0_a, l0_b))
    detail = f"L0 {narrow:.3g}, of the wide ones {wider[0]:.3g} and {wider[1]:.3g}"
    return over_seeds(name, (at_equal_l0 - fvu).mean(axis=0), "reduction", detail)
