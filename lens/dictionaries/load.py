"""Open a dictionary, whoever trained it, from a folder or from the hub."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lens.dictionaries.dictionary import Dictionary
from lens.dictionaries.formats import (
    circuit_tracer,
    dictionary_learning,
    gemma_scope,
    gemma_scope_2,
    goodfire,
    llama_scope,
    qwen_scope,
    saelens,
    sparsify,
    tfa,
)
from lens.dictionaries.formats.files import l0_in_name, read_json
from lens.dictionaries.hub import fetch
from lens.dictionaries.wrapped import Wrapped
from lens.errors import DictionaryError


@dataclass(frozen=True)
class _Format:
    weights: str
    """the file that tells the format; a pattern"""
    name: str
    read: Callable[..., Dictionary]
    beside: tuple[str, ...] = ()
    """files that are read beside it"""
    alone: str = ""
    """which files are read by themselves, whatever lies beside them; a pattern"""


def _read_sae_safetensors(folder: Path, trust: bool = False) -> Dictionary:
    """Two libraries share these file names; most settings of each are its own, and one of them may be lost."""
    ours = len({"n_positions", "d_sae", "input_scale", "layer"}.intersection(read_json(folder / "cfg.json"))) > 1
    return Dictionary.load(folder, trust=trust) if ours else sparsify.read(folder)


def _read_sae_weights(folder: Path, norm_scaling_factor: float | None = None) -> Dictionary:
    """Two libraries share this file name, too, and have configurations of different names."""
    if (folder / saelens.CONFIG).is_file() or not (folder / llama_scope.CONFIG_R1).is_file():
        return saelens.read(folder, norm_scaling_factor)
    if norm_scaling_factor is not None:
        raise DictionaryError("norm_scaling_factor is an option of SAELens, this is from Llama Scope")
    return llama_scope.read_r1(folder)


SHOWN = 8  # names in a message
FORMATS = (
    _Format("sae.safetensors", "this package, sparsify", _read_sae_safetensors, ("cfg.json",)),
    _Format(
        "sae_weights.safetensors",
        "SAELens, Llama Scope R1",
        _read_sae_weights,
        (saelens.CONFIG, saelens.SCALER, llama_scope.CONFIG_R1),
    ),
    _Format(llama_scope.WEIGHTS, "Llama Scope", llama_scope.read, (llama_scope.CONFIG,)),
    _Format("ae.pt", "dictionary_learning", dictionary_learning.read, (dictionary_learning.CONFIG,)),
    _Format("params.npz", "Gemma Scope", gemma_scope.read, alone="*.npz"),
    _Format("params.safetensors", "Gemma Scope 2", gemma_scope_2.read, (gemma_scope_2.CONFIG,)),
    _Format(tfa.WEIGHTS, "temporal feature analysis", tfa.read, (tfa.CONFIG,)),
    _Format(qwen_scope.FILES, "Qwen-Scope", qwen_scope.read, alone=qwen_scope.FILES),
    _Format(
        circuit_tracer.TRANSCODERS,
        "circuit-tracer",
        circuit_tracer.read,
        (circuit_tracer.CONFIG,),
        circuit_tracer.TRANSCODERS,
    ),
    _Format(
        circuit_tracer.CROSS_LAYER,
        "circuit-tracer, cross-layer",
        circuit_tracer.read,
        (circuit_tracer.CONFIG,),
        circuit_tracer.CROSS_LAYER,
    ),
    _Format(goodfire.FILES, "Goodfire", goodfire.read, alone=goodfire.FILES),
)
# One of many files in a repository is asked for by its name, or all would be fetched.
FETCHED = tuple(dict.fromkeys(name for f in FORMATS for name in (f.weights, *f.beside) if "*" not in name))


def load(
    source: str | Path, *, revision: str | None = None, norm_scaling_factor: float | None = None, trust: bool = False
) -> Dictionary:
    """A dictionary in any known format, in fp32 on the CPU.

    Known formats are our own, SAELens, Gemma Scope (1 and 2), Qwen-Scope, Llama Scope, Goodfire, dictionary_learning,
    sparsify, temporal feature analysis and circuit-tracer; what each holds is in `lens.dictionaries.formats`. Of
    transcoders, which read something else than they write, the encoder alone is read (`lens.dictionaries.encoder`).
    Nothing that a file says is run, unless you trust it.
    `lens.dictionaries.compatible.check_fits` compares the dictionary with a language model and layer.

    Args:
        source: folder, or a file of a format that has one file; or `repo_id` or `repo_id:folder`
            (`repo_id:file`) on the hub.
        revision: branch, tag or commit on the hub.
        norm_scaling_factor: the number that inputs were multiplied by in training, for a SAELens dictionary with
            `expected_average_only_in` whose folder does not say.
        trust: let an architecture or position term of somebody's own run that a dictionary of our format names.

    Raises:
        ValueError: it cannot be fetched, its format is not known, or it is incomplete, altered, broken or of a kind
            that is not known. The message names it and what to do.
    """
    path = fetch(source, revision, FETCHED)
    found, place = _format(path)
    options: dict[str, object] = {"trust": trust} if found.read is _read_sae_safetensors else {}
    if norm_scaling_factor is not None:
        if found.read is not _read_sae_weights:
            raise DictionaryError(f"{path}: norm_scaling_factor is an option of SAELens, this is from {found.name}")
        options["norm_scaling_factor"] = norm_scaling_factor
    try:
        opened = found.read(place, **options)
        _check_finite(opened)
    except DictionaryError as error:
        raise DictionaryError(str(error) if str(path) in str(error) else f"{path}: {error}") from None
    opened = opened.float()
    opened.stated_l0 = opened.stated_l0 or l0_in_name(reversed(path.absolute().parts))
    _warn_of_weights(opened, path)
    return opened


def _check_finite(sae: Dictionary) -> None:
    for name, value in (sae.state_dict() if isinstance(sae, Wrapped) else sae.weights()).items():
        if bad := value.numel() - int(value.isfinite().sum()):
            raise DictionaryError(
                f"{name} holds NaN or infinity in {bad} of {value.numel()} places: it was saved broken, or in a "
                "precision that is too small for it; get another copy of it"
            )


def _warn_of_weights(sae: Dictionary, path: Path) -> None:
    """What is odd in finite weights, whatever the format; it is computed as written."""
    if isinstance(sae, Wrapped):
        return
    if sae.reconstructs and (empty := int((sae.W_dec == 0).all(-1).sum())):
        warnings.warn(
            f"{path}: {empty} of {sae.info.d_sae} decoder rows are zero: these features are counted where they fire, "
            "and write nothing",
            stacklevel=3,
        )
    threshold = sae.weights().get("threshold")
    if threshold is not None and (threshold < 0).all():
        k = "" if sae.stated_l0 is None else f", and not only the {sae.stated_l0} per vector that it states"
        warnings.warn(
            f"{path}: every threshold is below 0 (the largest {threshold.max().item():.3g}), so that all positive "
            f"features are kept{k}: training was too short to learn one, or the file holds logarithms of thresholds",
            stacklevel=3,
        )


def _format(path: Path) -> tuple[_Format, Path]:
    """The format of what a path is, and what its `read` takes."""
    if path.is_file():
        if single := next((f for f in FORMATS if f.alone and path.match(f.alone)), None):
            return single, path
        raise DictionaryError(f"{path} is a file: give the folder it lies in")
    found = [(f, file) for f in FORMATS for file in sorted(path.glob(f.weights))]
    if len(found) == 1:
        [(single, file)] = found
        return single, file if single.alone else path
    known = ", ".join(f"{f.weights} ({f.name})" for f in FORMATS)
    if found:
        choose = ", or give one of these files" if all(f.alone for f, _ in found) else ""
        files = " and ".join(str(file.relative_to(path)) for _, file in found[:SHOWN])
        raise DictionaryError(f"{path} holds {files}: keep one dictionary a folder{choose} ({known})")
    below = {
        file.parents[f.weights.count("/")]
        for f in FORMATS
        for depth in ("*", "*/*", "*/*/*")
        for file in path.glob(f"{depth}/{f.weights}")
    }
    inside = sorted(f for f in below if "pool" not in f.relative_to(path).parts)  # `fit` shows elsewhere what is there
    advice = f"; these folders in it do: {', '.join(map(str, inside[:SHOWN]))}" if inside else ""
    names = sorted(p.name for p in path.iterdir())
    held = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "") or "nothing"
    raise DictionaryError(f"{path} holds {held}; a dictionary has one of {known}{advice}")
