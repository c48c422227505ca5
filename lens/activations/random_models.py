"""Language models with random weights, built in memory: for tests and controls."""

from __future__ import annotations

from pathlib import Path

import tokenizers
import torch
import transformers
from tokenizers import decoders, models

from lens.activations import gguf_packages
from lens.activations.fingerprint import weights_digest
from lens.errors import ConfigError, suggest

BOS = "<bos>"
_BYTES = 256
CONFIGS = {
    "gemma-3-tiny": {
        "model_type": "gemma3_text",
        "vocab_size": _BYTES + 1,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "query_pre_attn_scalar": 16,
        "sliding_window": 512,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "bos_token_id": _BYTES,
        "eos_token_id": None,
    },
    "gpt2-tiny": {
        "model_type": "gpt2",
        "vocab_size": _BYTES + 1,
        "n_embd": 32,
        "n_layer": 4,
        "n_head": 2,
        "n_positions": 2048,
        "bos_token_id": _BYTES,
        "eos_token_id": None,
    },
    "gemma-2-2b": {"model_type": "gemma2"},  # the defaults of this type are Gemma-2-2B
}
NAMES = (*CONFIGS, *gguf_packages.RECIPES)  # the latter: a real model's shape and tokenizer, its weights drawn again


def config(name: str) -> transformers.PretrainedConfig:
    """The configuration of a name in `CONFIGS`, or of the path of a `config.json`.

    Raises:
        ConfigError: neither.
    """
    if name in CONFIGS:
        options = dict(CONFIGS[name])
        return transformers.AutoConfig.for_model(options.pop("model_type"), **options)
    if Path(name).is_file():
        return transformers.AutoConfig.from_pretrained(name)
    raise ConfigError(
        f"no random model {name!r}{suggest(name, NAMES)}: expected {', '.join(NAMES)} or the path of a config.json"
    )


def check(name: str) -> None:
    """Raise as `config` does where there is no such random model; a real model's shape is not looked up."""
    if name not in NAMES:
        config(name)


def build(
    name: str, dtype: torch.dtype, seed: int = 0
) -> tuple[transformers.PreTrainedModel, transformers.PreTrainedTokenizerBase, str]:
    """A model with weights drawn by its configuration's initialiser, its tokenizer, sha256 of the weights.

    A name in `gguf_packages.RECIPES` keeps the tokenizer of the real model, so that both read the same windows: what
    the architecture alone puts into the activations (the control of Heap et al. 2025). All others read bytes.

    Raises:
        ModuleNotFoundError, ConfigError: see `config` and `gguf_packages.prepare`.
    """
    settings, tokenizer = _real(name) if name in gguf_packages.RECIPES else (config(name), byte_tokenizer())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(settings, dtype=dtype)
    return model, tokenizer, weights_digest(model)


def _real(name: str) -> tuple[transformers.PretrainedConfig, transformers.PreTrainedTokenizerBase]:
    folder = gguf_packages.prepare(name)
    with gguf_packages.quiet():
        return transformers.AutoConfig.from_pretrained(folder), transformers.AutoTokenizer.from_pretrained(folder)


def byte_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """One token per UTF-8 byte, with the byte as its id, and BOS = 256."""
    backend = tokenizers.Tokenizer(
        models.BPE(vocab={f"<0x{byte:02X}>": byte for byte in range(_BYTES)}, merges=[], byte_fallback=True)
    )
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=BOS)
