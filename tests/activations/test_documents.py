"""What is read is what was named: files of any name, data sets of any kind, long texts in parts."""

import codecs
import dataclasses
import gzip
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
import torch

import lens
from lens.activations import corpus, random_models, text_file
from lens.activations.corpus import draw_windows
from lens.activations.documents import pairs
from lens.activations.split import as_dataset, split_text
from lens.activations.store import open_layer

BOS = 256


@pytest.mark.parametrize(
    "name",
    ["a[12].txt", "what?.txt", "star*.txt", "a::b.txt", "a#b.txt", "two words.txt", "x[1]/a.txt", "~", "zip://a"],
)
def test_the_file_that_was_named_is_read(tmp_path, monkeypatch, name):
    """`a[12].txt` was read from a1.txt and a2.txt, `star*.txt` with start.txt before it."""
    for other in ("a1.txt", "a2.txt", "whats.txt", "start.txt", "x1/a.txt"):
        (tmp_path / other).parent.mkdir(exist_ok=True)
        (tmp_path / other).write_text("wrong")
    (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
    (tmp_path / name).write_text("right")
    monkeypatch.chdir(tmp_path)
    path = str(tmp_path / name)
    for text in (path, Path(path), name, [Path(name)]):
        assert as_dataset(text).to_list() == [{"text": "right", "document": Path(name).stem}]


def test_a_home_folder_is_found(tmp_path, monkeypatch):
    """`~/a.txt` was no text file."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.txt").write_text("right")
    assert as_dataset("~/a.txt")[0]["text"] == as_dataset(Path("~/a.txt"))[0]["text"] == "right"


def test_a_folder_that_would_be_a_pattern_is_refused(tmp_path):
    """The files of x1 were read for those of x[1]."""
    (tmp_path / "x[1]").mkdir()
    with pytest.raises(ValueError, match=r"takes the '\[' in .*x\[1\] for a pattern: rename the folder"):
        corpus.load(str(tmp_path / "x[1]"))


def test_a_file_of_a_folder_is_a_document(tmp_path):
    """Each line of a folder's .txt was one, and the .md were left out."""
    for name, text in {
        "b.txt": "one\ntwo\n",
        "a.md": "three",
        "in/c.TXT": "four",
        ".git/x": "no",
        ".d.txt": "no",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    for found in (as_dataset(tmp_path), corpus.load(str(tmp_path))):
        assert list(pairs(found)) == [("a", "three"), ("b", "one\ntwo\n"), ("c", "four")]
    (tmp_path / "page.html").write_text("five")
    with pytest.raises(ValueError, match=r"3 text files .*and 1 others \(.html\): name those to read"):
        as_dataset(tmp_path)


def test_files_of_one_name_in_several_folders_are_told_apart(tmp_path):
    """Both documents were called `a`."""
    for folder in ("x", "x/y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.txt").write_text(f"in {folder}")
    assert list(pairs(as_dataset(tmp_path))) == [("a.txt", "in x"), ("y/a.txt", "in x/y")]


def test_a_folder_is_read_file_by_file(tmp_path):
    """All of its files were in memory at once."""
    for name in "abcd":
        (tmp_path / f"{name}.txt").write_text(f"{name}\n" * 10)
    found = as_dataset(tmp_path)
    (tmp_path / "d.txt").write_bytes(b"\xff")
    assert [found[i]["text"][0] for i in range(3)] == ["a", "b", "c"]
    with pytest.raises(ValueError, match=r"d.txt was changed while it was read"):
        _ = found[3]


def test_a_folder_is_split_within_a_file(tmp_path):
    for name in "abcd":
        (tmp_path / f"{name}.txt").write_text(f"{name}\n" * 10)
    train, test = split_text(tmp_path, 0.4)
    assert list(pairs(train)) == [("a", "a\n" * 10), ("b", "b\n" * 10), ("c", "c\n" * 4)]
    assert list(pairs(test)) == [("c", "c\n" * 6), ("d", "d\n" * 10)]
    train, test = split_text(tmp_path, 0.5)
    assert [[name for name, _ in pairs(part)] for part in (train, test)] == [["a", "b"], ["c", "d"]]
    with pytest.raises(ValueError, match="a text of 80 characters cannot be split into 1% and 99%"):
        split_text(tmp_path, 0.99)


@pytest.mark.parametrize("name", ["a.jsonl", "a.JSON", "a.csv", "a.tsv"])
def test_a_file_of_rows_is_not_read_as_one_text(tmp_path, name):
    (tmp_path / name).write_text('{"text": "one"}\n{"text": "two"}\n')
    for text in (str(tmp_path / name), [tmp_path / name]):
        with pytest.raises(ValueError, match=r"is a data set by its name: pass datasets.load_dataset\('(json|csv)'"):
            as_dataset(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ([{"text": "a\ud800"}], "half of a surrogate pair"),
        ([{"text": "a", "document": "\ud800"}], "half of a surrogate pair"),
        (
            datasets.Dataset.from_dict({"text": ["a"], "document": [["x", "y"]]}),
            "holds List.*, not names: leave it out",
        ),
        (datasets.Dataset.from_dict({"text": ["a"]}).data.table, "a table with the columns text where a text"),
    ],
    ids=["text", "name", "names", "arrow"],
)
def test_rows_that_are_none_are_named(text, message):
    with pytest.raises(ValueError, match=message):
        as_dataset(text)


def test_a_folder_that_holds_a_data_set_is_one(tmp_path):
    (tmp_path / "README.md").write_text("what the data are")
    (tmp_path / "train.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    assert as_dataset(tmp_path)["text"] == ["one", "two"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (gzip.compress(b"text", mtime=0), "is not text but compressed: gunzip --keep '.*a b.txt'"),
        (b"PAR1" + b"x" * 9, "is not text but a table in Parquet: pass datasets"),
        ("hé".encode("utf-16"), "UTF-16, not UTF-8: iconv -f utf-16 -t utf-8 '.*a b.txt'"),
        ("hé".encode("utf-32"), "UTF-32, not UTF-8: iconv -f utf-32"),
        ("he".encode("utf-16le"), "NUL byte at byte offset 1: .* iconv -f utf-16le"),
        ("é".encode() * 40_000 + b"\xe9t\xe9", "not UTF-8: byte 0xe9 at byte offset 80000.*iconv -f latin1"),
    ],
    ids=["gzip", "parquet", "utf-16", "utf-32", "utf-16le", "latin-1"],
)
def test_another_encoding_is_named_rightly(tmp_path, data, message):
    """UTF-16 was taken for latin1, and without its mark for text with NULs in it."""
    path = tmp_path / "a b.txt"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        corpus.load(str(path))


