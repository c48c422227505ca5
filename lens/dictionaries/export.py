"""Dictionaries for SAELens: at one position exactly, for all positions on average, or with their positions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from safetensors.torch import save_file
from torch import Tensor

from lens.activations.hooks import hook_name
from lens.activations.store import write_json
from lens.dictionaries.formats.files import TEMPORALLENS
from lens.dictionaries.formats.saelens import CONFIG, WEIGHTS
from lens.dictionaries.model import SAE, SAEConfig, position_mask
from lens.errors import DictionaryError

VERSION = "6.54.12"  # of the format; without it SAELens takes the folder for one from before version 6


def export_saelens(sae: SAE, folder: str | Path, position: int | Literal["mean"] | None) -> None:
    """Write a folder that `sae_lens.SAE.load_from_disk` opens; inputs and reconstructions are raw activations.

    At one position the mask is a constant m > 0 and ReLU(u) m = ReLU(u m), so that the dictionary there is a standard
    one: W_enc s m, b_enc m, W_dec / s, b_dec / s, with s = `input_scale`. Features keep their values.

    Args:
        position: index t in the window, 0 = BOS: exact for vectors at position t. `mean`: with the mask averaged over
            the text positions 1..T-1, an approximation. None: with all masks, exact everywhere; SAELens opens it once
            `lens.dictionaries.saelens_architecture` is imported. `exact` and `mask` in the metadata say which it was. A
            dictionary without masks is exported exactly, as a standard one, whatever the position.

    Raises:
        DictionaryError: the dictionary has no such position, or is not an `SAE`.
    """
    if not isinstance(sae, SAE):
        raise DictionaryError(f"a {type(sae).__name__} to export: only an SAE of this package is; copy its own folder")
    config, weights = sae.config, {k: v.detach().float().cpu().contiguous() for k, v in sae.state_dict().items()}
    own = {}
    if config.masked and position is None:
        own = {"n_positions": config.n_positions, "tau": config.tau, "input_scale": config.input_scale}
    else:
        weights = _folded(config, weights, position)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).unlink(missing_ok=True)  # the folder is no dictionary until its last file is written
    temporary = folder / f".{WEIGHTS}.tmp"
    save_file(weights, temporary)
    os.replace(temporary, folder / WEIGHTS)
    write_json(
        folder / CONFIG,
        {
            "architecture": TEMPORALLENS if own else "standard",
            "d_in": config.d_in,
            "d_sae": config.d_sae,
            "dtype": "float32",
            "device": "cpu",
            "apply_b_dec_to_input": False,
            "normalize_activations": "none",
            "reshape_activations": "none",
            **own,
            "metadata": _metadata(config, position),
        },
    )


def _folded(config: SAEConfig, weights: dict[str, Tensor], position: int | str | None) -> dict[str, Tensor]:
    """Weights of a standard dictionary of raw activations, with the mask [d_sae] of a position or its mean."""
    T, s = config.n_positions, config.input_scale
    if position == "mean" and T < 2:
        raise DictionaryError(f"no mean over text positions 1..T-1: this dictionary has T = {T}; export position 0")
    if position not in (None, "mean") and (type(position) is not int or not 0 <= position < T):
        raise DictionaryError(f"position {position!r} asked, this dictionary has 0..{T - 1}; or export 'mean', or None")
    m = 1.0
    if config.masked:
        masks = position_mask(weights["pos_logits"], config.tau)
        m = masks[1:].mean(0) if position == "mean" else masks[position]
    return {
        "W_enc": weights["W_enc"] * (s * m),
        "b_enc": weights["b_enc"] * m,
        "W_dec": weights["W_dec"] / s,
        "b_dec": weights["b_dec"] / s,
    }


def _metadata(config: SAEConfig, position: int | str | None) -> dict:
    last = config.n_positions - 1
    mask = {None: f"at each of positions 0..{last}", "mean": f"mean of positions 1..{last}"}
    return {
        "sae_lens_version": VERSION,
        "sae_lens_training_version": None,
        "model_name": config.model or None,
        "hook_name": hook_name(config.layer) or None,
        "context_size": config.n_positions,
        "prepend_bos": True,
        "exact": position != "mean" or not config.masked,
        "mask": mask.get(position, f"at position {position}") if config.masked else "none",
        "origin": {"model": config.model, "layer": config.layer, "variant": config.variant, "seed": config.seed},
    }
