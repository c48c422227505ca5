"""What every contender of the training comparison gets: the same sizes, the same batches, the same threads.

Imported in two environments (the project's and the peers'), so it needs PyTorch and nothing else.
"""

from __future__ import annotations

import os

import torch
from torch import Tensor

D_IN = D_SAE = 640  # Gemma-3-270M, d_sae = d_in as in the paper
WINDOWS, POSITIONS = 16, 128
TOKENS = WINDOWS * POSITIONS  # per optimiser step
BATCHES = 16  # different batches in memory: 42 MB, more than the caches hold


def use_all_cores() -> int:
    """Let PyTorch use every core that this process may use; their number."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(cores)
    return cores


def batches(positions: int = POSITIONS) -> list[Tensor]:
    """Gaussian stand-ins for activations, bf16 [WINDOWS, positions, D_IN] with unit mean squared norm."""
    generator = torch.Generator().manual_seed(0)
    shape = (BATCHES, WINDOWS, positions, D_IN)
    return list((torch.randn(shape, generator=generator) / D_IN**0.5).to(torch.bfloat16))
