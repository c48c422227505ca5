"""Extraction speed on Gemma-3-270M, layers 3, 8 and 13: ours, the usual call, and the bare forward pass."""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.rounds import Race, race
from lens import checkout
from lens.activations import models
from lens.activations.corpus import Windows
from lens.activations.extract import BATCH_WINDOWS, extract
from lens.activations.language_model import LanguageModel

MODEL, LAYERS, LENGTH = "gemma-3-270m", (3, 8, 13), 128
OURS, BARE = "ours, written to the store", "bare forward to layer 13"
USUAL, AS_OPENED = "output_hidden_states=True, bf16", "output_hidden_states=True, float32"
BATCHES = {OURS: 4, USUAL: 1, AS_OPENED: 1, BARE: 4}  # per round


def random_windows(model: LanguageModel, n: int) -> Windows:
    """Windows of BOS and random tokens; what they say does not change the speed."""
    tokens = np.random.default_rng(0).integers(0, model.vocab_size, (n, LENGTH), dtype=np.int32)
    tokens[:, 0] = model.bos_id
    return Windows(tokens, np.zeros(n, np.int32), np.arange(n), ("random",), "random")


class Ours:
    """`extract` as the pipeline calls it: all layers in one pass, written, flushed and hashed."""

    def __init__(self, model: LanguageModel):
        self.model = model

    def run(self, steps: int) -> float:
        windows = {
            "train": random_windows(self.model, (steps - 1) * BATCH_WINDOWS),
            "test": random_windows(self.model, BATCH_WINDOWS),
        }
        with scratch_folder() as folder, contextlib.redirect_stderr(io.StringIO()):  # no progress bars among the tables
            start = time.perf_counter()
            extract(self.model, windows, LAYERS, Path(folder, "store"), Path(folder, "pool"), window_rule={})
            return time.perf_counter() - start


class Usual:
    """What a notebook does: the causal language model with `output_hidden_states=True`, head included; nothing kept.

    Where no precision is named, `AutoModelForCausalLM.from_pretrained(..., gguf_file=...)` opens these weights in
    float32.
    """

    def __init__(self, model: LanguageModel, dtype: torch.dtype):
        opened = model if model.model.dtype == dtype else models.load(MODEL, device="cpu", dtype=dtype)
        self.model = opened.model
        self.ids = _batch(model)

    @torch.inference_mode()
    def run(self, steps: int) -> float:
        start = time.perf_counter()
        for _ in range(steps):
            hidden = self.model(input_ids=self.ids, output_hidden_states=True).hidden_states
            [hidden[layer + 1] for layer in LAYERS]
        return time.perf_counter() - start


class BareForward:
    """The blocks up to the last layer asked for, and nothing else: no hooks, no head, nothing kept."""

    def __init__(self, model: LanguageModel):
        self.decoder = model.model.get_decoder()
        self.ids = _batch(model)

    @torch.inference_mode()
    def run(self, steps: int) -> float:
        blocks = self.decoder.layers
        self.decoder.layers = blocks[: max(LAYERS) + 1]
        try:
            start = time.perf_counter()
            for _ in range(steps):
                self.decoder(input_ids=self.ids, use_cache=False)
            return time.perf_counter() - start
        finally:
            self.decoder.layers = blocks


def _batch(model: LanguageModel) -> torch.Tensor:
    return torch.from_numpy(random_windows(model, BATCH_WINDOWS).tokens.astype("int64"))


def scratch_folder() -> tempfile.TemporaryDirectory:
    """A folder on the disk that stores are written to; in the pool, which is safe to delete should a run be killed."""
    pool = checkout.root() / "artifacts" / "pool"
    pool.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix="benchmark-", dir=pool)


def measure(model: LanguageModel, rounds: int) -> Race:
    contenders = {
        OURS: Ours(model),
        USUAL: Usual(model, torch.bfloat16),
        AS_OPENED: Usual(model, torch.float32),
        BARE: BareForward(model),
    }
    for contender in contenders.values():  # warm
        contender.run(2)
    return race(contenders, BATCH_WINDOWS * LENGTH, BATCHES, rounds)
