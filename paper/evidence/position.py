"""C33: can the position of a token be read off its activation, beyond what its content gives away?"""

from __future__ import annotations

import numpy as np

from lens.measure.stats import block_weights, draws_component, interval
from paper.evidence.measured import INPUT, METHOD, Measured, Missing, complete
from paper.evidence.readings import Evidence, Reading, attempt, measure

DRAWS = 5_000  # bootstrap samples of documents
BOOTSTRAP_SEED = 0  # fixed: the same tables always give the same intervals
SOURCES = {
    "R2 from the activation": "activation",
    "R2 from the method's features": "features",
    "R2 from the method's error": "error",
}


def decodable(data: Measured) -> Evidence:
    """C33: held-out R^2 of log2(1 + t) from the activation minus the same at the embedding layer, by document."""
    if data.position_is_input:
        raise Missing("position is an input of this model, so there is nothing to subtract")
    embedding = data.embedding()

    def beyond(name: str, where: Measured, first: int) -> Reading:
        draws, of_embedding = (_r2_draws(m, "activation", first) for m in (where, embedding))
        return _reading(name, where, draws - of_embedding)

    def r2(name: str, where: Measured, source: str, first: int) -> Reading:
        return attempt(name, lambda: _reading(name, where, _r2_draws(where, source, first)))

    settled, all_text = (beyond(f"from position {first}", data, first) for first in (8, 1))
    context = [r2(f"{name}, from position {k}", data, source, k) for k in (8, 1) for name, source in SOURCES.items()]
    context += [r2(f"R2 at the embedding layer, from position {k}", embedding, "activation", k) for k in (8, 1)]
    return Evidence(
        (
            settled,
            all_text,
            *(beyond(f"from position 8, layer {layer}", data.at(layer), 8) for layer in data.layers),
        ),
        context=tuple(context),
        measures={
            "r2_beyond_embedding_from_8": measure(settled),
            "r2_beyond_embedding_from_1": measure(all_text),
        },
        null=0.0,
    )


def _sums(data: Measured, source: str, first: int) -> np.ndarray:
    """Squared errors and deviations by document, `[2, L, B]`; seeds averaged.

    Raises:
        Missing: position was not decoded from that source, or not in every layer and document.
    """
    variant = INPUT if source == "activation" else METHOD
    table = data.table("decoding")
    rows = table[(table["variant"] == variant) & (table["source"] == source) & (table["first"] == first)]
    what = f"decoding of position from {source!r}, from position {first},"
    if rows.empty:
        raise Missing(f"no {what} in this study")
    keys = {"metric": ["sse", "sst"], "layer": list(data.layers), "block": sorted(table["block"].unique())}
    return complete(rows.groupby(list(keys), as_index=False)["value"].mean(), keys, what)


def _r2_draws(data: Measured, source: str, first: int) -> np.ndarray:
    """R^2, layers averaged: of all documents, then of each bootstrap sample of them, `[1 + R]`."""
    sums = _sums(data, source, first)
    n = sums.shape[-1]
    weights = np.vstack([np.ones(n), block_weights(n, DRAWS, np.random.default_rng(BOOTSTRAP_SEED))])
    sse, sst = sums @ weights.T  # each [L, 1 + R]
    return (1 - sse / sst).mean(axis=0)


def _reading(name: str, data: Measured, draws: np.ndarray) -> Reading:
    n = data.table("decoding")["block"].nunique()
    found = interval(draws[0], draws_component(draws[1:], n))
    return Reading(name, found, n_blocks=n, detail="interval over documents" if n > 1 else "one document: no interval")
