"""Dictionaries for SAELens: at one position exactly, for all positions on average, or with their positions."""

from __future__ import annotations

from numbers import Integral
from pathlib import Path
from typing import Literal

from torch import Tensor

from lens.activations.hooks import hook_name
from lens.activations.store import write_json
from lens.dictionaries.dictionary import Dictionary, Info
from lens.dictionaries.formats.files import TEMPORALLENS
from lens.dictionaries.formats.saelens import CONFIG, RULES, WEIGHTS
from lens.errors import DictionaryError
from lens.files import write_tensors

VERSION = "6.54.12"  # of the format; without it SAELens takes the folder for one from before version 6
NAMES = {ours: theirs for theirs, ours in RULES.items()}


def export_saelens(sae: Dictionary, folder: str | Path, position: int | Literal["mean"] | None) -> None:
    """Write a folder that `sae_lens.SAE.load_from_disk` opens; inputs and reconstructions are raw activations.

    At one position the mask is a constant m > 0 and ReLU(u) m = ReLU(u m), so that the dictionary there is a standard
    one: W_enc s m, b_enc m, W_dec / s, b_dec / s, with s = `input_scale`. Features keep their values. What inputs are
    centred on goes into the biases.

    Args:
        position: index t in the window, 0 = BOS: exact for vectors at position t. `mean`: with the mask averaged over
            the text positions 1..T-1, an approximation. None: with all masks, exact everywhere; SAELens opens it once
            `lens.dictionaries.saelens_architecture` is imported. `exact` and `mask` in the metadata say which it was. A
            dictionary without masks is exported exactly, whatever the position.

    Raises:
        DictionaryError: the dictionary has no such position, or SAELens has no architecture like it.
    """
    info, weights = sae.on_disk()
    if isinstance(position, Integral) and not isinstance(position, bool):  # numpy's, too
        position = int(position)
    if info.architecture not in NAMES or info.position not in ("none", "mask"):
        raise DictionaryError(
            f"SAELens has no architecture like {info.architecture} with position term {info.position}; it has "
            f"{', '.join(NAMES)}, and ours with masks"
        )
    weights = dict(Dictionary(info, {n: v.float() for n, v in weights.items()}).uncentred().weights())
    weights = {name: value.detach() for name, value in weights.items()}
    if info.position == "mask" and position is None:
        if info.architecture != "relu":
            raise DictionaryError(f"masks on {info.architecture} have no architecture in SAELens: export one position")
        own = {"n_positions": info.n_positions, "tau": info.settings["tau_end"], "input_scale": info.input_scale}
    else:
        own = {"k": info.settings["k"]} if "k" in info.settings else {}
        weights = _folded(info, weights, position)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).unlink(missing_ok=True)  # the folder is no dictionary until its last file is written
    write_tensors(folder / WEIGHTS, weights)
    write_json(
        folder / CONFIG,
        {
            "architecture": TEMPORALLENS if "tau" in own else NAMES[info.architecture],
            "d_in": info.d_in,
            "d_sae": info.d_sae,
            "dtype": "float32",
            "device": "cpu",
            "apply_b_dec_to_input": info.apply_b_dec_to_input,
            "normalize_activations": info.normalisation,
            "reshape_activations": "none",
            **own,
            "metadata": _metadata(info, position),
        },
    )


def _folded(info: Info, weights: dict[str, Tensor], position: int | str | None) -> dict[str, Tensor]:
    """Weights for raw activations, with the mask [d_sae] of a position or its mean."""
    T, s = info.n_positions, info.input_scale
    if T is not None:
        if position == "mean" and T < 2:
            raise DictionaryError(f"no mean over text positions 1..T-1: this dictionary has T = {T}; export position 0")
        if position not in (None, "mean") and (type(position) is not int or not 0 <= position < T):
            raise DictionaryError(
                f"position {position!r} asked, this dictionary has 0..{T - 1}; or export 'mean', or None"
            )
    m = 1.0
    if (masks := Dictionary(info, weights).position_term.values()) is not None:
        masks = masks.detach()
        m = masks[position] if isinstance(position, int) else masks[1:].mean(0)
        weights = {name: value for name, value in weights.items() if name != "pos_logits"}
    in_units = {n: v * m for n, v in weights.items() if n in ("b_enc", "threshold", "b_gate", "b_mag")}
    return {
        **weights,
        **in_units,
        "W_enc": weights["W_enc"] * (s * m),
        "W_dec": weights["W_dec"] / s,
        "b_dec": weights["b_dec"] / s,
    }


def _metadata(info: Info, position: int | str | None) -> dict:
    masked, last = info.position == "mask", (info.n_positions or 0) - 1
    mask = {None: f"at each of positions 0..{last}", "mean": f"mean of positions 1..{last}"}
    return {
        "sae_lens_version": VERSION,
        "sae_lens_training_version": None,
        "model_name": info.model or None,
        "hook_name": info.hook or hook_name(info.layer) or None,
        "context_size": info.n_positions,
        "prepend_bos": info.bos,
        "exact": position != "mean" or not masked,
        "mask": mask.get(position, f"at position {position}") if masked else "none",
        "origin": {"model": info.model, "layer": info.layer, "variant": info.name, "seed": info.seed},
    }
