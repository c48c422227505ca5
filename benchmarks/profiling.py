"""What `lens.profile` costs beside the forward passes that it needs."""

from __future__ import annotations

import contextlib
import io
import time

import torch

from benchmarks.extraction import LENGTH
from benchmarks.rounds import Race, race
from benchmarks.setting import D_SAE
from lens.activations import corpus
from lens.activations.language_model import LanguageModel
from lens.dictionaries.dictionary import Dictionary, Info
from lens.measure.fidelity import LOGIT_ROWS
from lens.profiling.profile import BATCH_WINDOWS, profile

LAYER, WINDOWS, FIDELITY, TEXT = 8, 256, 16, "tiny-shakespeare"  # the defaults of `lens.profile`
SPLICED = 5  # untouched; the dictionary with BOS kept and without; zero and mean ablation
OURS, BARE = "lens.profile", "bare forward passes"


class Ours:
    """The whole profile of an untrained dictionary, of which half the features fire on a token: more than usual."""

    def __init__(self, model: LanguageModel):
        self.model, self.text = model, corpus.load(TEXT)
        config = Info(
            model.d_model, D_SAE, LENGTH, position="mask", settings={"tau_end": 0.1}, input_scale=0.02, layer=str(LAYER)
        )
        self.sae = Dictionary.initialise(config, torch.zeros(model.d_model), seed=0)
        with torch.no_grad():
            self.sae.weights()["b_enc"].sub_(1.0)

    def run(self, steps: int) -> float:
        start = time.perf_counter()
        with contextlib.redirect_stderr(io.StringIO()):  # no progress bars among the tables
            for _ in range(steps):
                profile(self.sae, self.model, self.text, windows=WINDOWS, fidelity=FIDELITY)
        return time.perf_counter() - start


class BarePasses:
    """The blocks up to the layer on all windows; all blocks and the head where the dictionary is spliced in."""

    def __init__(self, model: LanguageModel):
        self.model = model
        windows = corpus.draw_windows(
            corpus.load(TEXT), model.tokenizer, WINDOWS, LENGTH, starts="disjoint", bos_id=model.bos_id
        )
        self.tokens = torch.as_tensor(windows.tokens)

    @torch.inference_mode()
    def run(self, steps: int) -> float:
        start = time.perf_counter()
        for _ in range(steps):
            for batch in self.tokens.split(BATCH_WINDOWS):
                self.model.residual_stream(batch, [LAYER])
            for hidden in self.model.spliced_each(self.tokens[:FIDELITY], LAYER, [None] * SPLICED):
                for rows in hidden[:, :-1].flatten(0, 1).split(LOGIT_ROWS):
                    self.model.logits(rows).float()
        return time.perf_counter() - start


def measure(model: LanguageModel, rounds: int) -> Race:
    contenders = {OURS: Ours(model), BARE: BarePasses(model)}
    return race(contenders, WINDOWS * LENGTH, dict.fromkeys(contenders, 1), rounds)