def test_the_mark_of_utf_8_is_no_text(tmp_path):
    """It was the first token of a document."""
    for data in (b"a line", b"a line\n" * 200_000):  # in one part, and in several
        (tmp_path / "a.txt").write_bytes(codecs.BOM_UTF8 + data)
        assert "".join(row["text"] for row in corpus.load(str(tmp_path / "a.txt"))) == data.decode()


def rows(**columns):
    return datasets.Dataset.from_dict(columns)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (rows(text=["a", "b"]), [("a", "text#0"), ("b", "text#1")]),
        (rows(text=["a"], document=[7]), [("a", "7")]),
        (rows(text=["a", None], document=["x", "y"]).select([0]), [("a", "x")]),
        (rows(text=["a"], document=["x"]).with_format("numpy"), [("a", "x")]),
        (("a", "b"), [("a", "0"), ("b", "1")]),
        (list(rows(text=["a"], document=["x"])), [("a", "x")]),
    ],
)
def test_data_sets_and_lists_are_read(text, expected):
    """A data set without `document` failed, numbers in it failed in the digest: 'int' object has no 'encode'."""
    assert [(row["text"], row["document"]) for row in as_dataset(text)] == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (datasets.DatasetDict(train=rows(text=["a"])), r"a DatasetDict of train .*: pass one of them, text\[...\]"),
        (rows(text=["a"]).to_iterable_dataset(), "an IterableDataset may have no end: .*text.take"),
        (rows(words=["a"]), "no column 'text'; it has words"),
        (rows(text=[1, 2]), r"column 'text' .* holds Value\('int64'\), not strings"),
        (rows(text=["a", None]), r"rows without 'text' \(1 or more\); leave them out: text.filter"),
        (["a", None], "document 1 of the text is a NoneType"),
        ([], "all of its 0 documents are empty"),
        ([" ", "\n"], "all of its 2 documents are empty"),
        ([__file__], "each of the 1 documents is the name of a file: pass Paths"),
        (
            pd.DataFrame({"text": ["a"], "n": [1]}),
            r"a table with the columns text, n .*: pass .*, text\[...\]",
        ),
        ({"a", "b"}, "a set has no order, .*: pass a list"),
        (["a", "b\ud800c"], "document 1 of the text has half of a surrogate pair .* at 1: "),
        (b"text", r"a bytes where a text is expected: pass \[text\]"),
        (None, "a NoneType where a text is expected"),
        ("one line\nand another", "where a path or a name is expected: pass \\[text\\]"),
    ],
)
def test_what_is_no_text_is_refused(text, message):
    """The splits of a DatasetDict were documents called "train" and "test", a list of paths a text of their names."""
    with pytest.raises(ValueError, match=message):
        as_dataset(text)


@pytest.mark.parametrize("text", [Path("no.txt"), "no.txt"])
def test_a_file_that_is_not_there_is_named(text):
    """`Path` was no text at all: 'PosixPath' object is not iterable."""
    with pytest.raises(FileNotFoundError, match="no text file no.txt"):
        as_dataset(text)


@pytest.fixture
def short_parts(monkeypatch):
    monkeypatch.setattr(text_file, "PART", 40)


TEXT = "".join(f"line {i:02d}, é\n" + "\n" * (i % 3 == 0) for i in range(20))


