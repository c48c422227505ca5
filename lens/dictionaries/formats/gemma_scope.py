"""Gemma Scope: `params.npz` of a JumpReLU dictionary (Lieberum et al. 2024, arXiv 2408.05147)."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from lens.dictionaries.dictionary import Dictionary, Info
from lens.dictionaries.encoder import Encoder
from lens.dictionaries.formats.files import check_names, check_unpacked, pick, sizes
from lens.errors import DictionaryError

WEIGHTS = "params.npz"
_NAMES = ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")
_RELEASE = re.compile(r"gemma-scope-(\d+b)-(pt|it)-(\w+)")  # google/gemma-scope-2b-pt-res
_HOOKS = {"res": "blocks.{}.hook_resid_post", "mlp": "blocks.{}.hook_mlp_out", "att": "blocks.{}.attn.hook_z"}
_TRANSCODERS = "transcoders"  # a site, too; they read what the norm before the MLP makes, without its gain
_HOOKS[_TRANSCODERS] = "blocks.{}.ln2.hook_normalized"


def read(path: Path) -> Dictionary:
    """Read `params.npz`, or the folder that holds it.

    The file says nothing about the model: model, hook and layer are those of the folders it lies in, such as
    `gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82`, and empty without these.

    Raises:
        DictionaryError: the file is not an archive of plain arrays, they are not those of a JumpReLU dictionary or do
            not fit each other, or the folders are those of the embedding or of a site that is not known.
    """
    file = path / WEIGHTS if path.is_dir() else path
    try:
        check_unpacked(file)
        with np.load(file, allow_pickle=False) as archive:
            check_names(archive.files, _NAMES, (), file.name)
            weights = {name: torch.from_numpy(np.asarray(archive[name])) for name in _NAMES}
    except DictionaryError:
        raise
    except Exception as error:  # bytes that are no archive make its reader fail in any way
        raise DictionaryError(f"{file.name} is not an archive of plain arrays: {error}; get it again") from None
    weights = pick(weights, {name: name for name in _NAMES}, (), file.name)
    d_in, d_sae = sizes(weights)
    model, hook, layer, site = _place(file.absolute().parent)
    info = Info(d_in, d_sae, architecture="jumprelu", model=model, hook=hook, layer=layer, name="gemma_scope-jumprelu")
    if site == _TRANSCODERS:
        info = replace(info, layer="", name="gemma_scope-transcoder")
        return Encoder(info, {name: weights[name] for name in ("W_enc", "b_enc", "threshold")})
    return Dictionary(info, weights)


def _place(folder: Path) -> tuple[str, str, str, str]:
    """Model, hook, layer and site, each empty where the names of the folders do not say; the innermost counts."""
    names = folder.parts[::-1]
    layer = next((name.removeprefix("layer_") for name in names if re.fullmatch(r"layer_\d+", name)), "")
    release = next((found for name in names if (found := _RELEASE.search(name))), None)
    if release is None:
        return "", "", layer, ""
    size, tuned, site = release.groups()
    if "embedding" in names or site not in _HOOKS:
        what = "embedding" if "embedding" in names else site
        raise DictionaryError(
            f"{release[0]} ({what}) is not known, or in other units; known are the sites {', '.join(_HOOKS)} at a layer"
        )
    model = f"google/gemma-2-{size}{'-it' if tuned == 'it' else ''}"
    return model, _HOOKS[site].format(layer) if layer else "", layer, site
