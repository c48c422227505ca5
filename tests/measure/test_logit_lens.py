import pytest
import torch

from lens.activations import models
from lens.measure.logit_lens import logit_lens


@pytest.mark.parametrize("name", ["random:gemma-3-tiny", "random:gpt2-tiny"])
def test_lens_is_norm_and_unembedding(name):
    model = models.load(name, device="cpu", dtype=torch.float32)
    directions = torch.nn.functional.normalize(torch.randn(70, 32, generator=torch.Generator().manual_seed(0)), dim=1)
    found = logit_lens(model, directions, 5)
    trunk = model.model.get_decoder()
    norm = trunk.norm if hasattr(trunk, "norm") else trunk.ln_f
    logits = norm(directions * 32**0.5) @ model.model.get_output_embeddings().weight.T
    z = (logits - logits.mean(1, keepdim=True)) / logits.std(1, keepdim=True)
    order = z.argsort(1, descending=True)
    assert (found.promoted_KN == order[:, :5].numpy()).all()
    assert (found.suppressed_KN == order.flip(1)[:, :5].numpy()).all()
    assert torch.allclose(torch.from_numpy(found.promoted_z_KN), z.gather(1, order)[:, :5], atol=1e-4)
    assert (found.suppressed_z_KN < 0).all()


def test_length_of_a_direction_is_immaterial():
    model = models.load("random:gemma-3-tiny", device="cpu", dtype=torch.float32)
    x = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    assert (logit_lens(model, x).promoted_KN == logit_lens(model, 7 * x).promoted_KN).all()
