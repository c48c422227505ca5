"""sparsify folders: `cfg.json` + `sae.safetensors` of a TopK dictionary, in a folder named after its hook point."""

from __future__ import annotations

import re
from pathlib import Path

from lens.activations.hooks import layer_name
from lens.dictionaries.dictionary import Dictionary, Info
from lens.dictionaries.formats.files import pick, read_json, read_safetensors, setting
from lens.errors import DictionaryError

CONFIG, WEIGHTS, RUN_CONFIG = "cfg.json", "sae.safetensors", "config.json"
_NAMES = {"W_enc": "encoder.weight", "b_enc": "encoder.bias", "W_dec": "W_dec", "b_dec": "b_dec"}
_READ = ("d_in", "k", "num_latents", "expansion_factor")
_TRAINING = ("normalize_decoder", "multi_topk")  # already in the weights
_HOOK_POINT = re.compile(r"(?:\w+\.)*(?:layers?|h|blocks?)\.\d+(?:\.\w+)*|embed_tokens|wte")
_NEEDED = {"activation": "topk", "signed": False, "skip_connection": False, "transcode": False}


def read(folder: Path) -> Dictionary:
    """Read a folder; its name is the hook point where it reads as one, such as `layers.8`.

    The model's name is in `config.json` of the folder around it, if that is there.

    Raises:
        DictionaryError: an option is not known or means something else than a TopK autoencoder (transcoder, skip
            connection, GroupMax, signed features), or files and settings do not fit each other.
    """
    config = read_json(folder / CONFIG)
    if strange := set(config) - {*_READ, *_TRAINING, *_NEEDED}:
        raise DictionaryError(f"{CONFIG} has options that are not known here: {', '.join(sorted(strange))}")
    for key, needed in _NEEDED.items():
        if config.get(key, needed) != needed:
            raise DictionaryError(f"{CONFIG} says {key} = {config[key]!r}; only autoencoders with {key} = {needed!r}")
    d_in, k = (setting(config, key, int, CONFIG) for key in ("d_in", "k"))
    if config.get("num_latents"):  # 0 where the number is that of the inputs times a factor
        d_sae = setting(config, "num_latents", int, CONFIG)
    else:
        d_sae = d_in * setting(config, "expansion_factor", int, CONFIG)
    weights = pick(read_safetensors(folder / WEIGHTS), _NAMES, (), WEIGHTS)
    weights["W_enc"] = weights["W_enc"].T.contiguous()
    run_config = folder.absolute().parent / RUN_CONFIG
    hook = folder.absolute().name if _HOOK_POINT.fullmatch(folder.absolute().name) else ""
    return Dictionary(
        Info(
            d_in,
            d_sae,
            architecture="topk",
            settings={"k": k},
            apply_b_dec_to_input=True,
            model=setting(read_json(run_config), "model", str, RUN_CONFIG, "") if run_config.is_file() else "",
            hook=hook,
            layer=layer_name(hook),
            name="sparsify-topk",
        ),
        weights,
    )
