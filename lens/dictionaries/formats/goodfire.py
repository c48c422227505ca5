"""Files `<model>-SAE-l<layer>.pt` (or `.pth`) of a ReLU dictionary of the residual stream: Goodfire, qresearch."""

from __future__ import annotations

import re
from pathlib import Path

from lens.dictionaries.dictionary import Dictionary, Info
from lens.dictionaries.formats.files import pick, read_state_dict, sizes
from lens.errors import DictionaryError

FILES = "*-SAE-l*.pt*"
_FILE = re.compile(r"(.+)-SAE-l(\d+)\.pth?")  # Llama-3.1-8B-Instruct-SAE-l19.pth
_NAMES = {"W_enc": "encoder.weight", "b_enc": "encoder.bias", "W_dec": "decoder.weight", "b_dec": "decoder.bias"}


def read(path: Path) -> Dictionary:
    """Read a file, whose name says the model and the layer.

    Raises:
        DictionaryError: its name does not say that, or it is not plain tensors that fit each other.
    """
    if (named := _FILE.fullmatch(path.name)) is None:
        raise DictionaryError(f"{path.name} does not say model and layer: it has to be called <model>-SAE-l<layer>.pt")
    state = {name.replace("coder_linear.", "coder."): value for name, value in read_state_dict(path).items()}
    weights = pick(state, _NAMES, (), path.name)
    weights |= {name: weights[name].T.contiguous() for name in ("W_enc", "W_dec")}
    model, layer = named.groups()
    d_in, d_sae = sizes(weights)
    hook = f"blocks.{layer}.hook_resid_post"
    return Dictionary(Info(d_in, d_sae, model=model, hook=hook, layer=layer, name="goodfire-relu"), weights)
