"""The one path from dictionaries to their tables: what `lens.profile` and every study measure of any dictionary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from lens.activations.language_model import LanguageModel
from lens.measure.profiles import PERMUTATIONS, Labelling
from lens.profiling.features import Measured, measure_features
from lens.profiling.layer_data import SETS, LayerData, independent_blocks, sets_of
from lens.profiling.reconstruction import fidelity_tables, reconstruction_tables, sparsity_tables
from lens.profiling.tables import Dictionaries, Key, Tables, join


class Measures(NamedTuple):
    """What is measured of the dictionaries of one layer."""

    tables: Tables
    """`positions`, `summary`, `blocks` and `tests`: reconstruction, sparsity and fidelity; of encoders that reconstruct
    nothing, the first two alone"""
    features: dict[Key, Measured]
    """what each dictionary's features do with position; empty if no labelling was asked for"""


def measure_dictionaries(
    dictionaries: Dictionaries,
    data: LayerData,
    model: LanguageModel | None,
    *,
    spliced: list[int],
    labellings: Mapping[str, Labelling] | None = None,
    by_document: bool = True,
    baseline: str | None = None,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Measures:
    """Measure dictionaries of one layer on its held-out windows.

    Args:
        model: None where there are activations alone, into which nothing can be spliced.
        spliced: held-out windows on which reconstructions are spliced into the language model; empty: none.
        labellings: partitions of the held-out tokens that firing may depend on (see `lens.profiling.features`).
        by_document: keep the profiles of features apart by document, as clustering needs; else in `SETS` sets.
        baseline: variant that the others are held against in the table `tests`.
        permutations: of the labels of each labelling.
        seed: draws the permutations.

    Raises:
        ValueError: encoders that reconstruct nothing and dictionaries at once, or such encoders to be spliced.
    """
    test = data.test
    inputs = test.activations, test.document, test.documents, data.scale
    encoders = [sae for sae in dictionaries.values() if not sae.reconstructs]
    if encoders and (spliced or len(encoders) < len(dictionaries)):
        raise ValueError("encoders that reconstruct nothing are measured by themselves, and spliced nowhere")
    if encoders:
        parts = [sparsity_tables(dictionaries, *inputs)]
    else:
        parts = [reconstruction_tables(dictionaries, *inputs, baseline=baseline)]
    if spliced and model is not None:
        parts.append(
            fidelity_tables(
                model, test.tokens[spliced], data.layer, dictionaries, data.statistics.mean,
                test.document[spliced], test.documents,
            )
        )  # fmt: skip
    features: dict[Key, Measured] = {}
    if labellings:
        block, n_blocks = test.document, len(test.documents)
        if not by_document:
            block, n_blocks = sets_of(independent_blocks(test)), SETS
        features = measure_features(
            dictionaries, test.activations, block, n_blocks, labellings, test.tokens,
            permutations=permutations, seed=seed,
        )  # fmt: skip
    return Measures(join(*parts), features)
