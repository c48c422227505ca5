"""What the pool of training holds is compared before it is used, and made again where it was damaged."""

import os
import resource
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest

from lens import checkout
from lens.dictionaries.dictionary import Dictionary
from lens.errors import DictionaryError
from lens.locks import holding
from lens.training.checkpoint import OF, begin
from lens.training.recipe import recipe
from lens.training.sealed import DIGESTS
from lens.training.train import train_layer
from tests.training.test_train import RECIPES, activations, same, train

FEW = {"variants": ("temporallens",), "seeds": (0,)}
NAME = "temporallens-seed0"
TABLES = ("history.csv", "position_weights.csv", "late_weights.csv", "summary.csv")


def flip(path: Path) -> None:
    """Change one digit or byte, in place: hard links of the file have it too."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, train(folder, **FEW)


def a_copy(whole, folder: Path) -> Path:
    """The pool of a finished run; the folder of the run in it."""
    shutil.copytree(whole[0], folder, dirs_exist_ok=True)
    (run,) = (folder / "pool").glob("trained-*")
    return run


def check_trained_again(whole, folder: Path, file: str) -> None:
    """One call names the file and makes all as it was; the next one has nothing to do."""
    with pytest.warns(UserWarning, match=f"{file}.*: {NAME} is trained again"):
        found = train(folder, **FEW)
    for frame in ("history", "position_weights", "late_weights", "summary"):
        pd.testing.assert_frame_equal(getattr(found, frame), getattr(whole[1], frame))
    assert same(folder / "out", whole[0] / "out")
    check_used(folder)


def check_used(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("error")
        patch.setattr("lens.training.train._train", lambda *a: pytest.fail("trained again"))
        train(folder, **FEW)


@pytest.mark.parametrize("hurt", [flip, cut, empty, os.unlink])
@pytest.mark.parametrize("file", [*TABLES, f"{NAME}/cfg.json", f"{NAME}/sae.safetensors"])
def test_a_damaged_run_is_named_and_trained_again(whole, tmp_path, file, hurt):
    hurt(a_copy(whole, tmp_path) / file)
    check_trained_again(whole, tmp_path, file)


@pytest.mark.parametrize("hurt", [flip, cut, empty])
def test_damaged_digests_are_named_and_the_run_trained_again(whole, tmp_path, hurt):
    hurt(a_copy(whole, tmp_path) / DIGESTS)
    check_trained_again(whole, tmp_path, "")


@pytest.mark.parametrize("linked", [True, False])
def test_training_again_heals_the_dictionary_that_says_so(whole, tmp_path, linked):
    train(tmp_path, **FEW)
    path = tmp_path / "out" / NAME / "sae.safetensors"
    if not linked:  # a copy, as of a file system without hard links
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    flip(path)
    with pytest.raises(DictionaryError, match="sae.safetensors is truncated or altered.*train it again"):
        Dictionary.load(path.parent)
    if linked:
        check_trained_again(whole, tmp_path, "sae.safetensors")
    else:
        check_used(tmp_path)
    Dictionary.load(path.parent)
    assert same(tmp_path / "out", whole[0] / "out")


def test_a_run_of_before_there_were_digests_is_used_and_gets_them(whole, tmp_path):
    run = a_copy(whole, tmp_path)
    digests = (run / DIGESTS).read_bytes()
    (run / DIGESTS).unlink()
    check_used(tmp_path)
    assert (run / DIGESTS).read_bytes() == digests


@pytest.mark.parametrize("hurt", [cut, empty, os.unlink])
@pytest.mark.parametrize("file", [*TABLES, f"{NAME}/cfg.json", f"{NAME}/sae.safetensors"])
def test_a_run_without_digests_that_makes_no_sense_is_trained_again(whole, tmp_path, file, hurt):
    run = a_copy(whole, tmp_path)
    (run / DIGESTS).unlink()
    hurt(run / file)
    check_trained_again(whole, tmp_path, file)


@pytest.mark.parametrize("table", TABLES)
def test_tables_without_digests_have_all_rows_and_columns(whole, tmp_path, table):
    for change in (
        lambda frame: frame.iloc[:-1],
        lambda frame: frame.iloc[:0],
        lambda frame: frame.drop(columns="value"),
    ):
        run = a_copy(whole, tmp_path)
        (run / DIGESTS).unlink()
        change(pd.read_csv(run / table)).to_csv(run / table, index=False)
        check_trained_again(whole, tmp_path, table)


# -- states of unfinished runs -------------------------------------------------------------------------------------


def stopped(folder: Path, monkeypatch, **changes) -> Path:
    """Training that was stopped after its last state but before its end; the state."""
    with monkeypatch.context() as patch:
        patch.setattr("lens.training.train.CHECKPOINT_EVERY", 7)
        patch.setattr("lens.training.train._finish", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train(folder, **FEW | changes)
    (state,) = (folder / "pool").glob("train-*/step-*")
    return state


def lower_the_steps(path: Path) -> None:
    path.write_text(path.read_text().replace('"steps_done": 28', '"steps_done": 14'))


@pytest.mark.parametrize(
    ("file", "hurt"),
    [
        *[("runs.json", hurt) for hurt in (cut, empty, os.unlink, lower_the_steps)],
        *[(f"{NAME}.safetensors", hurt) for hurt in (flip, cut, empty, os.unlink)],
        *[(DIGESTS, hurt) for hurt in (flip, cut, empty, os.unlink)],
    ],
)
def test_a_damaged_state_is_named_and_training_starts_again(whole, tmp_path, monkeypatch, file, hurt):
    hurt(stopped(tmp_path, monkeypatch) / file)
    monkeypatch.setattr("lens.training.train.CHECKPOINT_EVERY", 7)
    with pytest.warns(UserWarning, match="step-28.*: this training starts again from its first step"):
        train(tmp_path, **FEW)
    assert same(tmp_path / "out", whole[0] / "out")
    assert not list((tmp_path / "pool").glob("train-*"))


def test_a_state_whose_list_of_runs_is_damaged_is_named_and_training_starts_again(whole, tmp_path, monkeypatch):
    cut(stopped(tmp_path, monkeypatch).parent / OF)
    with pytest.warns(UserWarning, match=f"{OF}.*: this training starts again from its first step"):
        train(tmp_path, **FEW)
    assert same(tmp_path / "out", whole[0] / "out")


def test_a_state_that_was_not_removed_when_its_runs_were_finished_is_removed_by_the_next_call(tmp_path, monkeypatch):
    state = stopped(tmp_path, monkeypatch).parent
    shutil.copytree(state, tmp_path / "kept")
    train(tmp_path, **FEW)
    assert not state.exists()
    (tmp_path / "kept").rename(state)
    begun, unfinished = (state.with_name(f"{state.name[:-1]}{end}") for end in "_-")
    begun.mkdir()  # and killed before anything was in it
    begin(unfinished, [tmp_path / "pool" / "trained-of-another-call"])
    train(tmp_path, **FEW)
    assert [*(tmp_path / "pool").glob("train-*")] == [unfinished]


def test_strangers_among_states_are_left_alone(whole, tmp_path, monkeypatch):
    state = stopped(tmp_path, monkeypatch)
    for name in ("step-old", "step-"):
        shutil.copytree(state, state.with_name(name))
    (state.with_name("step-9.txt")).write_text("mine")
    taken = []
    monkeypatch.setattr("lens.training.train.Run.step", count(taken))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(tmp_path, **FEW)
    assert len(taken) == 2  # of 30
    assert same(tmp_path / "out", whole[0] / "out")


def count(taken: list):
    from lens.training.run import Run

    step = Run.step
    return lambda self, *a, **k: (taken.append(self.steps_done), step(self, *a, **k))[1]


# -- a disk without room -------------------------------------------------------------------------------------------


@pytest.fixture
def little_room():
    """Files of this process may have that many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda nbytes: resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("every", "nbytes", "file"),
    [
        (7, 20_000, rf"bytes could not be written to .*step-7/{NAME}.safetensors: .*; make room and start again"),
        (100, 20_000, rf"bytes could not be written to .*trained-.*/{NAME}/sae.safetensors"),
        (100, 60_000, r"bytes could not be written to .*trained-.*/history.csv"),
    ],
)
def test_a_full_disk_is_named_and_leaves_nothing_that_blocks(tmp_path, monkeypatch, little_room, every, nbytes, file):
    kinds = {**FEW, "expansion": 12, "log_every": 1}
    if "history" in file:  # a table larger than the dictionary
        kinds |= {"expansion": 1, "steps": 200}
    monkeypatch.setattr("lens.training.train.CHECKPOINT_EVERY", every)
    expected = train(tmp_path / "a", **kinds)
    little_room(nbytes)
    for _ in range(2):  # the same process, so the same names
        with pytest.raises(OSError, match=r"[\d,]{6,} " + file):
            train(tmp_path / "b", **kinds)
        left = [path for path in (tmp_path / "b").rglob("*") if path.is_file() and path.suffix != ".lock"]
        assert all("step-100" in path.parts or path.name == OF for path in left), left
    little_room(resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    found = train(tmp_path / "b", **kinds)
    assert same(tmp_path / "a" / "out", tmp_path / "b" / "out")
    pd.testing.assert_frame_equal(expected.history, found.history)


# -- two processes -------------------------------------------------------------------------------------------------

OTHER = """
import sys
from pathlib import Path
sys.path.insert(0, "tests/training")
import test_train
test_train.train(Path(sys.argv[1]), variants=("temporallens",), seeds=(0,))
"""


def test_a_second_training_on_one_pool_waits_and_says_so(whole, tmp_path):
    shutil.rmtree(a_copy(whole, tmp_path))
    (lock,) = (tmp_path / "pool").glob(".training-*.lock")
    env = {**os.environ, "PYTHONPATH": str(checkout.root())}
    with holding(lock.with_name(lock.stem.removeprefix("."))):
        other = subprocess.Popen(
            [sys.executable, "-c", OTHER, str(tmp_path)],
            cwd=checkout.root(), env=env, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert other.stderr is not None
        assert f"waiting for process {os.getpid()} " in "".join(iter(lambda: other.stderr.read(1), "\n"))
        assert not list((tmp_path / "pool").glob("train*"))
    _, said = other.communicate()
    assert other.returncode == 0, said
    assert same(tmp_path / "out", whole[0] / "out")


@pytest.mark.parametrize("steps", [1, 11])
def test_no_recipe_of_the_paper_is_taken_for_damaged(tmp_path, monkeypatch, steps):
    """A finished run may have taken hours: where it has no digests, what it holds is known for every recipe."""
    monkeypatch.setattr("lens.training.stability.WINDOW", 5)  # longer runs than two of these have more measures
    small = {"batch_windows": 4, "micro_batch_windows": 2}
    fields = {name: {**kind, **small, **({"k": 3} if "k" in kind else {})} for name, kind in RECIPES.items()}
    recipes = {name: recipe(name, fields, steps, small) for name in RECIPES}
    kinds = {"data_digest": "test", "log_every": 5}
    train_layer(activations(), recipes, (0,), tmp_path / "out", tmp_path / "pool", **kinds)
    runs = list((tmp_path / "pool").glob("trained-*"))
    assert len(runs) == len(RECIPES) > 20
    for run in runs:
        (run / DIGESTS).unlink()
        assert ("loss_spike_rate" in (run / "summary.csv").read_text()) == (steps > 5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train_layer(activations(), recipes, (0,), tmp_path / "out", tmp_path / "pool", **kinds)
