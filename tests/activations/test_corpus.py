import difflib
import tempfile
from pathlib import Path

import datasets
import numpy as np
import pytest

from lens.activations import corpus, plays, random_models
from lens.activations.corpus import check_no_leak, draw_windows, load
from tests.small_disk import small_disk

ORIGINAL = Path(__file__).parents[2].parent / "shared" / "data" / "tinyshakespeare.txt"
BOS = 256


@pytest.fixture(scope="module")
def tokenizer():
    return random_models.byte_tokenizer()


def texts(*lengths):
    """Documents of given lengths in bytes, every byte of which tells its document and roughly its place."""
    return datasets.Dataset.from_dict(
        {
            "text": ["".join(chr(33 + 8 * d + i % 7) for i in range(length)) for d, length in enumerate(lengths)],
            "document": [f"d{d}" for d in range(len(lengths))],
        }
    )


@pytest.mark.skipif(not ORIGINAL.exists(), reason="the original tiny Shakespeare is not beside the checkout")
def test_tiny_shakespeare_is_the_original():
    original = ORIGINAL.read_text()
    ours = "\n".join(load("tiny-shakespeare")["text"])
    assert abs(len(ours) / len(original) - 1) < 0.01
    a, b = ([line for line in text.splitlines() if len(line) >= 25] for text in (original, ours))
    same = sum(block.size for block in difflib.SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks())
    assert same / len(a) > 0.99


def test_tiny_shakespeare_starts_and_stops_where_the_original_does():
    plays_in_order = load("tiny-shakespeare")
    assert tuple(plays_in_order["document"]) == plays.TINY_SHAKESPEARE
    assert plays_in_order["text"][0].startswith(
        "First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\nSpeak, speak.\n\nFirst Citizen:\n"
    )
    assert plays_in_order["text"][-1].endswith("die, rather; wink'st\nWhiles thou art waking.\n")


def test_rendering_follows_the_original():
    coriolanus, _ = plays.parse("coriolanus")
    assert "_" not in coriolanus and "\\" not in coriolanus and "[" not in coriolanus
    # An interrupted speech goes on under the same name, without the direction.
    assert "in repetition.\nWhat shouts are these?" in coriolanus
    # "**TITUS** _[To COMINIUS]_ Lead you on. ..." is left empty.
    assert "\n\nTITUS:\n\nCOMINIUS:\nNoble Marcius!\n" in coriolanus
    # "**VOLUMNIA & VIRGILIA**" is the first of the two.
    assert "\n\nVOLUMNIA:\nNay,'tis true.\n" in coriolanus
    assert "\nGhost of King Henry VI:\n" in plays.parse("richard-iii")[0]


def test_held_out_plays_are_the_other_29():
    train, test = load("tiny-shakespeare"), load("shakespeare-held-out")
    assert len(test) == 29
    assert sorted([*train["document"], *test["document"]]) == list(plays.names())
    assert set(test["genre"]) == {"comedies", "histories", "problems", "roman", "romances", "tragedies"}
    check_no_leak(train, test)


def test_folds_hold_out_every_play_and_share_none_with_their_training_text():
    folds = [plays.fold(i, 5) for i in range(5)]
    assert {(len(train), len(held_out)) for train, held_out in folds} == {(27, 11)}
    assert {play for _, held_out in folds for play in held_out} == set(plays.names())
    assert all(set(train).isdisjoint(held_out) for train, held_out in folds)
    assert {play for _, held_out in (plays.fold(i, 4) for i in range(4)) for play in held_out} == set(plays.names())
    assert load("plays-fold-2-of-5-held-out")["document"] == list(folds[2][1])
    genres = [set(load(f"plays-fold-{i}-of-5-held-out")["genre"]) for i in range(5)]
    assert min(map(len, genres)) >= 4
    assert corpus.holds_plays("plays-fold-2-of-5") and not corpus.holds_plays("pandas-docs")


@pytest.mark.parametrize(
    ("name", "message"),
    [("plays-fold-5-of-5", "no fold 5 of 5: folds are numbered from 0 to 4"), ("plays-fold-0-of-3", "take 4 or more")],
)
def test_folds_that_there_are_not_are_refused(name, message):
    with pytest.raises(ValueError, match=message):
        load(name)


