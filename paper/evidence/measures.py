"""The measurement of every claim, each by one function from a study's tables to its readings."""

from __future__ import annotations

from collections.abc import Callable

from paper.evidence import ablations, cost, features, position, practice, probing, schedules, spans
from paper.evidence.difficulty import challenging_positions, other_error, over_emphasis, own_error
from paper.evidence.early_late import early_advantage, weights_and_early_advantage
from paper.evidence.equations import decoder_norms, temperatures, weight_sums
from paper.evidence.measured import Measured
from paper.evidence.readings import Evidence
from paper.evidence.sparsity import sparsity, sparsity_range, usage

MEASURES: dict[str, Callable[[Measured], Evidence]] = {
    "C01": early_advantage,
    "C02": weights_and_early_advantage,
    "C03": sparsity,
    "C04": sparsity_range,
    "C05": spans.shallow,
    "C06": spans.middle,
    "C07": spans.deep,
    "C08": spans.trend,
    "C09a": own_error,
    "C09b": other_error,
    "C10": features.sharpening,
    "C11": ablations.annealing,
    "C12": ablations.static_masks,
    "C13": ablations.uniform_weights,
    "C14": probing.baseline,
    "C15": probing.language_model,
    "C16": probing.method_against_standard,
    "C17": features.groups,
    "C18": features.consistency,
    "C19": features.positional,
    "C20": features.masks,
    "C21": cost.linear_in_length,
    "C22": cost.overhead,
    "C23": schedules.tuning,
    "C24": over_emphasis,
    "C25": schedules.quality,
    "C26": decoder_norms,
    "C27": temperatures,
    "C28": weight_sums,
    "C29": usage,
    "C30": cost.cited_efficiency,
    "C31": practice.t_tests,
    "C32": practice.package,
    "C33": position.decodable,
    "C34": features.interpretability,
    "C35": ablations.bfloat16,
    "C36": ablations.width,
    "C37": challenging_positions,
}
"""By the ids of `claims.yaml`."""
