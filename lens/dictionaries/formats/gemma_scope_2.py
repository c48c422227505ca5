"""Gemma Scope 2: `params.safetensors` of a JumpReLU dictionary of Gemma 3, with `config.json` in most releases."""

from __future__ import annotations

import re
from pathlib import Path

from lens.activations.hooks import layer_name
from lens.dictionaries.dictionary import Dictionary, Info
from lens.dictionaries.encoder import Encoder
from lens.dictionaries.formats.files import pick, read_json, read_safetensors, setting, sizes
from lens.errors import DictionaryError

CONFIG, WEIGHTS = "config.json", "params.safetensors"
_NAMES = {"W_enc": "w_enc", "W_dec": "w_dec", "b_enc": "b_enc", "b_dec": "b_dec", "threshold": "threshold"}
_RELEASE = re.compile(r"gemma-scope-2-\w+-(?:pt|it)")  # google/gemma-scope-2-270m-pt
_FOLDER = re.compile(r"layer_(\d+)_width_\w+")  # resid_post/layer_12_width_16k_l0_small
_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)")
_SKIP = "affine_skip_connection"
_TRANSCODER = "pre_feedforward_layernorm.output", "blocks.{}.mlp.hook_in"  # with the gain of the norm
_SITES = {  # folder of a site -> the place in a block, as a configuration says it; hook
    "resid_post": ("output", "blocks.{}.hook_resid_post"),
    "mlp_out": ("post_feedforward_layernorm.output", "blocks.{}.hook_mlp_out"),
    "attn_out": ("self_attn.o_proj.input", "blocks.{}.attn.hook_z"),
}


def read(folder: Path) -> Dictionary:
    """Read a folder; where it has no `config.json`, model and hook are those of the names of the folders around it.

    Of a transcoder, which reads something else than it writes, the encoder alone is read.

    Raises:
        DictionaryError: weights and configuration do not fit each other, or it reads at a place that is not known, or
            writes elsewhere and is no transcoder.
    """
    config = read_json(folder / CONFIG) if (folder / CONFIG).is_file() else _config(folder.absolute())
    if (architecture := setting(config, "architecture", str, CONFIG, "jump_relu")) != "jump_relu":
        raise DictionaryError(f"{CONFIG} says architecture {architecture!r}; known is jump_relu")
    hook, transcoder = _hook(config)
    weights = read_safetensors(folder / WEIGHTS)
    weights = pick(weights, _NAMES, (_SKIP,) if transcoder else (), WEIGHTS)
    d_in, d_sae = sizes(weights)
    info = Info(
        d_in,
        setting(config, "width", int, CONFIG, d_sae),
        architecture="jumprelu",
        model=_model(setting(config, "model_name", str, CONFIG, "")),
        hook=hook,
        layer=layer_name(hook),
        name="gemma_scope_2-transcoder" if transcoder else "gemma_scope_2-jumprelu",
    )
    if transcoder:
        dictionary = Encoder(info, {name: weights[name] for name in ("W_enc", "b_enc", "threshold")})
    else:
        dictionary = Dictionary(info, weights)
    dictionary.stated_l0 = setting(config, "l0", int, CONFIG, None)
    return dictionary


def _config(folder: Path) -> dict:
    """What `config.json` would say, of the names of folders; nothing where they do not."""
    release = next((found[0] for name in folder.parts[::-1] if (found := _RELEASE.search(name))), "")
    config = {"model_name": release.replace("gemma-scope-2", "gemma-3")}
    layer, site = _FOLDER.match(folder.name), folder.parent.name.removesuffix("_all")
    if not layer:
        return config
    place = _TRANSCODER[0] if site == "transcoder" else _SITES[site][0] if site in _SITES else site
    return (
        config
        | {"hf_hook_point_in": f"model.layers.{layer[1]}.{place}"}
        | ({"type": site} if site == "transcoder" else {})
    )


def _model(name: str) -> str:
    """As the hub names it: the configurations say v3 for 3, and that one model is pretrained."""
    name = name.replace("-v3", "-3").replace("270m-pt", "270m")
    return f"google/{name}" if name and "/" not in name else name


def _hook(config: dict) -> tuple[str, bool]:
    """The hook that is read, and whether it is a transcoder's."""
    reads, kind = (setting(config, key, str, CONFIG, "") for key in ("hf_hook_point_in", "type"))
    writes = setting(config, "hf_hook_point_out", str, CONFIG, reads)
    found = _LAYER.fullmatch(reads)
    if found and found[2] == _TRANSCODER[0] and kind == "transcoder":
        return _TRANSCODER[1].format(found[1]), True
    if writes != reads or setting(config, "affine_connection", bool, CONFIG, False) or kind not in ("", "sae"):
        raise DictionaryError(
            f"{CONFIG} says type {kind!r}, hf_hook_point_in {reads!r} and hf_hook_point_out {writes!r}: it reads "
            "something else than it writes, and is no transcoder of one MLP"
        )
    hook = next((hook for place, hook in _SITES.values() if found and found[2] == place), None)
    if reads and hook is None:
        raise DictionaryError(
            f"hf_hook_point_in is {reads!r}, which is not known; known are the sites {', '.join(_SITES)} and transcoder"
        )
    return hook.format(found[1]) if found and hook else "", False
