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
