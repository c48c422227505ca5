"""Two processes of one torchrun call against one: the same bytes by runs, the same numbers by batch and by features."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lens import checkout, processes
from lens.dictionaries.dictionary import Dictionary
from lens.errors import ConfigError
from lens.training import sharing
from lens.training.recipe import build
from lens.training.train import train_layer
from tests.training.test_train import activations, same

COMMON = {"position": "none", "position_weights": "uniform", "precision": "fp32", "lr": 1e-3, "expansion": 2}
FEW = {"k": 1, "dead_after": 40}  # k of 32 features, and of 16; some are dead soon
RUNS = {
    "masked": {"position": "mask", "steps": 10},
    "kept": {"architecture": "batch_topk", **FEW, "steps": 10},
}
KINDS = {
    "relu": {"l1_coef": 0.02},
    "topk": {"architecture": "topk", "k": 3, "dead_after": 40},
    "few": {"architecture": "topk", **FEW, "expansion": 8},
    "batch_topk": {"architecture": "batch_topk", "k": 3, "dead_after": 40, "input_centre": "mean"},
    "batch_few": {"architecture": "batch_topk", **FEW, "position": "centred", "expansion": 8},
    "jumprelu": {"architecture": "jumprelu", "target_l0": 3.0, "bandwidth": 0.05},
}
BATCH_ALONE = {"matryoshka": {"architecture": "matryoshka", "k": 3}, "mask": {"position": "mask"}}

PROGRAM = """
import os, signal, sys
from pathlib import Path
import lens.training.train as train
from tests.training import test_processes
from lens import processes

folder, how = Path(sys.argv[1]), sys.argv[2]
train.CHECKPOINT_EVERY = 4
if how == "killed" and processes.rank() == 1:
    save = train.snapshot
    def snapshot(runs, state, step):
        save(runs, state, step)
        if runs[0].name.startswith("features") and step == 8:
            os.kill(os.getpid(), signal.SIGKILL)
    train.snapshot = snapshot
test_processes.train_all(folder)
test_processes.extract_all(folder)
test_processes.stream_all(folder)
"""


def recipes() -> dict[str, dict]:
    """All that two processes train: runs, and each kind by batch and by features, with its name in front."""
    found = dict(RUNS)
    for by in ("batch", "features"):
        for name, fields in {**KINDS, **(BATCH_ALONE if by == "batch" else {})}.items():
            found[f"{by}-{name}"] = {"steps": 12, **fields, "processes": by}
    return found


def train_all(folder: Path, **changes):
    built = {name: build({**COMMON, "batch_windows": 4, **fields, **changes}) for name, fields in recipes().items()}
    return train_layer(
        activations(), built, (0,), folder / "out", folder / "pool", data_digest="test", layer=3, log_every=4
    )


def extract_all(folder: Path) -> None:
    from lens.activations import corpus, models
    from lens.activations.extract import extract
    from lens.activations.split import as_dataset

    model = models.load("random:gemma-3-tiny", device="cpu")
    text = as_dataset(["the quick brown fox jumps over the lazy dog\n" * 60])
    windows = {"train": corpus.draw_windows(text, model.tokenizer, 40, 16, bos_id=model.bos_id)}  # three blocks
    extract(model, windows, [1, 2], folder / "store", folder / "extracted", window_rule={})


def stream_all(folder: Path) -> None:
    from lens.activations import models
    from lens.activations.split import as_dataset
    from lens.training.stream import Stream

    model = models.load("random:gemma-3-tiny", device="cpu", dtype=torch.float32)
    text = as_dataset(["the quick brown fox jumps over the lazy dog\n" * 60])
    recipe = build({**COMMON, "batch_windows": 6, "steps": 9, "processes": "batch"})  # 2.7 epochs of two blocks
    train_layer(
        Stream(model, 1, text, 20, 16), {"streamed": recipe}, (0,), folder / "streamed", folder / "pool-of-stream",
        data_digest="stream", layer=1, log_every=4,
    )  # fmt: skip


def torchrun(folder: Path, how: str) -> subprocess.CompletedProcess:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port),
        "--no-python", sys.executable, "-W", "ignore", "-c", PROGRAM, str(folder), how,
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(checkout.root()), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=checkout.root(), env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> Path:
    """What one process gives."""
    folder = tmp_path_factory.mktemp("one")
    train_all(folder)
    extract_all(folder)
    stream_all(folder)
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    """What two processes give, one of which was killed in the middle."""
    folder = tmp_path_factory.mktemp("two")
    killed = torchrun(folder, "killed")
    assert killed.returncode, "nothing was killed"
    states = sorted(path.name for path in (folder / "pool").glob("train-*/step-*"))
    assert states == ["step-8", "step-8"], states
    done = torchrun(folder, "go on")
    assert done.returncode == 0, done.stderr[-3000:]
    assert not list((folder / "pool").glob("train-*"))
    return folder


@pytest.mark.slow
def test_runs_that_processes_share_are_those_of_one_to_the_byte(one, two):
    for name in RUNS:
        assert same(one / "out" / f"{name}-seed0", two / "out" / f"{name}-seed0")


@pytest.mark.slow
def test_windows_that_processes_extract_together_are_those_of_one_to_the_byte(one, two):
    assert same(one / "store", two / "store")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(recipes().keys() - RUNS))
def test_a_dictionary_that_processes_train_together_is_that_of_one(name, one, two):
    """The same features are kept at every step, so that weights differ by the rounding of sums alone."""
    a, b = (Dictionary.load(folder / "out" / f"{name}-seed0") for folder in (one, two))
    assert a.info == b.info
    for key, value in a.weights().items():
        torch.testing.assert_close(b.weights()[key], value, rtol=1e-3, atol=2e-4)
    start = Dictionary.initialise(a.info, torch.zeros(a.info.d_in), 0)
    assert (a.W_dec - start.W_dec).abs().max() > 20 * (a.W_dec - b.W_dec).abs().max()  # beside what was learned


@pytest.mark.slow
def test_processes_that_share_a_stream_train_to_the_numbers_of_one(one, two):
    a, b = (Dictionary.load(folder / "streamed" / "streamed-seed0") for folder in (one, two))
    torch.testing.assert_close(b.W_dec, a.W_dec, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "3 processes for 2 runs: start 2 at most"),
        ({"processes": "batch"}, "a: 4 windows of a batch don't divide among 3 processes: start 1 or 2 or 4"),
        (
            {"processes": "features"},
            "a: 32 features don't divide among 3 processes: start 1 or 2 or 4 or 8 or 16 or 32",
        ),
        (
            {"processes": "features", "architecture": "topk", "k": 8},
            "a: 32 features with k 8 don't divide among 3 processes: start 1 or 2 or 4",
        ),
        (
            {"processes": "features", "architecture": "matryoshka"},
            "a: processes can't share matryoshka by features: choose processes batch or runs",
        ),
        (
            {"processes": "batch", "architecture": "topk", "position": "position_prior"},
            "a: processes can't share position_prior by batch: choose processes runs",
        ),
    ],
)
def test_what_does_not_divide_is_refused_with_what_does(monkeypatch, fields, message):
    monkeypatch.setattr(sharing, "count", lambda: 3)
    recipe = build({**COMMON, "batch_windows": 4, "steps": 1, **fields})
    with pytest.raises(ConfigError) as raised:
        sharing.check({"a": recipe, **({"b": recipe} if not fields else {})}, 1, 16)
    assert str(raised.value).startswith(message)


def test_a_job_of_a_cluster_is_no_torchrun(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert (processes.rank(), processes.count()) == (0, 1)
