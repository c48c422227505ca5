"""The TemporalLens sparse autoencoder (eqs. 3 and 4) and, with its masks off, the standard one."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lens.activations.store import digest, write_json


def position_mask(pos_logits: Tensor, tau: float) -> Tensor:
    """Eq. 4: m = sigmoid(alpha / tau), in (0, 1), for logits alpha of any shape."""
    return torch.sigmoid(pos_logits / tau)


SATURATED = 1e3  # a logit at which eq. 4 gives exactly 0 or 1 in fp32, at every temperature in use


def init_pos_logits(n_positions: int, d_sae: int, generator: torch.Generator, start: str = "normal") -> Tensor:
    """Initial logits alpha [T, d_sae].

    Args:
        start: `normal`: alpha ~ N(0, 1/T) (section 4.1), with 1/T read as the variance; `windows`: each feature is open
            on T/4 neighbouring positions, of the T - T/4 + 1 places where they fit, and closed elsewhere (the static
            masks of the paper's public code); `windows_wrapped`: the same at any of T places, wrapping at the end, so
            that every position is open for as many features.
    """
    if start == "normal":
        return torch.randn(n_positions, d_sae, generator=generator) / n_positions**0.5
    width = max(1, n_positions // 4)
    places = n_positions if start == "windows_wrapped" else n_positions - width + 1
    first = torch.randint(places, (d_sae,), generator=generator)
    is_open = (torch.arange(n_positions)[:, None] - first) % n_positions < width
    return torch.where(is_open, SATURATED, -SATURATED)


@dataclass(frozen=True)
class SAEConfig:
    """What a dictionary is and where it came from; stored beside its weights as `cfg.json`."""

    d_in: int
    """width of the residual stream"""
    d_sae: int
    """number of features (the paper's k)"""
    n_positions: int
    """T: positions 0..T-1 exist, 0 is BOS"""
    masked: bool
    """whether the features are gated by position (eq. 3) or not (the standard SAE)"""
    tau: float
    """temperature of the masks in use"""
    input_scale: float
    """inputs are multiplied by this before encoding, reconstructions divided by it"""
    model: str = ""
    layer: str = ""
    variant: str = ""
    seed: int = 0


class PositionError(ValueError):
    """A position is missing, or outside the positions that the dictionary was trained on."""


class SAE(nn.Module):
    """Sparse autoencoder with one mask value per position and feature.

    Parameters: W_enc [d_in, d_sae], b_enc [d_sae], W_dec [d_sae, d_in] with unit rows, b_dec [d_in], and, when masked,
    pos_logits [T, d_sae]. Inputs are raw residual-stream activations [B, T, d_in]; `input_scale` is applied inside.
    """

    def __init__(self, config: SAEConfig, weights: dict[str, Tensor]):
        super().__init__()
        self.config = config
        shapes = {
            "W_enc": (config.d_in, config.d_sae),
            "b_enc": (config.d_sae,),
            "W_dec": (config.d_sae, config.d_in),
            "b_dec": (config.d_in,),
        }
        if config.masked:
            shapes["pos_logits"] = (config.n_positions, config.d_sae)
        if set(shapes) != set(weights):
            raise ValueError(f"weights are {sorted(weights)}, this dictionary needs {sorted(shapes)}")
        for name, shape in shapes.items():
            if tuple(weights[name].shape) != shape:
                raise ValueError(f"{name} has shape {tuple(weights[name].shape)}, cfg.json says {shape}")
            setattr(self, name, nn.Parameter(weights[name]))

    @classmethod
    def initialise(cls, config: SAEConfig, mean: Tensor, seed: int, mask_start: str = "normal") -> SAE:
        """Random unit decoder rows, encoder their transpose, b_enc 0, b_dec the mean of the scaled inputs [d_in].

        `mask_start` is the kind of initial mask, see `init_pos_logits`.
        """
        generator = torch.Generator().manual_seed(seed)
        W_dec = torch.randn(config.d_sae, config.d_in, generator=generator)
        W_dec /= torch.linalg.vector_norm(W_dec, dim=-1, keepdim=True)
        weights = {
            "W_enc": W_dec.T.contiguous(),
            "b_enc": torch.zeros(config.d_sae),
            "W_dec": W_dec,
            "b_dec": mean.float().clone(),
        }
        if config.masked:  # drawn last, so that runs with and without masks share all other weights
            weights["pos_logits"] = init_pos_logits(config.n_positions, config.d_sae, generator, mask_start)
        return cls(config, weights)

    def mask(self, positions: Tensor | None = None, *, clamp: bool = False) -> Tensor | float:
        """Mask values m [..., d_sae] (eq. 4) at `positions` (all T of them by default); 1 for a standard SAE.

        Raises:
            PositionError: a position outside 0..T-1, unless `clamp` takes the last trained position instead.
        """
        T = self.config.n_positions
        if positions is not None:
            if positions.numel() and (int(positions.max()) >= T or int(positions.min()) < 0):
                if not clamp or int(positions.min()) < 0:
                    raise PositionError(
                        f"positions {int(positions.min())}..{int(positions.max())} asked, this dictionary has "
                        f"positions 0..{T - 1}; shorten the context, or pass clamp=True to reuse position {T - 1}"
                    )
                positions = positions.clamp(max=T - 1)
        if not self.config.masked:
            return 1.0
        logits = self.pos_logits if positions is None else self.pos_logits[positions]
        return position_mask(logits, self.config.tau)

    def encode(self, x: Tensor, positions: Tensor | None = None, *, clamp: bool = False) -> Tensor:
        """Eq. 3: f = ReLU(x W_enc + b_enc) * m, [B, T, d_in] -> [B, T, d_sae].

        Args:
            x: raw activations of whole windows, first vector at position 0; or vectors [..., d_in] of any shape
                together with their `positions` [...].
            positions: index of each vector in its window, 0 = BOS.
            clamp: reuse the last position's mask beyond the trained context instead of raising.

        Raises:
            PositionError: positions are needed and not given, or out of range.
        """
        if positions is None:
            if x.ndim != 3:
                raise PositionError(
                    f"input of shape {tuple(x.shape)} has no positions: pass windows [B, T, {self.config.d_in}], "
                    "or pass positions= with one index per vector"
                )
            positions = torch.arange(x.shape[1], device=x.device)
        x = x.to(self.W_enc.dtype) * self.config.input_scale
        return torch.relu(x @ self.W_enc + self.b_enc) * self.mask(positions, clamp=clamp)

    def decode(self, features: Tensor) -> Tensor:
        """x_hat = (f W_dec + b_dec) / input_scale, [..., d_sae] -> [..., d_in], in the units of the activations."""
        return (features @ self.W_dec + self.b_dec) / self.config.input_scale

    def forward(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        """Reconstruction of raw activations [B, T, d_in]."""
        return self.decode(self.encode(x, positions))

    def save(self, folder: Path) -> None:
        """Write `sae.safetensors` and `cfg.json`, which holds the digest of the weights, into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "sae.safetensors"
        save_file({k: v.detach().cpu().contiguous() for k, v in self.state_dict().items()}, path)
        write_json(folder / "cfg.json", {**asdict(self.config), "sha256": digest(path)})

    @classmethod
    def load(cls, folder: Path) -> SAE:
        """Read a dictionary from its folder.

        Raises:
            ValueError: a file is missing, truncated, or does not fit the other; the message names it.
        """
        folder = Path(folder)
        config_path, path = folder / "cfg.json", folder / "sae.safetensors"
        for needed in (config_path, path):
            if not needed.is_file():
                raise ValueError(f"{needed} is missing: {folder} is not a dictionary folder")
        try:
            config = json.loads(config_path.read_text())
            expected = config.pop("sha256")
            config = SAEConfig(**config)
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{config_path} does not describe a dictionary: {error!r}") from None
        if (found := digest(path)) != expected:
            raise ValueError(
                f"{path} is truncated or altered: sha256 {found}, cfg.json says {expected}; train it again"
            )
        return cls(config, load_file(path))
