"""Qwen-Scope: a file `layer<l>.sae.pt` for each layer, of a TopK dictionary of the residual stream."""

from __future__ import annotations

import re
from pathlib import Path

from lens.dictionaries.dictionary import Dictionary, Info
from lens.dictionaries.formats.files import pick, read_state_dict, sizes
from lens.errors import DictionaryError

FILES = "layer*.sae.pt"
_RELEASE = re.compile(r"SAE-Res-(Qwen[\w.-]+)-W\d+K-L0_([1-9]\d*)")  # Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_50
_LAYER = re.compile(r"layer(\d+)\.sae\.pt")
_NAMES = {name: name for name in ("W_enc", "W_dec", "b_enc", "b_dec")}


def read(path: Path) -> Dictionary:
    """Read a file; model and k are in the name of its release alone, which is that of a folder around it.

    Raises:
        DictionaryError: its name has no layer, no folder is named as a release, or it is not plain tensors that fit
            each other.
    """
    names = path.absolute().parent.parts[::-1]
    layer = _LAYER.fullmatch(path.name)
    release = next((found for name in names if (found := _RELEASE.search(name))), None)
    if layer is None or release is None:
        raise DictionaryError(
            f"{path.name} does not say which layer it is of, or how many features a vector has: the file has to be "
            "called layer<l>.sae.pt, and a folder around it as the release, such as SAE-Res-Qwen3-1.7B-Base-W32K-L0_50"
        )
    weights = pick(read_state_dict(path), _NAMES, (), path.name)
    weights |= {name: weights[name].T.contiguous() for name in ("W_enc", "W_dec")}
    info = Info(
        *sizes(weights),
        architecture="topk",
        settings={"k": int(release[2])},
        model=f"Qwen/{release[1]}",
        hook=f"model.layers.{layer[1]}",
        layer=layer[1],
        name="qwen_scope-topk",
    )
    return Dictionary(info, weights)
