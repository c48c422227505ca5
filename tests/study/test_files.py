"""Files that are missing, cut, overwritten or of another kind are named, with what brings them back."""

import json
import os
import subprocess

import pandas as pd
import pytest
import torch

from lens import files
from lens.activations.growing_file import GrowingFile
from lens.errors import ConfigError, DictionaryError

DEEP = b"[" * 100_000 + b"]" * 100_000
DAMAGED = {
    "missing": None,
    "empty": b"",
    "cut": b'{"a": [1, ',
    "not UTF-8": b'{"a": "\xff"}',
    "nested deep": DEEP,
    "a list": b"[1]",
    "a folder": ...,
}


def damage(path, content):
    if content is ...:
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)


@pytest.mark.parametrize("read", [files.read_json, files.read_yaml])
@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_named_with_the_remedy(tmp_path, read, content):
    path = tmp_path / "a file.x"
    damage(path, content)
    with pytest.raises(ConfigError, match="a file.x (is missing|cannot be read).*: make it again$"):
        read(path, "make it again")


@pytest.mark.parametrize("content", ["", "a,b\n1", '"a,b\n1,2'])
def test_a_damaged_table_is_named_with_the_remedy(tmp_path, content):
    path = tmp_path / "x.csv"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"x\.csv cannot be read .*: make it again"):
        files.read_csv(path, "make it again", columns=("a", "c"))


def test_a_whole_file_is_read_as_it_is(tmp_path):
    path = tmp_path / "x"
    path.write_text(json.dumps({"a": 1e-4, "b": None, "c": "ü"}), encoding="utf-8")
    assert files.read_json(path, holds={"a": float, "b": str | None}) == {"a": 1e-4, "b": None, "c": "ü"}
    path.write_text("a: 3e-4\nb: no\n")
    assert files.read_yaml(path) == {"a": 3e-4, "b": "no"}
    path.write_text("a,b\n1,2\n")
    pd.testing.assert_frame_equal(files.read_csv(path, columns=("b",)), pd.DataFrame({"a": [1], "b": [2]}))


@pytest.mark.parametrize(("holds", "found"), [({"b": int}, "nothing"), ({"a": int}, "'x'")])
def test_what_a_json_file_must_hold_is_checked(tmp_path, holds, found):
    path = tmp_path / "x.json"
    path.write_text('{"a": "x"}')
    with pytest.raises(DictionaryError, match=f"x.json cannot be read .*{found}, not int.*: get it again"):
        files.read_json(path, "get it again", holds, raised=DictionaryError)


def test_an_object_with_a_digest_of_itself_shows_any_altered_value(tmp_path):
    path, value = tmp_path / "x.json", {"b": 0.1, "a": {"2": [1, None], "10": "ü"}}
    path.write_text(json.dumps(files.with_digest(value)), encoding="utf-8")
    assert files.read_json(path) == value
    for old, new in (("0.1", "0.2"), ("null", "1"), ('"2"', '"3"'), ("[1, ", "[1, 1, ")):
        path.write_text(json.dumps(files.with_digest(value)).replace(old, new), encoding="utf-8")
        with pytest.raises(ConfigError, match="x.json cannot be read .it was altered.*: make it again"):
            files.read_json(path, "make it again")


@pytest.mark.parametrize("umask", [0o002, 0o077])
def test_files_have_the_permissions_of_the_umask(tmp_path, umask):
    """Others who share a pool can read it, or they can't, as its owner has set; safetensors has its own mind of it."""
    before = os.umask(umask)
    try:
        files.write(tmp_path / "a.json", b"{}")
        files.write_tensors(tmp_path / "b.safetensors", {"x": torch.zeros(2)})
        GrowingFile(tmp_path / "c.safetensors", (1, 1, 1))
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o666 & ~umask}


def test_what_stands_in_the_way_of_a_file_is_named_and_stays(tmp_path):
    (tmp_path / "a.json").mkdir()
    with pytest.raises(OSError, match="2 bytes could not be .* to .*a.json: Is a directory; see to that and start"):
        files.write(tmp_path / "a.json", b"{}")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_what_a_killed_process_was_writing_is_removed_and_what_a_live_one_writes_is_not(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    (tmp_path / f".a.json.{gone.pid}").write_text("half")
    (tmp_path / f".folder.{gone.pid}" / "inner").mkdir(parents=True)
    (tmp_path / f".a.json.{os.getppid()}").write_text("of a process that runs")
    (tmp_path / ".a.json.lock").write_text("")
    files.write(tmp_path / "a.json", b"{}")
    files.partial(tmp_path / "folder")
    assert {p.name for p in tmp_path.iterdir()} == {"a.json", f".a.json.{os.getppid()}", ".a.json.lock"}
