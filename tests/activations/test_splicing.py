"""The model run on with something else in the place of a layer's output."""

import pytest
import torch

from tests.activations.hidden_states import TOKENS, hidden_states


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layer", [1, "embedding"])
def test_splicing_in_the_original_changes_no_bit(load_tiny, dtype, layer):
    for name in ("gemma-3-tiny", "gpt2-tiny"):
        model = load_tiny(name, dtype)
        clean = model.spliced(TOKENS, layer, None)
        assert torch.equal(clean, hidden_states(model)[-1])
        assert torch.equal(clean, model.spliced(TOKENS, layer, lambda hidden: hidden.clone()))


@pytest.mark.parametrize("layer", [1, "embedding"])
def test_many_splices_are_each_the_same_to_the_bit(tiny, layer):
    stream = tiny.residual_stream(TOKENS.flip(0), [layer])[layer]
    replacements = [None, lambda hidden: hidden / 2, lambda _: stream, lambda hidden: hidden.clone()]
    expected = [tiny.spliced(TOKENS, layer, replace) for replace in replacements]
    found = tiny.spliced_each(TOKENS, layer, replacements)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert not torch.equal(found[0], found[1])
    other = TOKENS.roll(1, 0)  # nothing of one text is left for the next
    assert torch.equal(tiny.spliced_each(other, layer, [None])[0], tiny.spliced(other, layer, None))


def test_many_splices_run_the_first_blocks_once(tiny):
    calls = []
    tiny.spliced_each(TOKENS, 1, [None])  # the first time, it is tried whether they can be spared
    handles = [block.mlp.register_forward_hook(lambda *_, i=i: calls.append(i)) for i, block in enumerate(tiny.blocks)]
    tiny.spliced_each(TOKENS, 1, [None, torch.neg, torch.neg])
    for handle in handles:
        handle.remove()
    assert [calls.count(i) for i in range(3)] == [1, 1, 3]


@pytest.mark.parametrize("layer", [1, "embedding"])
def test_splicing_in_another_text_gives_that_text(tiny, layer):
    other = TOKENS.flip(0)
    stream = tiny.residual_stream(other, [layer])[layer]
    assert torch.equal(tiny.spliced(TOKENS, layer, lambda _: stream), tiny.spliced(other, layer, None))
    assert not torch.equal(tiny.spliced(TOKENS, layer, lambda _: stream), tiny.spliced(TOKENS, layer, None))


def test_a_failing_replacement_leaves_no_hook_behind(tiny):
    before = tiny.residual_stream(TOKENS, [2])[2]
    with pytest.raises(ValueError, match=r"replacement of shape \(1, 12, 32\).*\(2, 12, 32\)"):
        tiny.spliced(TOKENS, 1, lambda hidden: hidden[:1])
    with pytest.raises(ZeroDivisionError):
        tiny.spliced(TOKENS, "embedding", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tiny.spliced_each(TOKENS.flip(0), 2, [lambda _: 1 / 0])
    assert torch.equal(before, tiny.residual_stream(TOKENS, [2])[2])
