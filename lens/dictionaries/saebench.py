"""A dictionary as SAEBench evaluates it (Karvonen et al. 2025, arXiv 2503.09532)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace

from torch import Tensor, nn

from lens.activations.hooks import hook_name
from lens.activations.layers import EMBEDDING
from lens.dictionaries.dictionary import Dictionary, PositionError
from lens.dictionaries.export import NAMES
from lens.dictionaries.formats.files import TEMPORALLENS
from lens.errors import DictionaryError


@dataclass
class SAEBenchConfig:
    """The fields that SAEBench reads of a dictionary. Not frozen: its scripts write to `dtype` and `device`."""

    model_name: str
    d_in: int
    d_sae: int
    hook_layer: int
    """the block to stop at"""
    hook_name: str
    context_size: int | None
    """T; longer contexts are refused by `encode`"""
    dtype: str = "float32"
    device: str = "cpu"
    architecture: str = "temporallens"
    prepend_bos: bool = True
    """position 0 is BOS"""
    normalize_activations: str = "none"
    apply_b_dec_to_input: bool = False
    finetuning_scaling_factor: bool = False
    activation_fn_str: str = "relu"
    activation_fn_kwargs: dict = field(default_factory=dict)
    hook_head_index: int | None = None
    model_from_pretrained_kwargs: dict = field(default_factory=dict)
    dataset_path: str = ""
    dataset_trust_remote_code: bool = False
    seqpos_slice: tuple = (None,)
    training_tokens: int = -1
    """not known"""
    sae_lens_training_version: str | None = None
    neuronpedia_id: str | None = None

    def to_dict(self) -> dict:
        """All fields by name, for the file of results; what SAEBench adds to this object itself is left out."""
        return asdict(self)


class SAEBenchAdapter(nn.Module):
    """A dictionary with the interface of SAEBench's `BaseSAE`; it does not need SAEBench.

    Everything is in the units of raw activations, with unit decoder rows as SAEBench asks: features are those of the
    dictionary divided by `input_scale`, so that decode(f) = f W_dec + b_dec. The masks are no part of W_enc: measures
    that read W_enc see the encoder without positions.

    Core, sparse probing, SCR and TPP encode whole windows [B, T, d_in]. Absorption, RAVEL and `test_sae` encode vectors
    without saying where they were, MDL as windows of one vector: with a position term these are refused, not answered
    with some other position's mask; where the position is known, give the dictionary that `export_saelens` writes for
    it. Texts have to begin at the left: padding there would shift all positions. Where BOS and padding are zeroed, as
    for sparse probing, it is seen and refused.

    Raises:
        DictionaryError: the dictionary does not say its model or layer, reconstructs something else than it reads, or a
            position term of its own is in the units of scaled inputs.
    """

    def __init__(self, sae: Dictionary):
        super().__init__()
        info, scale = sae.info, sae.info.input_scale
        if not sae.reconstructs:
            raise DictionaryError(f"{info.name} writes elsewhere than it reads: SAEBench evaluates reconstructions")
        if not info.model or not info.layer:
            raise DictionaryError(
                f"the dictionary says model {info.model!r}, layer {info.layer!r}; SAEBench needs both: set them in "
                "its configuration"
            )
        if not sae.linear:
            raise DictionaryError(
                f"{info.architecture} codes windows, not vectors: SAEBench reads one encoder and one decoder of vectors"
            )
        if scale != 1 and (sae.position_term.acts_on != "code" or sae.position_term.on_input):
            raise DictionaryError(
                f"position term {info.position} acts on inputs or scores in units of input_scale {scale}, "
                "SAEBench reads raw activations: evaluate a dictionary that was trained with input_scale raw"
            )
        info, weights = sae.on_disk()  # what training alone needs is not a part of it: BatchTopK is a JumpReLU
        sae = Dictionary(info, weights).uncentred().to(sae.W_dec.device)
        weights = {name: value.detach() for name, value in sae.weights().items()}
        scaled = {name: weights[name] / scale for name in ("b_dec", *sae.architecture.in_units_of_u)}
        T = info.n_positions if sae.position_term.needs_positions else None  # without a term, any vector will do
        self._sae = Dictionary(replace(info, input_scale=1.0, n_positions=T), {**weights, **scaled})
        self.cfg = SAEBenchConfig(
            info.model,
            info.d_in,
            info.d_sae,
            hook_layer=0 if info.layer == EMBEDDING else int(info.layer),
            hook_name=hook_name(info.layer),
            context_size=info.n_positions,
            dtype=str(self.dtype).removeprefix("torch."),
            device=str(self.device),
            prepend_bos=info.bos,
            architecture=TEMPORALLENS if info.position == "mask" else NAMES.get(info.architecture, info.architecture),
        )

    def encode(self, x: Tensor) -> Tensor:
        """Features of whole windows, [B, T, d_in] -> [B, T, d_sae]; without a position term, of any [..., d_in].

        Raises:
            PositionError: with a position term, x is not a batch of windows, or they are of one vector, begin with
                padding, or are longer than `cfg.context_size`.
        """
        if self._sae.info.n_positions is not None and x.ndim == 3:
            _check_windows(x)
        return self._sae.encode(x).dense()

    def decode(self, features: Tensor) -> Tensor:
        """f W_dec + b_dec, [..., d_sae] -> [..., d_in]."""
        return self._sae.decode(features)

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruction of windows [B, T, d_in]."""
        return self.decode(self.encode(x))

    W_enc = property(lambda self: self._sae.W_enc, doc="[d_in, d_sae]")
    b_enc = property(lambda self: self._bias("b_enc"), doc="[d_sae]; no attribute of a gated dictionary")
    b_mag = property(lambda self: self._bias("b_mag"), doc="[d_sae], of a gated dictionary")
    W_dec = property(lambda self: self._sae.W_dec, doc="[d_sae, d_in], unit rows")
    b_dec = property(lambda self: self._sae.b_dec, doc="[d_in]")
    device = property(lambda self: self._sae.W_dec.device)
    dtype = property(lambda self: self._sae.W_dec.dtype)

    def _bias(self, name: str) -> Tensor:
        if name not in (weights := self._sae.weights()):
            raise AttributeError(name)  # SAEBench asks with hasattr
        return weights[name]


def _check_windows(x: Tensor) -> None:
    """Raise PositionError where the first vector of windows [B, T, d_in] cannot be the one at position 0."""
    if x.shape[1] == 1:
        raise PositionError(
            "windows of one vector (MDL of SAEBench passes vectors so) do not say at which position they were: pass "
            "whole windows, or evaluate the dictionary at one position, see lens.export_saelens"
        )
    zeroed = x[(x[:, 1] == 0).all(-1)]
    if (zeroed[:, 2:] != 0).any():
        raise PositionError(
            "windows have a zero vector at position 1 and others behind it: texts that are padded on the left, or "
            "begin with two BOS; set tokenizer.padding_side = 'right', or take the second BOS away"
        )
