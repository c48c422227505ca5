"""A small study with planted features and a hostile text, measured by the real code, for tests of the page."""

import dataclasses
import functools

import numpy as np
import torch

from lens.dictionaries.dictionary import Dictionary
from lens.explorer.data import StudyData, assemble
from lens.explorer.layer import KeptLayer, LayerSource
from lens.measure.logit_lens import LogitLens
from lens.profiling.features import feature_tables, labellings, measure_features
from tests.making import info

T, D, N = 40, 24, 160
HOSTILE = "</script><script>window.hacked = true</script>"
IMAGE = "<img src=x onerror='window.hacked = true'>"
WORDS = ["<bos>", " king", " queen", "\n", " sword", HOSTILE, IMAGE, "אב", " &amp;"]
DOCUMENTS = ("first-play", "second <b>play</b>")
FACTS = {
    "study": "tiny", "model": "tiny-model", "model_note": "a stand-in", "causal": True, "quantisation": "",
    "variant": "temporallens", "architecture": "relu", "position": "mask", "seed": 0, "seeds": [0, 1], "steps": 60,
    "corpus": "some-text", "trained_on": "another-text", "depth": {"embedding": 0.0, "1": 0.5, "2": 1.0},
}  # fmt: skip


class Tokenizer:
    """One token per entry of `WORDS`; what the explorer asks of a tokenizer and no more."""

    def encode(self, text, add_special_tokens):
        assert text == "a" and not add_special_tokens
        return [len(WORDS)]

    def decode(self, ids, clean_up_tokenization_spaces):
        return "".join([*WORDS, "a"][i] for i in ids)


def dictionaries(seeds=(0, 1), masked=True, **rest) -> dict[int, Dictionary]:
    """Feature j reads coordinate j in every seed."""
    found = {}
    for seed in seeds:
        config = info(D, D, T, masked, name="temporallens" if masked else "standard", seed=seed, **rest)
        found[seed] = Dictionary.initialise(config, torch.zeros(D), seed)
        found[seed].W_enc.data, found[seed].W_dec.data = torch.eye(D), torch.eye(D)
    return found


def activations(planted: bool) -> torch.Tensor:
    """Coordinates fire on a third of the tokens; if planted, the first 12 only early or only late in a window."""
    x = torch.rand(N, T, D, generator=torch.Generator().manual_seed(0)) - 2 / 3
    if planted:
        x[:, T // 2 :, :6] = -1
        x[:, : T // 2, 6:12] = -1
        x[:, :, D - 1] = -1  # the last one is silent
    return x.bfloat16()


def tokens() -> torch.Tensor:
    ids = torch.randint(1, len(WORDS), (N, T), generator=torch.Generator().manual_seed(1))
    ids[:, 0] = 0
    return ids


@functools.cache
def source(name: str, planted=True, seeds=(0, 1), masked=True, lens=True) -> LayerSource:
    """A layer, its tables made by `feature_tables`."""
    saes, x, document = dictionaries(seeds, masked), activations(planted), DOCUMENT
    variant = saes[seeds[0]].info.name
    runs = {(variant, s): sae for s, sae in saes.items()}
    tables = feature_tables(measure_features(runs, x, document, 2, labellings(N, T, {}), tokens(), permutations=99), x)
    features, summary = tables["features"], tables["summary"]
    numbers = summary[(summary["variant"] == variant) & (summary["seed"] == seeds[0])].set_index("metric")["value"]
    return LayerSource(name, saes, x, document, features, numbers.to_dict(), logits() if lens else None)


def logits() -> LogitLens:
    """Feature j promotes word j mod 9 first, and so on."""
    ids = (np.arange(D)[:, None] + np.arange(4)) % len(WORDS)
    z = np.tile(np.arange(4.0, 0, -1), (D, 1))
    return LogitLens(ids, z, ids[:, ::-1], -z)


DOCUMENT, START = torch.arange(N) % 2, torch.arange(N) * T  # of each window


def assembled(*sources: LayerSource | KeptLayer, **facts) -> StudyData:
    return assemble(FACTS | facts, sources, tokens(), DOCUMENT, DOCUMENTS, START, [0, 5], Tokenizer())


@functools.cache
def judged() -> LayerSource:
    """Layer 2: as layer 1, with verdicts: even features are specialised, odd ones inherit from two others."""
    odd = np.arange(D) % 2 == 1
    verdicts = {"verdict": np.where(odd, "inherits", "specialised"), "inherits_from": np.where(odd, "0 2", "")}
    return dataclasses.replace(source("1"), name="2", features=source("1").features.assign(**verdicts))


@functools.cache
def study() -> StudyData:
    return assembled(*sources())


def sources() -> list[LayerSource]:
    return [source("embedding", planted=False), source("1"), judged()]


@functools.cache
def encoder() -> StudyData:
    """A study of an encoder with one seed and no masks: no logit lens, no twins, no clusters."""
    only = source("2", planted=False, seeds=(0,), masked=False, lens=False)
    return assembled(
        only, study="encoder", causal=False, variant="standard", position="none", seeds=[0], depth={"2": 0.5}
    )
