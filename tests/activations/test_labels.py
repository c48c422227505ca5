"""Labels of windows against the plays they are cut from, window by window."""

import numpy as np
import pytest

from lens.activations import corpus, plays
from lens.activations.clocks import clocks
from lens.activations.labels import play_labels
from lens.activations.random_models import byte_tokenizer

BOS = 256
NAMES = ("henry-iv-part-2", "macbeth", "the-taming-of-the-shrew")


@pytest.fixture(scope="module")
def tokenizer():
    return byte_tokenizer()


def cut(play, start, length, bos=True):
    """One window of bytes of a play."""
    text = list(plays.parse(play)[0].encode()[start : start + length])
    return np.array([[BOS] * bos + text], np.int32), np.array([NAMES.index(play)]), np.array([start])


def at(play, words):
    text = plays.parse(play)[0]
    assert text.count(words) == 1
    return len(text[: text.index(words)].encode())


def test_a_window_by_hand(tokenizer):
    words = "First Witch:\nWhen shall we three meet again"
    labels = play_labels(*cut("macbeth", 0, len(words)), NAMES, tokenizer)
    assert labels.table.iloc[0].to_dict() == {
        "play": "macbeth", "genre": "tragedies", "act": "I", "has_speaker_tag": True, "speaker_changes": 1,
        "has_stage_direction": False,  # "Thunder and lightning. Enter three Witches." is before the text, not in it
    }  # fmt: skip
    assert labels.speaker_tag[0].tolist() == [False] + [True] * len("First Witch:") + [False] * (len(words) - 12)


def test_the_rest_of_a_cut_tag_is_a_tag_but_no_speech_starts(tokenizer):
    labels = play_labels(*cut("macbeth", 6, 20), NAMES, tokenizer)  # "Witch:\nWhen shall we"
    assert labels.speaker_tag[0].tolist() == [False] + [True] * 6 + [False] * 14
    assert labels.table.speaker_changes.tolist() == [0]
    assert not labels.table.has_speaker_tag[0]


def test_windows_without_bos(tokenizer):
    labels = play_labels(*cut("macbeth", 6, 20, bos=False), NAMES, tokenizer, bos=False)
    assert labels.speaker_tag[0].tolist() == [True] * 6 + [False] * 14


def test_a_stage_direction_counts_where_both_its_sides_are_in_the_window(tokenizer):
    rows = [row for row in plays.parse("macbeth")[1] if row["kind"] == "stage direction" and 500 < row["start"]]
    place = rows[0]["start"]
    assert plays.parse("macbeth")[0][:place].isascii()

    def found(low, high):
        window = cut("macbeth", low, high - low)
        return play_labels(*window, NAMES, tokenizer).table.has_stage_direction.tolist()

    assert [found(place - 1, place + 1), found(place - 9, place), found(place, place + 9)] == [[True], [False], [False]]


def test_an_act_begins_at_its_first_speaker_tag_and_a_prologue_has_none(tokenizer):
    text, rows = plays.parse("macbeth")
    last = [row for row in rows if row["act"] == "I"][-1]["stop"]
    start = len(text[:last].encode())
    before, after = (play_labels(*cut("macbeth", start + shift, 4), NAMES, tokenizer).table.act[0] for shift in (-4, 0))
    assert (before, after) == ("I", "II")
    assert play_labels(*cut("henry-iv-part-2", 100, 9), NAMES, tokenizer).table.act[0] is None
    assert play_labels(*cut("the-taming-of-the-shrew", 100, 9), NAMES, tokenizer).table.act[0] is None


def test_the_act_is_that_of_the_middle_token(tokenizer):
    place = at("henry-iv-part-2", "LORD BARDOLPH:\nWho keeps the gate here")
    early, late = (
        play_labels(*cut("henry-iv-part-2", place - 50 + shift, 100), NAMES, tokenizer).table.act[0]
        for shift in (-5, 5)
    )
    assert (early, late) == (None, "I")


def test_labels_agree_with_the_text_of_drawn_windows(tokenizer):
    dataset = corpus.load("shakespeare-held-out").select([5, 13, 20])
    windows = corpus.draw_windows(dataset, tokenizer, 60, 256, starts="disjoint", bos_id=BOS, seed=1)
    labels = play_labels(windows.tokens, windows.document, windows.start, windows.documents, tokenizer)
    assert labels.table.play.tolist() == [windows.documents[d] for d in windows.document]
    assert set(labels.table.act) <= {"I", "II", "III", "IV", "V", None}
    for row, window in enumerate(windows.tokens):
        text = bytes(window[1:].tolist()).decode(errors="replace")
        # Only tags follow an empty line; one at the very start may follow one that is outside.
        seen = sum(bool(part) for part in text.split("\n\n")[1:])
        assert labels.table.speaker_changes[row] - seen in (0, 1)
    assert not labels.speaker_tag[:, 0].any()


def test_clocks_find_the_tags_that_the_plays_know(tokenizer):
    dataset = corpus.load("shakespeare-held-out").select([7])
    windows = corpus.draw_windows(dataset, tokenizer, 40, 512, starts="disjoint", bos_id=BOS)
    tag = play_labels(windows.tokens, windows.document, windows.start, windows.documents, tokenizer).speaker_tag
    ends = np.pad(tag[:, :-1] & ~tag[:, 1:], ((0, 0), (1, 0)))
    found = clocks(windows.tokens, tokenizer)["since_speaker"] == 0
    assert ends.sum() > 100
    cut = np.cumsum(windows.tokens == ord("\n"), axis=1) <= 2  # what the window's start cuts may look like a tag
    np.testing.assert_array_equal(found & ~cut, ends & ~cut)
    assert (found >= ends).all()


def test_windows_cut_elsewhere_are_refused(tokenizer):
    tokens, document, start = cut("macbeth", 10, 20)
    for wrong in (start + 1, start + 10**6):
        with pytest.raises(ValueError, match="windows of 'macbeth' do not hold its tokens"):
            play_labels(tokens, document, wrong, NAMES, tokenizer)
    with pytest.raises(ValueError, match="no play 'my-notes'"):
        play_labels(tokens, np.array([0]), start, ("my-notes",), tokenizer)
