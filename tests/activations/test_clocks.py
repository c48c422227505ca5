"""Clocks by hand, with tokens of one and of many characters."""

import numpy as np
import pytest
import tokenizers
from tokenizers import decoders, models
from transformers import PreTrainedTokenizerFast

from lens.activations.clocks import clocks
from lens.activations.random_models import byte_tokenizer

PIECES = ["<bos>", "\n", "\n\n", "\n\n\n", ":", ":\n", "King", "All", " speak", "\nAll:\n", " ", "é"]


@pytest.fixture(scope="module")
def pieces():
    """A tokenizer whose tokens are `PIECES`, BOS the first of them."""
    backend = tokenizers.Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(PIECES)}, unk_token=" "))
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<bos>")


def read(tokenizer, *words):
    found = clocks(np.array([[PIECES.index(word) for word in words]], np.int32), tokenizer)
    assert {values.dtype for values in found.values()} == {np.dtype(np.int32)}
    return found["since_newline"][0].tolist(), found["since_speaker"][0].tolist()


def test_clocks_by_hand(pieces):
    newline, speaker = read(pieces, "<bos>", "King", ":", "\n", " speak", "\n", "\n", "All", ":", "\n", " speak")
    assert newline == [-1, -1, -1, 0, 1, 0, 0, 1, 2, 0, 1]
    assert speaker == [-1, -1, -1, 0, 1, 2, 3, 4, 5, 0, 1]


def test_a_token_of_two_newlines_is_the_end_of_a_line_and_an_empty_line(pieces):
    newline, speaker = read(pieces, "<bos>", " speak", "\n\n", "All", ":", "\n", " speak", "\n\n\n", "King", ":\n")
    assert newline == [-1, -1, 0, 1, 2, 0, 1, 0, 1, 0]
    assert speaker == [-1, -1, -1, -1, -1, 0, 1, 2, 3, 0]


def test_one_token_can_end_a_line_and_hold_a_tag(pieces):
    assert read(pieces, "<bos>", " speak", "\n", "\nAll:\n", " speak")[1] == [-1, -1, -1, 0, 1]
    assert read(pieces, "<bos>", " speak", "\nAll:\n", " speak")[1] == [-1, -1, -1, -1]  # no empty line before it


def test_a_line_that_ends_in_a_colon_in_the_middle_of_a_speech_is_no_tag(pieces):
    newline, speaker = read(pieces, "<bos>", "King", ":\n", " speak", ":\n", " speak")
    assert newline == [-1, -1, 0, 1, 0, 1]
    assert speaker == [-1, -1, 0, 1, 2, 3]


def test_an_empty_speech_is_followed_by_a_tag(pieces):
    assert read(pieces, "<bos>", "King", ":", "\n\n", "All", ":\n")[1] == [-1, -1, -1, 0, 1, 0]


def test_a_tag_counts_when_its_line_ends(pieces):
    assert read(pieces, "<bos>", "King", ":")[1] == [-1, -1, -1]
    assert read(pieces, "<bos>", "King", ":", " ", "\n")[1] == [-1, -1, -1, -1, 0]


def test_bos_has_no_clock_and_windows_do_not_see_each_other(pieces):
    row = [PIECES.index(piece) for piece in ("<bos>", "King", ":\n", "é")]
    found = clocks(np.array([row, [0, 6, 8, 8], [1, 0, 6, 1]]), pieces)
    assert found["since_newline"].tolist() == [[-1, -1, 0, 1], [-1] * 4, [0, -1, 2, 0]]
    assert found["since_speaker"].tolist() == [[-1, -1, 0, 1], [-1] * 4, [-1] * 4]


def test_bytes_that_are_no_text_of_their_own_do_no_harm():
    tokenizer = byte_tokenizer()
    words = "É:\nOù?\n\nB:\n"
    found = clocks(np.array([[256, *words.encode()]]), tokenizer)
    assert found["since_newline"][0].tolist() == [-1, -1, -1, -1, 0, 1, 2, 3, 4, 0, 0, 1, 2, 0]
    assert np.flatnonzero(found["since_speaker"][0] == 0).tolist() == [4, 13]


def test_each_token_id_is_decoded_once():
    class Counting:
        all_special_ids = [256]
        calls = 0

        def decode(self, ids, **_):
            self.calls += 1
            return chr(ids[0])

    tokenizer = Counting()
    clocks(np.tile(np.array([256, 65, 10, 66]), (50, 8)), tokenizer)
    assert tokenizer.calls == 3
