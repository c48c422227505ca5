"""Training steps of the peers, each through its own package: its model, its loss, its optimiser, its loop.

Every peer gets bf16 autocast, which all three recommend, also where the package turns it on for CUDA only; nothing is
logged or saved inside the measured steps. This file runs in the peers' environment and imports nothing of the project
but the setting.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from itertools import cycle

import torch
from torch import Tensor, nn

from benchmarks.setting import D_IN, D_SAE, POSITIONS, TOKENS, WINDOWS, batches

ENDLESS = 10**6  # steps of the schedules: far more than are ever taken


class DictionaryLearning:
    """`dictionary_learning`, StandardTrainer: ReLU + L1, decoder columns of unit norm; the loop of its `trainSAE`."""

    def __init__(self):
        from dictionary_learning.trainers.standard import StandardTrainer

        self.trainer = StandardTrainer(
            steps=ENDLESS,
            activation_dim=D_IN,
            dict_size=D_SAE,
            layer=0,
            lm_name="none",
            lr=3e-4,
            l1_penalty=0.04,
            device="cpu",
            seed=0,
        )
        self.data = cycle(x.flatten(0, 1) for x in batches())
        self.done = 0

    def run(self, steps: int) -> float:
        start = time.perf_counter()
        for _ in range(steps):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                self.trainer.update(self.done, next(self.data))
            self.done += 1
        return time.perf_counter() - start


class SAELens:
    """`sae_lens`, standard SAE: ReLU + L1 weighted by decoder norm, gradient clipping; `SAETrainer.fit` as it is."""

    def __init__(self):
        from sae_lens import StandardTrainingSAE, StandardTrainingSAEConfig
        from sae_lens.config import SAETrainerConfig
        from sae_lens.training.sae_trainer import SAETrainer

        sae = StandardTrainingSAE(StandardTrainingSAEConfig(d_in=D_IN, d_sae=D_SAE, l1_coefficient=0.04))
        config = SAETrainerConfig(
            total_training_samples=ENDLESS * TOKENS, train_batch_size_samples=TOKENS, autocast=True, lr_end=3e-4
        )
        self.data = _Clocked(x.flatten(0, 1).float() for x in batches())  # fp32, as its activation store hands out
        self.trainer = SAETrainer(config, sae, self.data)

    def run(self, steps: int) -> float:
        self.data.marks.clear()
        self.trainer.cfg.total_training_samples = self.trainer.n_training_samples + (steps + 1) * TOKENS
        self.trainer.fit()
        return self.data.seconds(steps)


class Sparsify:
    """`sparsify`, TopK (k = 32, its default): `Trainer.fit` as it is, on a model whose only layer is a recording."""

    def __init__(self):
        from sparsify import SparseCoderConfig, TrainConfig, Trainer

        self.data = _Clocked(batches())
        self.folder = tempfile.TemporaryDirectory()
        config = TrainConfig(
            SparseCoderConfig(num_latents=D_SAE),
            batch_size=WINDOWS,
            hookpoints=["layer"],
            log_to_wandb=False,
            save_every=ENDLESS,
            save_dir=self.folder.name,
        )
        self.trainer = Trainer(config, _Windows(0), _Replay(self.data))

    def run(self, steps: int) -> float:
        self.data.marks.clear()
        self.trainer.dataset = _Windows((self.trainer.global_step + steps + 1) * WINDOWS)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            self.trainer.fit()
        return self.data.seconds(steps)


class _Clocked:
    """Endless batches that note when each was asked for: the time of n steps inside a loop that is not ours."""

    def __init__(self, data):
        self.data = cycle(data)
        self.marks: list[float] = []

    def __iter__(self) -> Iterator[Tensor]:
        return self

    def __next__(self) -> Tensor:
        self.marks.append(time.perf_counter())
        return next(self.data)

    def seconds(self, steps: int) -> float:
        """From the first request to the one after the last of `steps` steps; one further step was taken."""
        if len(self.marks) != steps + 1:
            raise RuntimeError(f"{len(self.marks)} batches were drawn for {steps} steps and one more")
        return self.marks[-1] - self.marks[0]


class _Replay(nn.Module):
    """Looks like a language model with one layer, whose output is the next batch of activations."""

    dummy_inputs = {"input_ids": torch.zeros(1, POSITIONS, dtype=torch.long)}
    device = torch.device("cpu")

    def __init__(self, data: Iterator[Tensor]):
        super().__init__()
        self.data = data
        self.layer = nn.Identity()

    @property
    def base_model(self) -> nn.Module:
        return self

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.layer(next(self.data))


class _Windows:
    """A data set of `n` windows of tokens; only their number matters."""

    def __init__(self, n: int):
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if index >= self.n:
            raise IndexError(index)
        return {"input_ids": torch.zeros(POSITIONS, dtype=torch.long)}

    def select(self, rows: range) -> _Windows:
        return _Windows(len(rows))


PEERS = {"dictionary-learning": DictionaryLearning, "sae-lens": SAELens, "eai-sparsify": Sparsify}
