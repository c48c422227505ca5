"""A sparse dictionary of the residual stream: ours (eqs. 3 and 4) and those that others trained, in one class."""

from __future__ import annotations

import copy
import dataclasses
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from lens.activations.statistics import PositionMoments
from lens.dictionaries import blocks, by_name, parts
from lens.dictionaries.codes import Codes
from lens.dictionaries.folder import Stored, read, write
from lens.dictionaries.info import Info, split
from lens.errors import DictionaryError

CENTRE = "input_centre"  # among the weights, where inputs are centred
LAYER_NORM_EPS = 1e-5  # added to the standard deviation, on the way in only, as SAELens does


class PositionError(ValueError):
    """A position is missing, or outside the positions that the dictionary was trained on."""


class Dictionary(nn.Module):
    """Sparse autoencoder: W_enc [d_in, d_sae], W_dec [d_sae, d_in], b_dec [d_in], and two parts with their parameters.

    `architecture` selects features from u = x W_enc, `position_term` says what position does to them. Inputs are raw
    residual-stream activations; `info.input_scale` is applied inside.

    With a normalisation, decoding needs the norm, or the mean and deviation, of each encoded vector. They are those of
    the batch that was encoded last, as in SAELens: decode the features of one batch before encoding the next.

    Args:
        weights: by name; which ones depends on the parts. They are not copied. With `input_centre` [d_in], inputs are
            taken from it before they are scaled, and it is added to reconstructions; it is not trained.

    Raises:
        DictionaryError: an unknown part or setting, sizes or a scale that no dictionary has, or weights that are not
            those of the parts or have other shapes than `info` says.
    """

    reconstructs: ClassVar[bool] = True
    """whether it writes what it reads; see `lens.dictionaries.encoder` for what doesn't"""
    input_centre: Tensor | None
    predicted: Tensor | None = None
    """what an architecture predicted from earlier vectors of those that were encoded last, scaled; None: it does not"""
    stated_l0: int | None = None
    """features per vector that its configuration or the name of its folder states; None: nothing says"""

    def __init__(self, info: Info, weights: Mapping[str, Tensor]):
        super().__init__()
        _check_shapes(info, weights)
        self.architecture, self.position_term = _parts(info)
        settings = asdict(self.architecture.settings) | asdict(self.position_term.settings)
        self.info = dataclasses.replace(info, settings=settings)
        self.W_enc, self.W_dec, self.b_dec = (nn.Parameter(weights[name]) for name in ("W_enc", "W_dec", "b_dec"))
        for part in (self.architecture, self.position_term):
            for name, parameter in list(part.named_parameters()):
                owner, _, own = name.rpartition(".")
                new = nn.Parameter(weights[name], requires_grad=parameter.requires_grad)
                setattr(part.get_submodule(owner), own, new)
        self.register_buffer(CENTRE, weights.get(CENTRE))
        self._undo: tuple[Tensor, Tensor] | None = None
        self.stated_l0 = getattr(self.architecture.settings, "k", None)
        self.eval()
        self.check_codes()

    @classmethod
    def initialise(cls, info: Info, mean: Tensor, seed: int, centre: Tensor | None = None) -> Dictionary:
        """Random unit decoder rows (of a free decoder: of any norm), encoder their transpose, b_dec the mean of the
        scaled inputs [d_in].

        Of centred inputs, `centre` [d_in] is what is taken from them, in the units of the activations.

        What the parts draw comes last, so that runs with and without masks share all other weights.
        """
        generator = torch.Generator().manual_seed(seed)
        architecture, position_term = _parts(info)
        copies = position_term.copies
        width = architecture.span * info.d_in
        W_dec = torch.randn(info.d_sae // copies, width, generator=generator).repeat_interleave(copies, dim=0)
        if not architecture.free_decoder:
            W_dec /= torch.linalg.vector_norm(W_dec, dim=-1, keepdim=True)
        b_dec = mean.float().repeat(architecture.span)
        weights = {"W_enc": W_dec.T.contiguous(), "W_dec": W_dec, "b_dec": b_dec}
        for part in (architecture, position_term):
            part.initialise(generator)
            weights |= {name: p.detach() for name, p in part.named_parameters()}
        return cls(info, weights if centre is None else weights | {CENTRE: centre.float().clone()})

    @torch.no_grad()
    def prepare(self, moments: Callable[[], PositionMoments]) -> None:
        """Let the position term take in moments of the scaled training windows, see `PositionTerm.prepare`.

        Where it acts on the input, b_dec becomes the mean over text positions of what is left of the input.
        """
        self.position_term.prepare(moments)
        if self.position_term.on_input and (values := self.position_term.values()) is not None:
            mean = moments().mean.to(self.b_dec.device)
            self.b_dec.copy_(self.position_term.of_input(mean, values)[1:].mean(0))

    def _code(self) -> dict[str, str]:
        """Digest of the file of each part that is somebody's own."""
        kinds = {"architecture": type(self.architecture), "position": type(self.position_term)}
        return {part: by_name.code_digest(kind) for part, kind in kinds.items() if by_name.is_own(parts.name_of(kind))}

    def check_codes(self) -> None:
        """Raise DictionaryError unless an architecture of one's own answers codes, in its present mode."""
        if by_name.is_own(self.info.architecture):
            u = torch.zeros(2, 3, self.info.d_sae, dtype=self.W_enc.dtype, device=self.W_enc.device)
            parts.check_codes(self.architecture, u)

    @property
    def directions(self) -> Tensor:
        """What each feature writes [d_sae, d_in]; where vectors share a code, the mean over their places."""
        return self.W_dec.unflatten(1, (-1, self.info.d_in)).mean(1)

    @property
    def linear(self) -> bool:
        """Whether features are decided by scores x W_enc of their own vector, so that a score can be taken apart."""
        return not self.architecture.of_windows

    def weights(self) -> dict[str, nn.Parameter]:
        """Parameters by the names under which they are saved: encoder, decoder, position term."""
        own = dict(self.architecture.named_parameters())
        return {
            "W_enc": self.W_enc,
            **own,
            "W_dec": self.W_dec,
            "b_dec": self.b_dec,
            **dict(self.position_term.named_parameters()),
        }

    def __repr__(self) -> str:
        i = self.info
        term = "" if i.n_positions is None else f" with {i.position} at positions 0..{i.n_positions - 1}"
        place = f"layer {i.layer}" if i.layer else i.hook or "a layer that it does not name"
        return (
            f"{type(self).__name__} {i.name or '(unnamed)'}: {i.d_sae} features of {i.d_in} dimensions, "
            f"{i.architecture}{term}; {place} of {i.model or 'a model that it does not name'}, seed {i.seed}"
        )

    def encode(self, x: Tensor, positions: Tensor | None = None, *, clamp: bool = False) -> Codes:
        """Eq. 3: features of raw activations, [..., d_in] -> codes [..., d_sae].

        Args:
            x: whole windows [B, T, d_in], first vector at position 0; or vectors [..., d_in] of any shape together
                with their `positions` [...]. Without positions in the dictionary, any shape.
            positions: index of each vector in its window, 0 = BOS.
            clamp: reuse the last position beyond the trained context instead of raising.

        Raises:
            PositionError: positions are needed and not given, or out of range.
            DictionaryError: x has another width.
        """
        if x.shape[-1] != self.info.d_in:
            raise DictionaryError(f"activations of width {x.shape[-1]}, this dictionary reads {self.info.d_in}")
        if self.architecture.of_windows and (x.ndim != 3 or positions is not None):
            raise PositionError(
                f"{self.info.architecture} codes whole windows: pass [B, T, {self.info.d_in}] from position 0 on, and "
                f"no positions; got {tuple(x.shape)}"
            )
        return self.encode_with(x, self._values(x, positions, clamp))

    def _values(self, vectors: Tensor, positions: Tensor | None, clamp: bool) -> Tensor | None:
        """Values of the position term at the positions of vectors [..., d]; None without positions."""
        if (T := self.info.n_positions) is None:
            return None
        if positions is None:
            if vectors.ndim != 3:
                raise PositionError(
                    f"input of shape {tuple(vectors.shape)} has no positions: pass windows "
                    f"[B, T, {vectors.shape[-1]}], or pass positions= with one index per vector"
                )
            positions = torch.arange(vectors.shape[1], device=vectors.device)
        return self.position_term.values(_within(positions, T, clamp))

    def encode_with(self, x: Tensor, values: Tensor | None) -> Codes:
        """`encode`, with these values of the position term [..., d] at the positions of x; None: without it."""
        codes = self.select(self.scores(self.folded(self.scaled(x)), values), values)
        return blocks.spread(codes, self.architecture.span, 0, x.shape[1]) if self.architecture.span > 1 else codes

    def folded(self, x: Tensor, first: int = 0) -> Tensor:
        """Scaled inputs [B, P, d_in] from position `first` on, those that share a code side by side."""
        return blocks.fold(x, self.architecture.span, first) if self.architecture.span > 1 else x

    def scaled(self, x: Tensor) -> Tensor:
        """Raw activations as the encoder sees them: centred, in its units and precision, normalised."""
        x = self.centred(x).to(self.W_enc.dtype)
        if self.info.input_scale != 1:
            x = x * self.info.input_scale
        if self.info.normalisation != "none":
            x, scale, shift = _NORMALISE[self.info.normalisation](x)
            self._undo = scale, shift
        return x

    def centred(self, x: Tensor) -> Tensor:
        """Raw activations less `input_centre`, in the wider precision of both; themselves where there is none."""
        return x if self.input_centre is None else x - self.input_centre

    def scores(self, x: Tensor, values: Tensor | None) -> Tensor:
        """Pre-activations u [..., d_sae] of scaled and folded inputs."""
        return self.scores_of(self.encoder_input(x, values), values)

    def scores_of(self, x_in: Tensor, values: Tensor | None) -> Tensor:
        """Pre-activations u [..., d_sae] of what W_enc multiplies."""
        return x_in @ self.W_enc if values is None else self.position_term.scores(x_in, self.W_enc, values)

    def encoder_input(self, x: Tensor, values: Tensor | None, first: int = 0) -> Tensor:
        """What W_enc multiplies, of scaled and folded inputs; a prediction from earlier vectors is taken off and kept
        for `reconstruct`. Position 0 is no part of it: BOS is alike in all windows, and not trained on."""
        x = x if values is None else self.position_term.of_input(x, values)
        x = x - self.b_dec if self.info.apply_b_dec_to_input else x
        seen = x[..., 1 - first :, :] if self.architecture.of_windows else x
        self.predicted = self.architecture.predict(seen, self.W_enc, self.W_dec)
        if self.predicted is None:
            return x
        if first == 0:
            self.predicted = nn.functional.pad(self.predicted, (0, 0, 1, 0))
        return x - self.predicted

    def select(self, u: Tensor, values: Tensor | None) -> Codes:
        """Codes of pre-activations."""
        return self.gate(self.architecture.select(u), values)

    def gate(self, codes: Codes, values: Tensor | None) -> Codes:
        """Selected codes, as the position term leaves them."""
        return codes if values is None else self.position_term.gate(codes, values)

    def decode(self, codes: Codes | Tensor, positions: Tensor | None = None, *, clamp: bool = False) -> Tensor:
        """x_hat = (f W_dec + b_dec) / input_scale + input_centre, [..., d_sae] -> [..., d_in], in the units of the
        activations.

        Args:
            positions, clamp: as in `encode`; read where a position term acts on the input, which is undone here.

        Raises:
            PositionError: positions are needed and not given, or out of range.
            DictionaryError: the dictionary normalises its inputs, and these are not the features of as many vectors
                as were encoded last.
        """
        features = codes.dense() if isinstance(codes, Codes) else codes
        needed = self.position_term.on_input
        return self.decode_with(features, self._values(features, positions, clamp) if needed else None)

    def decode_with(self, codes: Codes | Tensor, values: Tensor | None) -> Tensor:
        """`decode`, undoing these values of the position term [..., d], with which the codes were made."""
        f = codes.dense() if isinstance(codes, Codes) else codes
        if self.architecture.span > 1:
            x_hat = blocks.decode(f, self.W_dec, self.b_dec, self.architecture.span)
        else:
            x_hat = self.reconstruct(f @ self.W_dec, values)
        if self.info.normalisation != "none":
            x_hat = self._denormalise(x_hat)
        x_hat = x_hat if self.info.input_scale == 1 else x_hat / self.info.input_scale
        return x_hat if self.input_centre is None else x_hat + self.input_centre

    def reconstruct(self, decoded: Tensor, values: Tensor | None) -> Tensor:
        """Reconstruction of scaled inputs (see `scaled`), given f W_dec [..., d_in].

        Raises:
            DictionaryError: a part was predicted from earlier vectors, and these are not as many as were encoded last.
        """
        x_hat = decoded + self.b_dec
        if self.predicted is not None:
            if self.predicted.shape != x_hat.shape:
                raise DictionaryError(
                    f"{tuple(x_hat.shape[:-1])} vectors to decode, {tuple(self.predicted.shape[:-1])} encoded last: "
                    "what was predicted is a part of their reconstructions; encode the same batch first"
                )
            x_hat = x_hat + self.predicted
        if values is None or not self.position_term.on_input:
            return x_hat
        return self.position_term.undo(x_hat, values)

    def _denormalise(self, x_hat: Tensor) -> Tensor:
        shape, encoded = tuple(x_hat.shape[:-1]), None if self._undo is None else tuple(self._undo[0].shape[:-1])
        if self._undo is None or encoded != shape:
            raise DictionaryError(
                f"{shape} vectors to decode, {encoded or 'none'} encoded last: this dictionary "
                f"({self.info.normalisation}) needs the statistics of its inputs; encode the same batch first"
            )
        scale, shift = self._undo
        return x_hat * scale + shift

    def forward(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        """Reconstruction of raw activations."""
        return self.decode(self.encode(x, positions), positions)

    @torch.no_grad()
    def uncentred(self) -> Dictionary:
        """The dictionary that answers the same without an `input_centre`, which its biases take in.

        Raises:
            DictionaryError: more than W_enc lies between the inputs and the pre-activations.
        """
        if self.input_centre is None:
            return self
        term = self.position_term
        if not self.linear or self.info.normalisation != "none" or term.acts_on != "code" or term.on_input:
            raise DictionaryError(
                f"centred inputs cannot be folded into biases with architecture {self.info.architecture}, "
                f"normalisation {self.info.normalisation} and position term {self.info.position}: train with "
                "input_centre none"
            )
        folded, shift = copy.deepcopy(self), self.input_centre * self.info.input_scale
        folded.input_centre = None
        folded.b_dec += shift
        if not self.info.apply_b_dec_to_input:  # there, b_dec has it already
            for name, value in self.architecture.shifted(-shift @ self.W_enc).items():
                folded.weights()[name].copy_(value)
        return folded

    def on_disk(self) -> tuple[Info, dict[str, Tensor]]:
        """What is saved: the architecture may be another one after training than during it."""
        weights: dict[str, Tensor] = {**self.weights()}
        name, settings, own = self.architecture.on_disk()
        for trained, _ in self.architecture.named_parameters():
            del weights[trained]
        info = dataclasses.replace(
            self.info, architecture=name, settings=settings | asdict(self.position_term.settings)
        )
        if self.input_centre is not None:
            own[CENTRE] = self.input_centre
        return info, {name: value.detach().cpu().contiguous() for name, value in (weights | own).items()}

    def save(self, folder: str | Path) -> None:
        """Write `sae.safetensors` and `cfg.json`, which holds digests of the weights, of own code and of itself."""
        info, weights = self.on_disk()
        code = {part: sha256 for part, sha256 in self._code().items() if by_name.is_own(getattr(info, part))}
        write(Path(folder), Stored(info, weights, code))

    @classmethod
    def load(cls, folder: str | Path, *, trust: bool = False) -> Dictionary:
        """Read a dictionary from its folder, also of the layout before there were architectures.

        Args:
            trust: let code of somebody's own that `cfg.json` names run (see `lens.dictionaries.by_name`). For files of
                people whom you trust, and yourself. A warning says if that code has changed since it was saved.

        Raises:
            DictionaryError: a file is missing, truncated, or does not fit the other; the message names it.
        """
        stored = read(Path(folder), trust=trust)
        try:
            opened = cls(stored.info, stored.weights)
        except DictionaryError as error:
            raise DictionaryError(f"{folder}: {error}") from None
        changed = [part for part, sha256 in opened._code().items() if stored.code.get(part, sha256) != sha256]
        if changed:
            named = " and ".join(getattr(stored.info, part) for part in changed)
            warnings.warn(f"{named} changed since {folder} was saved: it may now compute something else", stacklevel=2)
        return opened


def _within(positions: Tensor, T: int, clamp: bool) -> Tensor:
    """Positions in 0..T-1; beyond, the last one if they may be clamped."""
    if positions.numel() and (int(positions.max()) >= T or int(positions.min()) < 0):
        if not clamp or int(positions.min()) < 0:
            raise PositionError(
                f"positions {int(positions.min())}..{int(positions.max())} asked, this dictionary has "
                f"positions 0..{T - 1}; shorten the context, or pass clamp=True to reuse position {T - 1}"
            )
        positions = positions.clamp(max=T - 1)
    return positions


def _parts(info: Info) -> tuple[parts.Architecture, parts.PositionTerm]:
    """The parts that `info` names, not yet with their weights."""
    architecture, position_term = by_name.architecture(info.architecture), by_name.position_term(info.position)
    by_name.check_together(position_term, architecture)
    own = split(info.settings, architecture.Settings, position_term.Settings)
    return architecture(info.d_in, info.d_sae, own[0]), position_term(info.d_in, info.d_sae, info.n_positions, own[1])


def _check_shapes(info: Info, weights: Mapping[str, Tensor]) -> None:
    """Raise DictionaryError where sizes and weights do not fit, before anything of these sizes is made."""
    own = any(by_name.is_own(name) for name in (info.architecture, info.position))  # may not know of devices
    with torch.device("cpu" if own else "meta"):
        architecture, position_term = _parts(info)
    width = architecture.span * info.d_in
    needed = {"W_enc": (width, info.d_sae), "W_dec": (info.d_sae, width), "b_dec": (width,)}
    for part in (architecture, position_term):
        needed |= {name: tuple(parameter.shape) for name, parameter in part.named_parameters()}
    if CENTRE in weights:
        needed[CENTRE] = (info.d_in,)
    if set(needed) != set(weights):
        kind = info.architecture + ("" if info.position == "none" else f" + {info.position}")
        raise DictionaryError(f"weights are {sorted(weights)}, a {kind} dictionary needs {sorted(needed)}")
    for name, shape in needed.items():
        if weights[name].shape != shape:
            T = "" if info.n_positions is None else f", T {info.n_positions}"
            raise DictionaryError(
                f"{name} has shape {tuple(weights[name].shape)}, its configuration (d_in {info.d_in}, d_sae "
                f"{info.d_sae}{T}) says {shape}"
            )


def _constant_norm(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x scaled to norm sqrt(d), and (scale, shift) [..., 1] that undo it; a zero vector stays zero."""
    scale = x.norm(dim=-1, keepdim=True) / x.shape[-1] ** 0.5
    return x / scale.clamp_min(torch.finfo(x.dtype).tiny), scale, torch.zeros_like(scale)


def _layer_norm(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x with mean 0 and deviation 1 over its coordinates, and (scale, shift) [..., 1] that undo it."""
    mean = x.mean(dim=-1, keepdim=True)
    x = x - mean
    deviation = x.std(dim=-1, keepdim=True)
    return x / (deviation + LAYER_NORM_EPS), deviation, mean


_NORMALISE = {"constant_norm_rescale": _constant_norm, "layer_norm": _layer_norm}
