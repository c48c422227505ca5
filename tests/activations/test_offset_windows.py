import numpy as np
import pytest
import torch

from lens.activations import random_models
from lens.activations.offset_windows import draw_offset_windows
from lens.activations.split import as_dataset

TEXT = ["".join(f"{i} and then " for i in range(300)), "".join(f"so {i}, " for i in range(500))]


@pytest.fixture(scope="module")
def tokenizer():
    return random_models.build("gemma-3-tiny", torch.float32)[1]


@pytest.mark.parametrize("bos_id", [256, None])
def test_every_reading_has_the_same_text_at_the_positions_it_says(tokenizer, bos_id):
    drawn = draw_offset_windows(as_dataset(TEXT), tokenizer, 10, 32, readings=4, bos_id=bos_id, seed=1)
    P = 31 if bos_id else 32
    assert drawn.tokens.shape == (10, 4, 3, 32) and drawn.positions.shape == (10, 4, 2 * P)
    if bos_id:
        assert (drawn.tokens[..., 0] == bos_id).all()
    text = drawn.tokens[..., int(drawn.bos) :].reshape(10, 4, -1)
    for g in range(10):
        read = [text[g, m, drawn.phase[g, m] :][: 2 * P] for m in range(4)]
        assert all(np.array_equal(read[0], again) for again in read[1:])
        whole = bytes(TEXT[drawn.document[g]], "utf8")  # the tiny tokenizer's tokens are bytes
        assert bytes(read[0].astype(np.uint8)) in whole
    # the position of a token is where it lies in its window
    place = (drawn.phase[..., None] + np.arange(2 * P)) % P + drawn.bos
    assert np.array_equal(place, drawn.positions)
    assert all(len(set(phases)) == 4 for phases in drawn.phase)


def test_positions_cover_the_window_evenly_and_phases_are_in_random_order(tokenizer):
    drawn = draw_offset_windows(as_dataset(TEXT), tokenizer, 40, 16, readings=4, bos_id=256)
    counts = np.bincount(drawn.positions.ravel(), minlength=16)
    assert counts[0] == 0 and (counts[1:] == 40 * 4 * 2).all()
    first = (drawn.phase[:, :1] > drawn.phase[:, 1:]).mean()
    assert 0.3 < first < 0.7


def test_too_little_text_or_too_few_readings_are_refused(tokenizer):
    with pytest.raises(ValueError, match="corpus too short"):
        draw_offset_windows(as_dataset(["x" * 100]), tokenizer, 10, 32, readings=4, bos_id=256)
    with pytest.raises(ValueError, match="2..31"):
        draw_offset_windows(as_dataset(TEXT), tokenizer, 10, 32, readings=1, bos_id=256)
