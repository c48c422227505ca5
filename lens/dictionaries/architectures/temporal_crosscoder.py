"""Temporal crosscoder: neighbouring vectors share one code (Crosscoding Through Time, openreview JfN7nRdBxA, 2026).

    z = TopK(sum over places o of x_(t+o) W_enc_o + b_enc),  x_hat_(t+o) = z W_dec_o + b_dec_o

with k features for each of the `span` vectors, span k in all, as in the public code (chainik1125/temp_xc), where a row
of all decoders together has norm 1. Where it leaves a choice, this is read: blocks follow one another from text
position 1 on, so that each vector is reconstructed once; dead features are revived as in TopK (the plain one there has
nothing, a variant of it has the same). Gradients are clipped there: `gradient_clip: 1` of the recipe. Its control, a
dictionary for each place, is TopK with position term `stacked`.
"""

from __future__ import annotations

from dataclasses import dataclass

from lens.dictionaries.architectures import topk
from lens.dictionaries.parts import check_settings
from lens.errors import DictionaryError


@dataclass(frozen=True)
class Settings(topk.Settings):
    """Fields of a recipe; k is that of a vector, dead features are counted in blocks."""

    span: int = 2
    """vectors that share a code"""

    def __post_init__(self):
        super().__post_init__()
        check_settings(self, positive=("span",))


class TemporalCrosscoder(topk.TopK):
    """TopK of `span` k features on the vectors of a block side by side; they are on at all positions of the block."""

    Settings = Settings
    of_windows = True
    version = 1

    def __init__(self, d_in: int, d_sae: int, settings: Settings):
        if settings.span * settings.k > d_sae:
            raise DictionaryError(
                f"k = {settings.k} for each of span = {settings.span} vectors of {d_sae} features: choose k 1.."
                f"{d_sae // settings.span}"
            )
        super().__init__(settings.span * d_in, d_sae, settings)
        self.span, self.k = settings.span, settings.span * settings.k
