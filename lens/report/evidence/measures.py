"""The claims that are measured so far, each by one function from a study's tables to its readings."""

from __future__ import annotations

from collections.abc import Callable

from lens.report.evidence.difficulty import other_error, own_error
from lens.report.evidence.early_late import early_advantage
from lens.report.evidence.equations import decoder_norms, temperatures, weight_sums
from lens.report.evidence.readings import Evidence, Measured
from lens.report.evidence.sparsity import sparsity, sparsity_range

MEASURES: dict[str, Callable[[Measured], Evidence]] = {
    "C01": early_advantage,
    "C03": sparsity,
    "C04": sparsity_range,
    "C09a": own_error,
    "C09b": other_error,
    "C26": decoder_norms,
    "C27": temperatures,
    "C28": weight_sums,
}
"""Claims of `claims.yaml` that are measured so far."""
