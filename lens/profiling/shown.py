"""What a profile keeps for `lens explore`: features to look at, the text they fire in, and where they point."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lens import files
from lens.activations.language_model import LanguageModel
from lens.activations.store import LayerStore
from lens.dictionaries.dictionary import Dictionary
from lens.dictionaries.wrapped import Wrapped
from lens.measure.logit_lens import logit_lens
from lens.profiling.reading import Reading, ShownText, lens_words, neighbours, passages_of, read_features, shown_text

FILE = "contexts.npz"
OF_TEXT, DIRECTIONS, HEADER = ("tokens", "document", "start"), "directions", "header"


@dataclass(frozen=True)
class Shown:
    """Of one dictionary; windows are counted among those kept."""

    reading: Reading
    text: ShownText
    directions: np.ndarray | None
    """[K, d] float16 of unit length: what each feature writes; None of a dictionary that doesn't say, or that writes
    elsewhere than it reads"""
    facts: dict
    """documents (names), architecture, position, causal, quantisation (of the model) and lens (logit lens), as JSON"""

    def save(self, path: Path) -> None:
        """One file of arrays."""
        header = self.facts | {
            "words": self.text.words, "passages": self.text.passages,
            "band_scale": self.reading.band_scale, "permutations": self.reading.permutations,
        }  # fmt: skip
        arrays = self.reading.arrays | self.text.arrays
        arrays |= {HEADER: np.frombuffer(json.dumps(header).encode(), np.uint8)}
        if self.directions is not None:
            arrays[DIRECTIONS] = self.directions
        written = io.BytesIO()
        np.savez_compressed(written, allow_pickle=False, **arrays)
        files.write(path, written.getvalue())

    @classmethod
    def read(cls, path: Path) -> Shown:
        """What `save` wrote; errors are those of NumPy and JSON."""
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(arrays.pop(HEADER).tobytes())
        directions = arrays.pop(DIRECTIONS, None)
        text = ShownText(header.pop("words"), header.pop("passages"), {name: arrays.pop(name) for name in OF_TEXT})
        return cls(Reading(arrays, header.pop("band_scale"), header.pop("permutations")), text, directions, header)


def show(
    sae: Dictionary,
    test: LayerStore,
    texts: Callable[[np.ndarray], list[str]],
    model: LanguageModel | None,
    contexts: int,
) -> Shown:
    """Read a dictionary's features on held-out windows.

    Args:
        texts: words of token numbers.
        model: for the logit lens, if it predicts a next token.
        contexts: of each feature and bucket of positions.
    """
    passages = passages_of(len(test.activations))
    reading = read_features(sae, test.activations, test.document, passages, contexts)
    text, [reading] = shown_text([reading], passages, test.tokens, test.document, test.start, texts)
    directions, lens = None, None
    if sae.reconstructs and not isinstance(sae, Wrapped):
        directions = torch.nn.functional.normalize(sae.directions.detach().float(), dim=-1)
        reading = reading._replace(arrays=reading.arrays | neighbours(directions))
        if model is not None and model.causal:
            lens = logit_lens(model, directions)
    facts = {
        "documents": list(test.documents),
        "architecture": sae.info.architecture,
        "position": sae.info.position,
        "causal": model is not None and model.causal,
        "quantisation": "" if model is None else model.quantisation,
        "lens": lens_words(lens, texts),
    }
    return Shown(reading, text, None if directions is None else directions.half().numpy(), facts)
