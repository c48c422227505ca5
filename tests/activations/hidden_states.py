"""What the models themselves report of their residual stream, to compare with."""

import numpy as np
import torch
from torch import Tensor

from lens.bf16 import products

TOKENS = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 12)))


def hidden_states(model, tokens: Tensor = TOKENS) -> tuple[Tensor, ...]:
    """The embedding's and each block's output [B, T, d_model], the last after the final norm."""
    with torch.inference_mode(), products(model.device):  # what is compared is rounded alike on every processor
        return model.model.get_decoder()(tokens, output_hidden_states=True, use_cache=False).hidden_states