def test_a_misspelt_name_brings_the_close_one(monkeypatch):
    def refuse(name, kind):
        raise OSError(f"no {kind} of that name.")

    monkeypatch.setattr(corpus, "check_on_hub", refuse)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("which asks six times"))
    with pytest.raises(FileNotFoundError, match=r"'tiny-shakspeare' \(did you mean 'tiny-shakespeare'\?\)"):
        load("tiny-shakspeare")
    with pytest.raises(FileNotFoundError, match="no dataset of that name"):
        load("somebody/text:en")


def test_text_seen_in_training_is_found_out():
    train, test = load("tiny-shakespeare"), load("shakespeare-held-out")
    leaky = datasets.concatenate_datasets([test.select([6, 17]), train.select([3])])
    with pytest.raises(ValueError, match=r"leaks.*'romeo-and-juliet' \(100.0%\)"):
        check_no_leak(train, leaky)


@pytest.mark.parametrize("play", ["hamlet", "edward-iii", "the-tempest"])
def test_speeches_label_the_text_they_come_from(play):
    text = plays.parse(play)[0]
    rows = corpus.speeches(play)
    spoken = rows.filter(lambda row: row["kind"] == "speech")
    for row in spoken:
        assert text[row["start"] : row["stop"]] == row["text"]
    starts = np.array(rows["start"])
    assert (np.diff(starts) >= 0).all()
    assert sum(len(line) for line in spoken["text"]) > 0.85 * len(text)
    directions = rows.filter(lambda row: row["kind"] == "stage direction")
    assert directions["start"] == directions["stop"] and any("Exeunt" in line for line in directions["text"])


def test_speeches_know_act_scene_and_speaker():
    rows = corpus.speeches("hamlet").to_pandas()
    soliloquy = rows[rows.text.str.startswith("To be, or not to be")].iloc[0]
    assert (soliloquy.genre, soliloquy.act, soliloquy.scene, soliloquy.speaker) == ("tragedies", "III", "I", "HAMLET")
    with pytest.raises(ValueError, match="no play 'hamlett'.*hamlet"):
        corpus.speeches("hamlett")


def test_token_characters_join_tokens_with_speeches(tokenizer):
    dataset = datasets.Dataset.from_dict({"text": ["aé🦉b", ""], "document": ["x", "y"]})
    (ids, first), (empty, _) = corpus.token_characters(dataset, tokenizer)
    with corpus.tokenise(dataset, tokenizer) as tokens:
        assert ids.tolist() == tokens.read(0, 8).tolist()
    assert first.tolist() == [0, 1, 1, 2, 2, 2, 2, 3]
    assert empty.shape == (0,)


def test_the_docstrings_of_a_locked_library_are_a_corpus():
    docs = load("pandas-docs")
    assert {"core/frame", "io/parsers/readers"} <= set(docs["document"])
    assert max(map(len, docs["text"])) < sum(map(len, docs["text"])) / 5  # no document outweighs the rest
    assert not any("tests" in name for name in docs["document"])
    frame = docs["text"][docs["document"].index("core/frame")]
    assert "DataFrame" in frame and "def __init__" not in frame  # its words, not its code
    assert corpus.digest(docs) == "ea96bb85899c9e9221b0f46d011d137c3d1494642bbb45ff49534e20d80aec15"