def test_a_long_text_is_several_documents(short_parts, tmp_path):
    """A text file of 100 MB, one document, took 12 GB or more to tokenise."""
    path = tmp_path / "long.txt"
    path.write_bytes(TEXT.replace("\n", "\r\n").encode())
    for found, name in (
        (as_dataset(path), "long"),
        (as_dataset([TEXT]), "0"),
        (as_dataset(rows(text=[TEXT])), "text#0"),
    ):
        assert "".join(row["text"] for row in found) == TEXT
        assert [row["document"] for row in found] == [f"{name}#{i}" for i in range(len(found))]
        assert max(len(row["text"].encode()) for row in found) <= 40
        assert all(row["text"].endswith("\n") for row in found)
    windows = draw_windows(as_dataset(path), random_models.byte_tokenizer(), 30, 9, bos_id=BOS)
    for row, d, start in zip(windows.tokens, windows.document, windows.start, strict=True):
        assert row.tolist() == [BOS, *as_dataset(path)[int(d)]["text"].encode()[start : start + 8]]


def test_characters_are_never_cut(short_parts):
    words = "é🦉" * 50
    assert "".join(text_file.parts(words)) == words
    assert text_file.parts("a" * 100) == ["a" * 39, "a" * 39, "a" * 22]


def test_a_long_file_is_split_at_a_line_break(short_parts, tmp_path):
    path = tmp_path / "long.txt"
    path.write_text(TEXT)
    train, test = split_text(path, 0.3)
    before, after = ("".join(row["text"] for row in part) for part in (train, test))
    assert before + after == TEXT
    assert before.endswith("\n")
    assert len(after.encode()) / len(TEXT.encode()) == pytest.approx(0.3, abs=0.05)
    assert split_text([TEXT], 0.3)[0]["text"][0] == train[0]["text"]


def test_a_file_that_changes_while_it_is_read_is_named(short_parts, tmp_path):
    path = tmp_path / "long.txt"
    path.write_text(TEXT)
    found = as_dataset(path)
    path.write_text(TEXT[::-1])
    with pytest.raises(ValueError, match=r"long.txt was changed while it was read: start again"):
        draw_windows(found, random_models.byte_tokenizer(), 3, 9, bos_id=BOS)


def test_no_more_than_a_part_is_tokenised_at_a_time(monkeypatch):
    """A thousand documents were tokenised at once, however long they were."""
    monkeypatch.setattr(text_file, "PART", 40)
    texts = ["a" * 20, "b" * 15, "", "c" * 10, "d" * 39]
    tokenizer, asked = random_models.byte_tokenizer(), []

    def spy(texts, **options):
        asked.append(texts)
        return tokenizer(texts, **options)

    with corpus.tokenise(as_dataset(texts), spy) as tokens:
        assert [len(batch) for batch in asked] == [3, 1, 1]
        assert bytes(tokens.read(0, 84).tolist()).decode() == "".join(texts)
        assert tokens.read(20, 15).tolist() == list(b"b" * 15)
        assert tokens.sizes.tolist() == [20, 15, 0, 10, 39]


def test_a_tokenizer_without_bos_is_fitted_and_profiled(tmp_path):
    """Qwen's could be neither: the advice was `bos=False`, which `fit` did not know."""
    model = lens.load_model("random:gemma-3-tiny", device="cpu", dtype=torch.float32)
    model = dataclasses.replace(model, bos_id=None)
    text = ["It was the best of times, it was the worst of times.\n" * 40]
    found = lens.fit(model, 1, text, tmp_path, windows=16, length=16, steps=2)
    tokens = open_layer(tmp_path / "activations", 1, "train").tokens
    whole = list(text[0].encode())
    starts = open_layer(tmp_path / "activations", 1, "train").start.tolist()
    assert tokens.tolist() == [whole[start : start + 16] for start in starts]
    profile = lens.profile(found, model, text, windows=16, length=16, fidelity=1, permutations=40)
    assert sorted(set(profile.positions["position"])) == list(range(16))
    assert profile.rates.index.tolist() == list(range(1, 16))


def test_a_full_disk_is_named(tmp_path):
    """No space left on device was said without a place."""
    with (
        open("/dev/full", "wb", buffering=0) as full,
        pytest.raises(OSError, match="8 bytes of tokens after 0 could not be written to .*: No space left.*TMPDIR"),
    ):
        corpus._write(full, np.zeros(2, np.int32))


def test_fit_and_profile_read_paths(tmp_path):
    """Both failed with a `Path`."""
    path = tmp_path / "a[1].txt"
    path.write_text("It was the best of times, it was the worst of times.\n" * 40)
    model = lens.load_model("random:gemma-3-tiny", device="cpu", dtype=torch.float32)
    found = lens.fit(model, np.int64(1), path, tmp_path / "out", windows=16, length=16, steps=2)
    profile = lens.profile(found, model, path, windows=16, length=16, fidelity=1, permutations=40)
    assert (profile.about.layer, found.info.layer) == ("1", "1")
