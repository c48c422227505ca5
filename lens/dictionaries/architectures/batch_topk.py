"""BatchTopK: the k largest pre-activations per vector on average over a batch (Bussmann et al. 2024, arXiv 2412.06410).

Which features a vector keeps depends on the others of its batch, in training alone: a threshold is learned on the way,
and the trained dictionary is a JumpReLU with it, as in SAELens. Dead features are revived as those of TopK.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lens.dictionaries.architectures import topk
from lens.dictionaries.architectures.jumprelu import JumpReLU
from lens.dictionaries.codes import Codes
from lens.dictionaries.parts import check_settings, name_of
from lens.dictionaries.sparse import is_few

SAMPLED = 17  # one value in so many; prime, so that every feature is in a sample


@dataclass(frozen=True)
class Settings(topk.Settings):
    """Fields of a recipe; k is that of a vector on average over a batch."""

    threshold_rate: float = 0.01
    """weight of a batch in the moving average of the smallest kept value"""

    def __post_init__(self):
        super().__post_init__()
        check_settings(self, share=("threshold_rate",))


class BatchTopK(topk.TopK):
    """f = ReLU(u + b_enc) for the k B largest values of a batch of B vectors, 0 for all others."""

    Settings = Settings
    l0_setting = "k"
    shared_by = ("batch", "features")
    threshold: Tensor

    def __init__(self, d_in: int, d_sae: int, settings: Settings):
        super().__init__(d_in, d_sae, settings)
        self.register_buffer("threshold", torch.tensor(-1.0, dtype=torch.float64))  # below 0: no batch was seen

    def select(self, u: Tensor) -> Codes:
        u = u + self.b_enc
        f = torch.relu(u)
        if not self.training:
            return Codes(f * (u > self.threshold.to(u.dtype)), None, self.d_sae)
        flat, n = f.flatten(), self.settings.k * u[..., 0].numel()
        if self.shards.by:
            index = self._of_all(flat, n, flat[::SAMPLED])
            values = flat.gather(0, index)
        else:
            values, index = flat.topk(n, sorted=False)
        return Codes(torch.zeros_like(flat).scatter(0, index, values).view_as(f), None, self.d_sae)

    def select_few(self, u: Tensor, u_at: Callable[..., Tensor], opened: Tensor | None = None) -> Codes | None:
        if not (self.training and is_few(self.settings.k, self.d_sae, u.device)):
            return None
        n = u[..., 0].numel()
        if opened is None:
            flat = (u + self.b_enc).relu_().flatten()
            sample, width = flat[::SAMPLED], self.d_sae
        else:
            sampled = torch.arange(0, u.numel(), SAMPLED, device=u.device)
            sample = (u.flatten()[sampled] + self.b_enc[sampled % self.d_sae]).relu_()
            opened = opened.expand(*u.shape[:-1], -1)
            flat, width = (u.gather(-1, opened) + self.b_enc[opened]).relu_().flatten(), opened.shape[-1]
        kept = self._of_all(flat, self.settings.k * n, sample).sort().values
        vector = kept // width
        feature = kept % width if opened is None else opened.flatten()[kept]
        values = self.feature(u_at(feature, vector) + self.b_enc.index_select(0, feature))
        counts = vector.bincount(minlength=n)
        slots = max(int(counts.max()), 1)
        at = torch.arange(len(kept), device=u.device) - (counts.cumsum(0) - counts)[vector] + slots * vector
        index = torch.zeros(n * slots, dtype=torch.long, device=u.device).index_copy(0, at, feature)
        padded = values.new_zeros(n * slots).index_copy(0, at, values)
        return Codes(padded.view(*u.shape[:-1], slots), index.view(*u.shape[:-1], slots), self.d_sae)

    def _of_all(self, flat: Tensor, n: int, sample: Tensor) -> Tensor:
        """Index of the n largest positive values of flat [m]; with a batch or features shared, of those of this process
        that are among the largest of all, n for each share of a batch. See `_largest`."""
        n = n * self.shards.size if self.shards.by == "batch" else n
        index = _largest(flat, min(n, len(flat)), sample)
        if not self.shards.by:
            return index
        values = nn.functional.pad(flat[index], (0, n - len(index)), value=float("-inf"))
        return index[self.shards.among_largest(values, n)[: len(index)]]

    def after_step(self, codes: Codes) -> None:
        super().after_step(codes)
        fired = codes.values[codes.values != 0].double()
        smallest = self.shards.least(fired.min() if len(fired) else torch.full_like(self.threshold, float("inf")))
        if smallest < float("inf"):
            rate = self.settings.threshold_rate if self.threshold >= 0 else 1.0
            self.threshold.lerp_(smallest, rate)

    def on_disk(self) -> tuple[str, dict, dict[str, Tensor]]:
        threshold = self.threshold.clamp_min(0).to(self.b_enc.dtype).expand(self.d_sae)
        return name_of(JumpReLU), {}, {"b_enc": self.b_enc.detach(), "threshold": threshold.clone()}


def _largest(flat: Tensor, n: int, sample: Tensor) -> Tensor:
    """Index of the n largest positive values of flat [m], of all positive ones if there are fewer.

    Sorting all of them is what takes long in a step: only those above the value that a sample says are looked at. It
    has one value in SAMPLED, of features that are closed too.
    """
    wanted, positive = n // SAMPLED, sample[sample > 0]
    while True:
        wanted = wanted * 5 // 4 + 1
        edge = positive.topk(wanted, sorted=False).values.min() if wanted <= len(positive) else 0
        above = (flat >= edge if edge > 0 else flat > 0).nonzero()[:, 0]
        if len(above) >= n or not edge > 0:  # none are left
            return above[flat[above].topk(min(n, len(above)), sorted=False).indices]