def test_a_text_file_is_one_document(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_bytes("Où est l'été?\r\n\n<b>here</b>\n".encode())
    rows = load(str(path))
    assert rows.to_list() == [{"text": "Où est l'été?\n\n<b>here</b>\n", "document": "notes"}]
    path.write_text("changed")
    assert load(str(path))["text"] == ["changed"]


@pytest.mark.parametrize("text", ["", " \n\n\t"])
def test_an_empty_text_is_refused(tmp_path, text):
    path = tmp_path / "empty.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match="empty.txt' has no text"):
        load(str(path))


def test_a_data_set_of_datasets_has_a_document_per_row(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.Dataset.from_dict({"text": ["one", "two"], "label": [0, 1]}).to_parquet(tmp_path / "data.parquet")
    rows = load(str(tmp_path))
    assert rows.to_list() == [
        {"text": "one", "document": f"{tmp_path}#0"},
        {"text": "two", "document": f"{tmp_path}#1"},
    ]


def test_an_unreachable_corpus_names_those_that_are_there(offline):
    with pytest.raises(FileNotFoundError, match="'wikitext:wikitext-2-v1'.*tiny-shakespeare, shakespeare-held-out"):
        load("wikitext:wikitext-2-v1")


@pytest.mark.parametrize("starts", ["random", "disjoint"])
@pytest.mark.parametrize("bos", [True, False])
def test_a_window_is_bos_and_one_documents_text(tokenizer, starts, bos):
    dataset = texts(50, 3, 0, 200, 90)
    windows = draw_windows(dataset, tokenizer, 20, 9, starts=starts, bos=bos, bos_id=BOS, seed=3)
    assert windows.tokens.shape == (20, 9)
    assert (windows.tokens.dtype, windows.document.dtype, windows.start.dtype) == (np.int32, np.int32, np.int64)
    assert windows.documents == ("d0", "d1", "d2", "d3", "d4")
    for row, d, start in zip(windows.tokens, windows.document, windows.start, strict=True):
        text = list(dataset["text"][d].encode()[start : start + 9 - bos])
        assert row.tolist() == [BOS] * bos + text
    assert len(set(zip(windows.document.tolist(), windows.start.tolist(), strict=True))) == 20


def test_windows_depend_on_the_seed_alone(tokenizer):
    for starts in ("random", "disjoint"):
        a, b, other = (draw_windows(texts(500), tokenizer, 9, 8, starts=starts, bos_id=BOS, seed=s) for s in (0, 0, 1))
        assert (a.tokens == b.tokens).all() and (a.start == b.start).all() and a.digest == b.digest
        assert (a.start != other.start).any()


def test_random_windows_start_everywhere(tokenizer):
    # 12 + 0 + 1 + 4 starts are valid in documents of 16, 4, 5 and 8 tokens; asking for all of them gives each once.
    windows = draw_windows(texts(16, 4, 5, 8), tokenizer, 17, 6, bos_id=BOS)
    assert sorted(zip(windows.document.tolist(), windows.start.tolist(), strict=True)) == [
        *((0, start) for start in range(12)),
        (2, 0),
        *((3, start) for start in range(4)),
    ]
    with pytest.raises(
        ValueError, match=r"18 distinct windows of 5 text tokens .* 17 available \(33 tokens in 4 doc.*16"
    ):
        draw_windows(texts(16, 4, 5, 8), tokenizer, 18, 6, bos_id=BOS)


@pytest.mark.parametrize(("starts", "most"), [("random", 17), ("disjoint", 5)])
def test_too_short_a_text_says_how_many_windows_there_are(tokenizer, starts, most):
    with pytest.raises(ValueError, match=rf"[Pp]ass windows={most} or fewer"):
        draw_windows(texts(16, 4, 5, 8), tokenizer, 18, 6, starts=starts, bos_id=BOS)
    assert len(draw_windows(texts(16, 4, 5, 8), tokenizer, most, 6, starts=starts, bos_id=BOS).tokens) == most
    with pytest.raises(ValueError, match="a smaller length="):
        draw_windows(texts(16, 4, 5, 8), tokenizer, 1, 18, starts=starts, bos_id=BOS)


@pytest.mark.parametrize(
    ("text", "starts", "message"),
    [  # a token is a byte: 18 windows of 5 are 90, or at distinct starts 22
        ("a" * 80, "disjoint", "18 take about 90 characters, .* there are 80: pass windows=16"),
        ("é" * 40, "disjoint", "18 take about 45 characters, .* there are 40: pass windows=16"),
        ("a" * 21, "random", "18 take about 22 characters, .* there are 21: pass windows=17"),
    ],
)
def test_too_short_a_text_says_how_many_characters_it_takes(tokenizer, text, starts, message):
    dataset = datasets.Dataset.from_dict({"text": [text], "document": ["x"]})
    with pytest.raises(ValueError, match=f"^mine too short: .*{message}"):
        draw_windows(dataset, tokenizer, 18, 6, starts=starts, bos_id=BOS, name="mine")


def test_a_tokenizer_that_makes_no_tokens_is_named():
    with pytest.raises(ValueError, match="mine: the tokenizer makes no token of its 50 characters"):
        draw_windows(texts(50), lambda found, **_: {"input_ids": [[] for _ in found]}, 1, 6, bos_id=BOS, name="mine")


def test_fewer_windows_do_where_that_was_said(tokenizer):
    with pytest.warns(UserWarning, match="mine: 18 non-overlapping .* asked for, 5 available"):
        windows = draw_windows(
            texts(16, 4, 5, 8), tokenizer, 18, 6, starts="disjoint", bos_id=BOS, least=5, name="mine"
        )
    assert len(windows.tokens) == 5
    with pytest.raises(ValueError, match="6 take about 30 characters"):
        draw_windows(texts(16, 4, 5, 8), tokenizer, 18, 6, starts="disjoint", bos_id=BOS, least=6)


def test_disjoint_windows_share_no_token_and_are_spread_in_proportion(tokenizer):
    lengths = (1000, 400, 200, 10)
    windows = draw_windows(texts(*lengths), tokenizer, 81, 11, starts="disjoint", bos_id=BOS)
    # 100 + 40 + 20 + 1 windows fit; 81 of 161 are 50.3 + 20.1 + 10.06 + 0.5, and every document gets one.
    assert np.bincount(windows.document).tolist() == [50, 20, 10, 1]
    for d in range(4):
        assert (np.diff(np.sort(windows.start[windows.document == d])) >= 10).all()
    assert np.bincount(windows.document[:16], minlength=4)[:3].tolist() == pytest.approx([10, 4, 2], abs=1)


def test_every_play_is_among_the_test_windows(tokenizer):
    windows = draw_windows(load("shakespeare-held-out"), tokenizer, 60, 128, starts="disjoint", bos_id=BOS)
    assert set(windows.document) == set(range(29))


def test_bos_in_the_text_is_text(tokenizer):
    dataset = datasets.Dataset.from_dict({"text": ["a<bos>b"], "document": ["x"]})
    windows = draw_windows(dataset, tokenizer, 1, 8, starts="disjoint", bos_id=BOS)
    assert windows.tokens.tolist() == [[BOS, *b"a<bos>b"]]


def test_bos_needs_an_id(tokenizer):
    with pytest.raises(ValueError, match="bos=True needs bos_id"):
        draw_windows(texts(50), tokenizer, 1, 8)


@pytest.mark.parametrize(("n", "length"), [(0, 8), (3, 1)])
def test_windows_without_text_are_refused(tokenizer, n, length):
    with pytest.raises(ValueError, match=f"n = {n}, length = {length}"):
        draw_windows(texts(50), tokenizer, n, length, bos_id=BOS)


def test_the_digest_knows_where_documents_end():
    one, two = (
        datasets.Dataset.from_dict({"text": list(t), "document": ["x", "y"]}) for t in (("ab", "c"), ("a", "bc"))
    )
    assert corpus.digest(one) != corpus.digest(two)
    assert corpus.digest(one) == corpus.digest(one)


def test_a_disk_without_room_for_tokens_is_named_with_the_bytes_and_how_to_take_another(
    tokenizer, tmp_path, monkeypatch
):
    with small_disk(tmp_path / "disk", 40_000):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "disk"))
        with pytest.raises(OSError, match=rf"80,000 bytes of tokens .*{tmp_path}/disk: .*TMPDIR"):
            draw_windows(texts(20_000), tokenizer, 4, 16, bos_id=BOS)
        assert not list((tmp_path / "disk").iterdir())


def test_a_line_counts_as_leaked_wherever_in_the_training_text_it_is():
    lines = [f"line number {i} of a text that is tested" for i in range(10)]
    test = datasets.Dataset.from_dict({"text": ["\n".join(lines[:5]), "\n".join(lines[5:])], "document": ["a", "b"]})
    train = datasets.Dataset.from_dict(
        {"text": ["only this line is of no other text", "", lines[6]], "document": [*"xyz"]}
    )
    with pytest.raises(ValueError, match=r"1 of 10 test lines \(10.0%\).*document 'b' \(20.0%\)"):
        check_no_leak(train, test)
    check_no_leak(train, test, tolerance=0.1)
