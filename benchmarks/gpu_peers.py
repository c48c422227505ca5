"""Training steps of other libraries on the GPU, each from its wheel, with its own model, loss and optimiser.

    python -m benchmarks.gpu_peers eai-sparsify '{"d": 2304, ...}' 16 cuda

Runs in a process of its own, which sees the packages of the wheels before those of the environment. Every library gets
bf16 autocast, TopK with L0 32, and the same batches as flat vectors. Imports nothing of the project but the setting.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.gpu_setting import NOT_MEASURED, K, Size, batches, measured

ENDLESS = 10**6  # steps of the schedules: far more than are ever taken
LONGEST = 45  # seconds for one library, its imports included


def dictionary_learning(d: int, n: int, data: Iterator[Tensor], device: torch.device) -> Callable[[], None]:
    from dictionary_learning.trainers import TopKTrainer

    trainer = TopKTrainer(
        steps=ENDLESS, activation_dim=d, dict_size=n, k=K, layer=0, lm_name="none", device=str(device), seed=0
    )
    done = iter(range(ENDLESS))

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            trainer.update(next(done), next(data))

    return step


def sae_lens(d: int, n: int, data: Iterator[Tensor], device: torch.device) -> Callable[[], None]:
    from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=d, d_sae=n, k=K, device=str(device)))
    size = len(next(data))
    trainer = SAETrainer(
        SAETrainerConfig(
            total_training_samples=ENDLESS * size, train_batch_size_samples=size, autocast=True, lr_end=3e-4,
            device=str(device),
        ),
        sae,
        (x.float() for x in data),
    )  # fmt: skip

    def step() -> None:  # one more step of the loop that is its own
        trainer.cfg.total_training_samples = trainer.n_training_samples + size
        trainer.fit()

    return step


def sparsify(d: int, n: int, data: Iterator[Tensor], device: torch.device) -> Callable[[], None]:
    """The steps that its `Trainer.fit` takes of each dictionary, without the language model around them."""
    from sparsify import SparseCoder, SparseCoderConfig

    sae = SparseCoder(d, SparseCoderConfig(num_latents=n, k=K), device=device, dtype=torch.float32)
    optimizer = torch.optim.Adam(sae.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        sae.set_decoder_norm_to_unit_norm()
        with torch.autocast(device.type, torch.bfloat16):
            loss = sae(next(data)).fvu
        loss.backward()
        sae.remove_gradient_parallel_to_decoder_directions()
        optimizer.step()
        optimizer.zero_grad()

    return step


PEERS = {"dictionary-learning": dictionary_learning, "sae-lens": sae_lens, "eai-sparsify": sparsify}


def measure(
    wheels: Path | None, size: Size, expansion: int, device: torch.device, left: Callable[[], float]
) -> dict[str, dict | str]:
    """As `benchmarks.gpu.throughput`, of the TopK of each library."""
    if wheels is None:
        return {f"{name}, TopK": f"{NOT_MEASURED}: no --wheels were given" for name in PEERS}
    with tempfile.TemporaryDirectory(prefix="wheels-") as folder:
        for wheel in sorted(wheels.glob("*.whl")):
            zipfile.ZipFile(wheel).extractall(folder)
        return {f"{name}, TopK": _apart(name, folder, size, expansion, device, left()) for name in PEERS}


def _apart(name: str, folder: str, size: Size, expansion: int, device: torch.device, left: float) -> dict | str:
    if left <= 0:
        return f"{NOT_MEASURED}: the time is over"
    here = str(Path(__file__).parents[1])
    command = [sys.executable, "-m", "benchmarks.gpu_peers", name, json.dumps(vars(size)), str(expansion), str(device)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([folder, here])}
    try:
        done = subprocess.run(
            command, cwd=here, env=environment, capture_output=True, text=True, timeout=min(left, LONGEST)
        )
    except subprocess.TimeoutExpired:
        return f"{NOT_MEASURED}: it took longer than {min(left, LONGEST):.0f} s"
    if done.returncode:
        return f"{NOT_MEASURED}: {(done.stderr.strip().splitlines() or ['it stopped'])[-1][:200]}"
    return json.loads(done.stdout.splitlines()[-1])


def main(name: str, size: Size, expansion: int, device: torch.device) -> None:
    data = cycle(x[:, 1:].flatten(0, 1) for x in batches(size, device))
    make = PEERS[name]
    print(json.dumps(measured(lambda: make(size.d, expansion * size.d, data, device), size, device, lambda: 1.0)))


if __name__ == "__main__":
    main(sys.argv[1], Size(**json.loads(sys.argv[2])), int(sys.argv[3]), torch.device(sys.argv[4]))
