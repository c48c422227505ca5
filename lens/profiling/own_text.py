"""Any text read with a dictionary as `lens.profile` reads its windows: numbered from 0, with BOS where it had BOS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from lens.activations import models
from lens.activations.corpus import token_ids
from lens.activations.hooks import Site
from lens.activations.language_model import LanguageModel
from lens.activations.layers import Layer
from lens.activations.token_texts import token_texts
from lens.dictionaries.dictionary import Dictionary
from lens.dictionaries.load import load
from lens.profiling.places import place_in, read_at
from lens.profiling.position_profile import PositionProfile, ProfileError
from lens.profiling.reading import strengths

MOST = 1024  # tokens, where neither dictionary nor model sets a limit
SAME = 0.01  # difference of two directions of unit length that rounding to 16 bits explains


class TextError(ValueError):
    """A text that can't be read; the message says why."""


@dataclass(frozen=True)
class OwnText:
    """T tokens, position 0 first, and the features K that are on at each."""

    words: list[str]
    strengths_TK: np.ndarray
    """float32, without signs; 0 at position 0, which a profile leaves out"""


@dataclass(frozen=True)
class Reader:
    """A dictionary and the language model that it was profiled on."""

    sae: Dictionary
    model: LanguageModel
    place: Site | Layer
    bos: bool
    """whether position 0 holds BOS"""

    @property
    def most(self) -> int:
        """Positions, BOS included: those that the dictionary and the model have, 1024 at most."""
        context = getattr(self.model.model.config.get_text_config(), "max_position_embeddings", None)
        return min(self.sae.info.n_positions or MOST, context or MOST, MOST)

    def read(self, text: str) -> OwnText:
        """Raise TextError for a text without tokens, or with more than there are positions."""
        ids = token_ids(text, self.model.tokenizer) if text.strip() else []
        if not ids:
            raise TextError("the text is empty: type or paste some words")
        before = [self.model.bos_id] if self.bos else []
        if len(before) + len(ids) > self.most:
            raise TextError(
                f"the text has {len(ids):,} tokens, there are positions for {self.most - len(before):,}: shorten it"
            )
        tokens = torch.tensor([[*before, *ids]])
        found = strengths(self.sae, read_at(self.model, tokens, self.place))[0].numpy().copy()
        found[0] = 0
        return OwnText(token_texts(tokens[0].numpy(), self.model.tokenizer), found)


def reader_of(profile: PositionProfile, *, trust: bool = False) -> Reader:
    """The dictionary and the model of a profile, opened again from where they were.

    Args:
        trust: as in `lens.load`: let code of somebody's own run that the dictionary's folder names.

    Raises:
        ProfileError: the profile is of given activations, what it names is not there, or it is not what was profiled.
    """
    about = profile.about
    if about.given:
        raise ProfileError(f"{profile.name} was profiled on given activations: no language model reads a text for it")
    try:
        sae = load(about.dictionary, trust=trust).eval()
        model = models.load(about.model)
        place = place_in(sae, model, about.layer if sae.reconstructs else None)
    except (ValueError, OSError) as error:
        raise ProfileError(
            f"a text is read with {about.dictionary} and {about.model}, which the profile names: {error}"
        ) from None
    _check_same(sae, profile)
    return Reader(sae, model, place, about.bos)


def _check_same(sae: Dictionary, profile: PositionProfile) -> None:
    """The numbers on a card are of the dictionary that was profiled, and so has to be what a text is read with."""
    known = None if profile.shown is None else profile.shown.directions
    same = sae.info.d_sae == len(profile.features)
    if same and known is not None:
        now = torch.nn.functional.normalize(sae.directions.detach().float(), dim=-1).numpy()
        same = now.shape == known.shape and bool(np.abs(now - known).max() < SAME)
    if not same:
        raise ProfileError(f"{profile.about.dictionary} is another dictionary than was profiled: profile it again")
