"""Clocks by hand, with tokens of one and of many characters."""

import numpy as np
import pytest
import tokenizers
from tokenizers import decoders, models
from transformers import PreTrainedTokenizerFast

from lens.activations.clocks import clocks, named_clocks, turn_marker
from lens.activations.packing import packed
from lens.activations.random_models import byte_tokenizer
from lens.errors import ConfigError

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


GEMMA = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ m.content }}<end_of_turn>\n{% endfor %}"
)
CHATML = "{% if messages[0].role != 'system' %}<|im_start|>system\nHelp.<|im_end|>\n{% endif %}" + (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
)
MISTRAL = (
    "<s>{% for m in messages %}{{ '[INST]' + m.content + '[/INST]' if m.role == 'user' else m.content + '</s>' }}"
    "{% endfor %}"
)


def chatting(template: str, *special: str, **named):
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": list(special), **named})
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize(
    ("template", "special", "marker"),
    [
        (GEMMA, ("<end_of_turn>", "<start_of_turn>"), "<start_of_turn>"),
        (CHATML, ("<|im_start|>", "<|im_end|>"), "<|im_start|>"),
    ],
)
def test_turns_begin_at_the_token_that_the_template_begins_them_by(template, special, marker):
    tokenizer = chatting(template, *special)
    assert turn_marker(tokenizer) == tokenizer.convert_tokens_to_ids(marker)


def test_templates_without_such_a_token_are_refused():
    with pytest.raises(ValueError, match="begins turns by no special token of its own.*clocks="):
        turn_marker(chatting(MISTRAL, "[INST]", "[/INST]", "<s>", "</s>"))
    with pytest.raises(ValueError, match="no chat template"):
        turn_marker(byte_tokenizer())


def test_turns_and_documents_of_packed_chats():
    tokenizer = chatting(GEMMA, "<start_of_turn>", "<end_of_turn>")
    chats = [[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]] * 2
    windows = packed(chats, tokenizer, 10)
    start, end, bos = (tokenizer.convert_tokens_to_ids(t) for t in ("<start_of_turn>", "<end_of_turn>", "<bos>"))
    one = [bos, start, *b"user\na", end, *b"\n", start, *b"model\nb", end, *b"\n"]
    assert windows.tolist() == np.array((one * 2)[:40]).reshape(4, 10).tolist()
    found = named_clocks(["turn", "document", "newline"], windows, tokenizer)
    assert list(found) == ["turn", "document", "newline"]
    assert found["turn"][0].tolist() == [-1, *range(9)]  # <start_of_turn> is 0
    assert found["turn"][1].tolist() == list(range(10))
    begin = len(one)
    expected = np.full(40, -1)
    expected[:10] = range(10)
    expected[begin:30] = range(30 - begin)
    assert found["document"].ravel().tolist() == expected.tolist()


def test_the_document_of_a_window_cut_from_it_began_before():
    tokenizer, tokens = byte_tokenizer(), np.array([[256, 65, 66], [256, 67, 68]])
    found = named_clocks(["document"], tokens, tokenizer, np.array([0, 40]), bos=True)["document"]
    assert found.tolist() == [[-1, 1, 2], [-1, 41, 42]]
    tokenizer.bos_token = None
    found = named_clocks(["document"], tokens, tokenizer, np.array([0, 40]))["document"]
    assert found.tolist() == [[0, 1, 2], [40, 41, 42]]


def test_without_bos_a_packed_document_begins_after_eos():
    tokenizer = byte_tokenizer()
    tokenizer.bos_token = None
    with pytest.raises(ValueError, match="neither BOS nor EOS"):
        named_clocks(["document"], np.array([[65, 66]]), tokenizer)
    tokenizer.add_special_tokens({"eos_token": "</s>"})
    windows = packed(["ab", "cde"], tokenizer, 7)
    assert windows.tolist() == [[97, 98, 257, 99, 100, 101, 257]]
    assert named_clocks(["document"], windows, tokenizer)["document"].tolist() == [[-1, -1, -1, 0, 1, 2, 3]]


def test_clocks_that_there_are_not_are_refused():
    tokenizer, tokens = byte_tokenizer(), np.array([[65, 66]])
    for names, message in (
        (["newlin"], "no clock 'newlin' .did you mean 'newline'.*document, newline, turn"),
        ("newline", r"give a list of names, \['newline'\]"),
        (["newline", "newline"], "name each once"),
        (["newline"], "'newline' never starts in these 1 windows"),
    ):
        with pytest.raises(ConfigError, match=message):
            named_clocks(names, tokens, tokenizer)
    gemma = chatting(GEMMA, "<start_of_turn>", "<end_of_turn>")
    with pytest.raises(ConfigError, match="'turn' never starts .*chats as ids"):
        named_clocks(["turn"], tokens, gemma)
    for documents, length, message in (
        (["ab"], 9, "3 tokens in 1 documents: not one window of 9"),
        ([[{"role": "user", "content": "a"}]], 2, "no chat template"),
    ):
        with pytest.raises(ValueError, match=message):
            packed(documents, tokenizer, length)


def test_a_text_that_spells_a_special_token_is_read_as_it_is():
    assert packed(["<bos>"], byte_tokenizer(), 6).tolist() == [[256, *b"<bos>"]]
