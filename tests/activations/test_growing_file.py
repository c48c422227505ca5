"""A file that is filled row by row: what counts as written, and what does not."""

import hashlib
import json
import os

import pytest
import torch
from safetensors.torch import load_file

from lens.activations.growing_file import GrowingFile

SHAPE = (5, 2, 3)
VALUES = torch.randn(*SHAPE, generator=torch.Generator().manual_seed(0)).bfloat16()
VALUES[0, 0, 0] = 1e30  # fp16 would overflow


@pytest.fixture
def path(tmp_path):
    """A file of which two rows are written."""
    GrowingFile(tmp_path / "a.safetensors", SHAPE).append(VALUES[:2])
    return tmp_path / "a.safetensors"


def test_it_is_a_plain_safetensors_file_with_the_digest_of_what_was_written(path):
    again = GrowingFile(path, SHAPE)
    assert again.rows == 2
    again.append(VALUES[2:].float())
    assert torch.equal(load_file(path)["activations"], VALUES)
    assert again.finish() == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_it_goes_back_to_an_earlier_row(path):
    file = GrowingFile(path, SHAPE)
    file.go_back(1)
    file.append(VALUES[1:])
    assert torch.equal(load_file(path)["activations"], VALUES)
    assert file.finish() == hashlib.sha256(path.read_bytes()).hexdigest()


def flip(offset):
    def damage(path):
        content = bytearray(path.read_bytes())
        content[offset] ^= 1
        path.write_bytes(content)

    return damage


def record(**values):
    return lambda path: path.with_suffix(".progress.json").write_text(json.dumps(values))


DIGEST_OF_ALL = "0" * 64
DAMAGE = {
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "emptied": lambda path: os.truncate(path, 0),
    "deleted": lambda path: path.unlink(),
    "deleted and made again by another": lambda path: path.write_bytes(b"\0" * path.stat().st_size),
    "a bit of the last row written": flip(-3 * 12 - 1),
    "a bit of the header": flip(9),
    "says too much": record(rows=4, sha256=DIGEST_OF_ALL),
    "says less than nothing": record(rows=-1, sha256=DIGEST_OF_ALL),
    "no digest": record(rows=2),
    "record emptied": lambda path: path.with_suffix(".progress.json").write_text(""),
    "record of nested lists": lambda path: path.with_suffix(".progress.json").write_text("[" * 100_000),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_nothing_counts_as_written_that_is_not_on_disk(path, damage, capsys):
    damage(path)
    file = GrowingFile(path, SHAPE)
    assert file.rows == 0
    assert str(path) in capsys.readouterr().err
    file.append(VALUES)
    assert torch.equal(load_file(path)["activations"], VALUES)
    assert file.finish() == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_row_after_those_recorded_is_written_again(path):
    flip(-1)(path)  # of the last row, not yet written: what a process that was killed may leave
    file = GrowingFile(path, SHAPE)
    assert file.rows == 2
    file.append(VALUES[2:])
    assert torch.equal(load_file(path)["activations"], VALUES)


def test_a_file_of_another_shape_starts_again(path):
    assert GrowingFile(path, (6, 2, 3)).rows == 0


def test_the_digest_is_of_what_was_written_and_not_of_what_the_disk_made_of_it(path):
    file = GrowingFile(path, SHAPE)
    file.append(VALUES[2:])
    flip(-1)(path)
    assert file.finish() != hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_folder_in_the_place_of_the_record_is_replaced(path):
    record = path.with_suffix(".progress.json")
    record.unlink()
    (record / "inner").mkdir(parents=True)
    file = GrowingFile(path, SHAPE)
    file.append(VALUES)
    assert file.rows == 5 and record.is_file()


@pytest.mark.parametrize("kind", ["folder", "link to nowhere", "link to a finished file"])
def test_what_stands_in_the_place_of_the_file_is_replaced_and_never_written_through(path, kind, tmp_path):
    other = tmp_path / "other.safetensors"
    path.unlink()
    if kind == "folder":
        (path / "inner").mkdir(parents=True)
    else:
        if "finished" in kind:
            other.write_bytes(b"of another store")
        path.symlink_to(other)
    file = GrowingFile(path, SHAPE)
    file.append(VALUES)
    assert torch.equal(load_file(path)["activations"], VALUES) and not path.is_symlink()
    assert not other.exists() or other.read_bytes() == b"of another store"
