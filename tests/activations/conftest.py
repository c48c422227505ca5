"""Tiny language models of each family, and a machine without a network."""

import json

import datasets
import huggingface_hub
import pytest
import torch

from lens.activations import models

SMALL = {"vocab_size": 257, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "bos_token_id": 256}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "eos_token_id": None}
FAMILIES = {
    "llama": {"model_type": "llama", **SMALL, **HEADS},
    "gpt_neox": {"model_type": "gpt_neox", **SMALL, "num_attention_heads": 2, "eos_token_id": None},
    "gemma2": {
        "model_type": "gemma2",
        **SMALL,
        **HEADS,
        "final_logit_softcapping": 0.05,
        "attn_logit_softcapping": 1.0,
    },
}
NAMES = ("gemma-3-tiny", "gpt2-tiny", *FAMILIES)


@pytest.fixture(scope="session")
def load_tiny(tmp_path_factory):
    """Load a tiny random model of a family, by default in fp32."""
    folder = tmp_path_factory.mktemp("configs")

    def load(name, dtype=torch.float32, **changes):
        if name in FAMILIES or changes:
            path = folder / f"{name}-{len(list(folder.iterdir()))}.json"
            path.write_text(json.dumps({**FAMILIES[name], **changes}))
            name = str(path)
        return models.load(f"random:{name}", device="cpu", dtype=dtype)

    return load


@pytest.fixture(params=NAMES)
def tiny(request, load_tiny):
    return load_tiny(request.param)


@pytest.fixture
def offline(monkeypatch):
    """A machine that cannot reach the hub: both libraries then fail at once instead of after their retries."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
