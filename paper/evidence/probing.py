"""C14 to C16: sparse probing of dictionaries, of the language model, and of a dictionary that was never trained."""

from __future__ import annotations

import numpy as np

from paper.evidence.compare import beside_controls, relative_change
from paper.evidence.measured import BASELINE, INPUT_SEED, METHOD, NULL, Measured, Missing, complete
from paper.evidence.readings import Evidence, Measures, Reading, attempt, exact, measure, over_seeds

KS = (1, 2, 5, 10, 20, 50)  # the paper's list
LANGUAGE_MODEL, ZERO, RANDOM = "language_model", "zero_dictionary", "random_dictionary"
NAMES = {BASELINE: "the standard dictionary", NULL: "the control on shuffled positions"}
METRICS = {"fvu": "FVU", "l0": "L0", "delta_ce": "added cross-entropy"}


def baseline(data: Measured) -> Evidence:
    """C14: probes on a dictionary of zeros, and on trained ones."""
    zero = _accuracies(data, ZERO).ravel()
    farthest = exact("zero dictionary", zero[np.abs(zero - 0.5).argmax()], "the accuracy farthest from 0.5")
    trained = _over_seeds(data, "trained dictionary", "standard")
    by_k = (
        attempt(name, lambda n=name, k=k: _over_seeds(data, n, "standard", k))
        for k in KS
        for name in [f"trained dictionary, top-{k}"]
    )
    return Evidence(
        (farthest, trained, *by_k),
        context=(attempt("random dictionary", lambda: _fixed(data, "random dictionary", RANDOM)),),
        measures={
            "zero_dictionary_accuracy": measure(farthest),
            "trained_dictionary_accuracy": measure(trained),
            **_gain_of_training(data),
        },
    )


def _gain_of_training(data: Measured) -> Measures:
    """How much better a trained dictionary probes than a random one: what these probes can see at all."""
    gain = _accuracies(data, BASELINE).mean(axis=(0, 2, 3)) - _accuracies(data, RANDOM).mean()
    return {"gain_of_training": measure(over_seeds("", gain, "plain"))}


def language_model(data: Measured) -> Evidence:
    """C15: probes on the residual stream itself; the paper's numbers are of Gemma-2-2B on other data sets."""
    return Evidence(
        tuple(attempt(f"top-{k}", lambda k=k: _fixed(data, f"top-{k}", LANGUAGE_MODEL, k)) for k in KS),
        untestable="the paper's values are of layer 5 of Gemma-2-2B on eight data sets that need the model hub; "
        "the readings are this study's model on its own held-out text",
    )


def method_against_standard(data: Measured) -> Evidence:
    """C16: probing accuracy of the method minus that of the standard dictionary of the same seed.

    Beside it, how the method differs from that and from the control without positions in error, sparsity and loss.
    """

    def values_S(variant: str, k: int | None = None) -> np.ndarray:
        difference = _accuracies(data, variant, k) - _accuracies(data, BASELINE, k)  # [L, S, tasks, ks]
        return difference.mean(axis=(0, 2, 3))

    def change(metric: str, base: str) -> Reading:
        name = f"{METRICS[metric]} of the method over that of {NAMES[base]} - 1"
        return attempt(name, lambda: relative_change(name, data.value(METHOD, metric), data.value(base, metric)))

    return beside_controls(
        "probing accuracy",
        values_S,
        *(attempt(f"top-{k}", lambda k=k: over_seeds(f"top-{k}", values_S(METHOD, k), "plain")) for k in KS),
        controls=(NULL,),
        context=tuple(change(metric, base) for base in NAMES for metric in METRICS),
        measures=lambda v: _gain_of_training(data),
    )


def _accuracies(data: Measured, variant: str, k: int | None = None) -> np.ndarray:
    """Accuracies `[L, S, tasks, ks]`, every task and k (or one k) of every run.

    Raises:
        Missing: the study was not probed, or a run lacks a task or a k that others have.
    """
    table = data.table("probing")
    table = table[table["k"] > 0]  # 0 stands for the probe on all coordinates
    ks = sorted(table["k"].unique()) if k is None else [k]
    rows = table[(table["variant"] == variant) & table["k"].isin(ks)]
    if rows.empty:
        raise Missing(f"no probes of {variant!r}" + (f" with k = {k}" if k else ""))
    keys = {
        "layer": list(data.layers),
        "seed": [INPUT_SEED] if variant in (LANGUAGE_MODEL, ZERO, RANDOM) else list(data.seeds),
        "task": sorted(table["task"].unique()),
        "k": ks,
    }
    return complete(rows, keys, f"probe of {variant!r}")


def _over_seeds(data: Measured, name: str, variant: str, k: int | None = None) -> Reading:
    return over_seeds(name, _accuracies(data, variant, k).mean(axis=(0, 2, 3)), "plain")


def _fixed(data: Measured, name: str, variant: str, k: int | None = None) -> Reading:
    return exact(name, float(_accuracies(data, variant, k).mean()), "one representation, nothing trained")
