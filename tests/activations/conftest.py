"""Tiny language models of each family, a tiny GGUF package, and a machine without a network."""

import hashlib
import json
import sys

import datasets
import gguf
import huggingface_hub
import numpy as np
import pytest
import torch

from lens.activations import language_model
from lens.activations.gguf_packages import Recipe

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
        return language_model.load(f"random:{name}", device="cpu", dtype=dtype)

    return load


@pytest.fixture(params=NAMES)
def tiny(request, load_tiny):
    return load_tiny(request.param)


@pytest.fixture
def offline(monkeypatch):
    """A machine that cannot reach the hub: both libraries then fail at once instead of after their retries."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


@pytest.fixture
def gguf_package(tmp_path, monkeypatch):
    """An installed package with a one-block Llama in two GGUF parts: its recipe, its folder, and one true weight."""
    whole = tmp_path / "tiny.gguf"
    weight = _write_llama(whole)
    package = tmp_path / "site" / "tiny_gguf"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    data = whole.read_bytes()
    parts = []
    for i, part in enumerate((data[:5000], data[5000:])):
        (package / f"tiny.part{i}").write_bytes(part)
        parts.append(("tiny_gguf", f"tiny.part{i}", hashlib.sha256(part).hexdigest()))
    monkeypatch.syspath_prepend(package.parent)
    recipe = Recipe(tuple(parts), hashlib.sha256(data).hexdigest(), "Q8_0, dequantised to bf16", "pip install tiny")
    yield recipe, package, weight
    sys.modules.pop("tiny_gguf", None)


def _write_llama(path, d=32, hidden=64):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(d)
    writer.add_feed_forward_length(hidden)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(1e4)
    tokens = ["<s>", "</s>", *"abcdefghijklmnopqrstuvwxyzĠĊ", "th", "the"]
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3] + [1] * (len(tokens) - 2))
    writer.add_token_merges(["t h", "th e"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    rng = np.random.default_rng(0)
    block = {"attn_q": (d, d), "attn_k": (d, d), "attn_v": (d, d), "attn_output": (d, d)}
    block |= {"ffn_gate": (hidden, d), "ffn_up": (hidden, d), "ffn_down": (d, hidden)}
    shapes = {"token_embd": (len(tokens), d), **{f"blk.0.{name}": shape for name, shape in block.items()}}
    for name, shape in shapes.items():
        quantised = gguf.quants.quantize(rng.normal(size=shape).astype(np.float32), gguf.GGMLQuantizationType.Q8_0)
        writer.add_tensor(f"{name}.weight", quantised, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        if name == "blk.0.ffn_up":
            weight = gguf.quants.dequantize(quantised, gguf.GGMLQuantizationType.Q8_0)
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(d, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return weight
