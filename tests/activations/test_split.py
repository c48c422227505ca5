import pytest

from lens.activations.split import split_text


def test_a_single_text_is_cut_at_a_line_break():
    text = "".join(f"line {i:02d}\n" for i in range(50))
    train, held_out = split_text([text], 0.2)
    assert train["text"][0] + held_out["text"][0] == text
    assert train["text"][0].endswith("\n")
    assert len(held_out["text"][0]) / len(text) == pytest.approx(0.2, abs=0.02)


def test_documents_stay_whole_but_the_one_at_the_cut():
    documents = ["a" * 40, "b b " * 10, "c" * 20]
    train, held_out = split_text(documents, 0.4)
    assert list(train["document"]) == ["0", "1"]
    assert list(held_out["document"]) == ["1", "2"]
    assert "".join([*train["text"], *held_out["text"]]) == "".join(documents)
    assert train["text"][1].endswith(" ")


def test_a_cut_between_documents_leaves_both_whole():
    train, held_out = split_text(["x" * 80, "y" * 20], 0.2)
    assert (list(train["text"]), list(held_out["text"])) == (["x" * 80], ["y" * 20])


def test_nothing_to_hold_out_is_refused():
    with pytest.raises(ValueError, match="cannot be split"):
        split_text(["word", "   "], 0.001)


@pytest.mark.parametrize("share", ["0.2", True, 0, 1.5, float("nan"), None])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match="is no share between 0 and 1"):
        split_text(["a text\n" * 50], share)


def test_documents_that_recur_on_both_sides_are_pointed_out(tmp_path, recwarn):
    line = "the same line of words in each of ten documents, more than long enough\n"
    with pytest.warns(UserWarning, match="leaks into training: 6 of 6 test lines"):
        split_text([line * 3] * 10)
    (tmp_path / "a.txt").write_text(line * 100)
    with pytest.warns(UserWarning, match="leaks into training"):
        split_text(tmp_path / "a.txt")
    recwarn.clear()
    split_text([f"line {i} of words that stand in no other document of these\n" for i in range(50)])
    assert not recwarn.list
