import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch
import transformers

from lens.activations import extract as extraction
from lens.activations import models
from lens.activations.corpus import Windows
from lens.activations.extract import BATCH_WINDOWS, extract
from lens.activations.store import StoreError, open_layer
from lens.bf16 import products
from tests.small_disk import small_disk

T = 12
RULE = {"length": T, "starts": "random", "bos": True, "seed": 0}


@pytest.fixture(scope="module")
def model():
    return models.load("random:gemma-3-tiny")


def windows(n: int, seed: int, vocab: int, bos: int) -> Windows:
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, vocab, (n, T), dtype=np.int32)
    tokens[:, 0] = bos
    return Windows(tokens, np.zeros(n, np.int32), np.arange(n, dtype=np.int64), ("A play",), f"digest-{seed}")


@pytest.fixture(scope="module")
def both(model):
    n = 3 * BATCH_WINDOWS + 5
    return {s: windows(n, i, model.vocab_size, model.bos_id) for i, s in enumerate(("train", "test"))}


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_store_holds_the_residual_stream_of_every_layer(model, both, tmp_path):
    manifests = extract(model, both, [0, 2, "embedding"], tmp_path / "a", tmp_path / "pool", window_rule=RULE)
    tokens = torch.from_numpy(both["test"].tokens.astype("int64"))
    with torch.inference_mode(), products(model.device):
        hidden = model.model(tokens[:BATCH_WINDOWS], output_hidden_states=True).hidden_states
    for layer, index in ((0, 1), (2, 3), ("embedding", 0)):
        store = open_layer(tmp_path / "a", layer, "test")
        assert store.activations.shape == (len(tokens), T, model.d_model)
        assert store.activations.dtype == torch.bfloat16
        assert torch.equal(store.activations[:BATCH_WINDOWS], hidden[index].bfloat16())
        assert torch.equal(store.tokens, tokens.int())
        assert manifests[layer]["model"] == "random:gemma-3-tiny"
    assert manifests["embedding"]["depth"] == 0
    assert manifests[2]["depth"] == 3 / model.n_layers


class Counted:
    """The model's own pass, which counts its calls and the layers asked for, and is interrupted in call `stop`."""

    def __init__(self, model, stop=None):
        self.model, self.stop, self.calls = model, stop, []

    def __call__(self, batch, layers):
        if len(self.calls) + 1 == self.stop:
            raise KeyboardInterrupt
        self.calls.append(tuple(layers))
        return self.model.residual_stream(batch, layers)


@pytest.fixture(scope="module")
def finished(model, both, tmp_path_factory) -> Path:
    """A store of layers 1 and 2 and its pool, which nothing changes."""
    folder = tmp_path_factory.mktemp("finished")
    extract(model, both, [1, 2], folder / "b", folder / "pool", window_rule=RULE)
    return folder


@pytest.fixture(scope="module")
def undisturbed(finished):
    """The files of a store of layers 1 and 2."""
    return files(finished / "b")


@pytest.fixture(scope="module")
def stopped(model, both, tmp_path_factory) -> Path:
    """The pool after an extraction of layers 1 and 2 that was stopped in the second batch of the second split."""
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.raises(KeyboardInterrupt):
        extract(model, both, [1, 2], folder / "b", folder / "pool", window_rule=RULE, forward=Counted(model, 6))
    assert not (folder / "b").exists()
    return folder / "pool"


@pytest.fixture
def interrupted(stopped, tmp_path) -> Path:
    """A copy of that pool."""
    return Path(shutil.copytree(stopped, tmp_path / "pool"))


def test_interrupted_extraction_goes_on_where_it_stopped(model, both, tmp_path, undisturbed, interrupted):
    rest = Counted(model)
    extract(model, both, [1, 2], tmp_path / "b", interrupted, window_rule=RULE, forward=rest)
    assert len(rest.calls) == 8 - 5  # 4 batches a split; none that was written is computed again
    assert files(tmp_path / "b") == undisturbed
    assert len(list(interrupted.iterdir())) == 2  # what is finished, and its lock


def test_a_layer_of_an_interrupted_extraction_goes_on_alone_and_the_other_after_it(
    model, both, tmp_path, undisturbed, interrupted
):
    rest = Counted(model)
    extract(model, both, [2], tmp_path / "b", interrupted, window_rule=RULE, forward=rest)
    assert rest.calls == 3 * [(2,)]
    extract(model, both, [1, 2], tmp_path / "b", interrupted, window_rule=RULE, forward=rest)
    assert rest.calls[3:] == 3 * [(1,)]
    assert files(tmp_path / "b") == undisturbed


def flip(path, offset=-1):
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "emptied": lambda path: os.truncate(path, 0),
    "deleted": lambda path: path.unlink(),
    "flipped": flip,
    "flipped in the header": lambda path: flip(path, 9),
}


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_of_an_interrupted_extraction_is_filled_again(
    model, both, tmp_path, finished, undisturbed, interrupted, damage, split
):
    [path] = interrupted.glob(f"*-unfinished/layer_1/{split}.safetensors")
    if split == "test" and damage is flip:
        pytest.skip("the last row of this split was not yet written")
    damage(path)
    extract(model, both, [1, 2], tmp_path / "b", interrupted, window_rule=RULE)
    assert files(tmp_path / "b") == undisturbed
    assert torch.equal(*(open_layer(folder / "b", 1, split).activations for folder in (tmp_path, finished)))


@pytest.mark.parametrize("kill", ["first rename", "second rename", "last removal"])
def test_killed_while_layers_move_and_then_a_layer_deleted(model, both, tmp_path, undisturbed, monkeypatch, kill):
    def killed(*_):
        raise KeyboardInterrupt

    rename, moves = os.rename, []

    def move(source, target):
        moves.append(target)
        killed() if len(moves) == ["first rename", "second rename"].index(kill) + 1 else rename(source, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(*(Path, "rmdir", killed) if kill == "last removal" else (os, "rename", move))
        extract(model, both, [1, 2], tmp_path / "b", tmp_path / "pool", window_rule=RULE)
    for folder in (tmp_path / "pool").glob("activations-*/layer_1"):
        if "unfinished" not in str(folder):
            shutil.rmtree(folder)  # "safe to delete"
    extract(model, both, [1, 2], tmp_path / "b", tmp_path / "pool", window_rule=RULE)
    assert files(tmp_path / "b") == undisturbed
    assert len(list((tmp_path / "pool").iterdir())) == 2


def altered(path):
    path.write_text(path.read_text().replace('"d_in": 32', '"d_in": 33').replace('"A play"', '"A song"'))


POOL_DAMAGE = {
    **{f"{name}/train.safetensors {what}": (name, "train.safetensors", damage)
       for what, damage in DAMAGE.items() for name in ("layer_1", "tokens")},
    **{f"{name}/manifest.json {what}": (name, "manifest.json", damage)
       for what, damage in {**DAMAGE, "altered": altered, "nested": lambda path: path.write_text("[" * 100_000)}.items()
       for name in ("layer_1", "tokens")},
}  # fmt: skip


@pytest.mark.parametrize("damage", POOL_DAMAGE.values(), ids=POOL_DAMAGE)
def test_what_is_damaged_in_the_pool_is_made_again(model, both, tmp_path, finished, undisturbed, damage, capsys):
    name, file, change = damage
    subprocess.run(["cp", "-a", f"{finished}/.", tmp_path], check=True)  # links of the store and its pool, too
    [folder] = (tmp_path / "pool").glob(f"activations-*/{name}")
    change(folder / file)
    capsys.readouterr()
    again = Counted(model)
    extract(model, both, [1, 2], tmp_path / "b", tmp_path / "pool", window_rule=RULE, forward=again)
    assert str(folder / file) in capsys.readouterr().err
    assert set(again.calls) == ({(1,)} if name == "layer_1" else set())
    assert files(tmp_path / "b") == undisturbed


def test_the_advice_of_the_message_heals_a_store_that_is_linked_to_a_damaged_pool(model, both, tmp_path, undisturbed):
    extract(model, both, [1, 2], tmp_path / "b", tmp_path / "pool", window_rule=RULE)
    flip(tmp_path / "b" / "layer_1" / "train.safetensors")  # and with it the pool's: one file with two names
    with pytest.raises(StoreError) as error:
        open_layer(tmp_path / "b", 1, "train")
    [advised] = re.findall(r"delete (\S+) and extract it again", str(error.value))
    shutil.rmtree(advised)
    extract(model, both, [1, 2], tmp_path / "b", tmp_path / "pool", window_rule=RULE)
    assert open_layer(tmp_path / "b", 1, "train").manifest["layer"] == 1
    assert files(tmp_path / "b") == undisturbed


def test_two_extractions_on_one_pool_wait_for_each_other(model, both, tmp_path, undisturbed, capsys):
    begun, go = threading.Event(), threading.Event()

    def held_up(batch, layers):
        begun.set()
        assert go.wait(60)
        return model.residual_stream(batch, layers)

    def start(name, forward):
        kwargs = {"window_rule": RULE, "forward": forward}
        thread = threading.Thread(
            target=extract, args=(model, both, [1, 2], tmp_path / name, tmp_path / "pool"), kwargs=kwargs
        )
        thread.start()
        return thread

    first = start("b", held_up)
    assert begun.wait(60)
    spared = Counted(model)
    second = start("c", spared)
    said = ""
    while "waiting for process" not in said and second.is_alive():
        time.sleep(0.01)
        said += capsys.readouterr().err
    go.set()
    first.join()
    second.join()
    assert not spared.calls
    assert files(tmp_path / "b") == files(tmp_path / "c") == undisturbed


@pytest.mark.parametrize("room", [20_000, 60_000])  # for no file, for one
def test_a_full_disk_is_named_with_file_and_bytes_and_nothing_is_left(model, both, tmp_path, undisturbed, room):
    file = r"layer_2/(train|test).safetensors"
    with small_disk(tmp_path / "disk", room) as grow:
        with pytest.raises(OSError, match=rf"[0-9,]+ bytes could not be written to \S+{file}: ") as error:
            extract(model, both, [2, 1], tmp_path / "disk" / "b", tmp_path / "disk" / "pool", window_rule=RULE)
        needed = len(undisturbed[Path("layer_2/train.safetensors")])
        assert f"{needed:,} bytes" in str(error.value)
        assert [path.name for path in (tmp_path / "disk").rglob("*") if path.is_file() and path.suffix != ".lock"] == []
        grow()
        extract(model, both, [1, 2], tmp_path / "disk" / "b", tmp_path / "disk" / "pool", window_rule=RULE)
        assert files(tmp_path / "disk" / "b") == undisturbed


def test_a_disk_that_is_full_when_tokens_are_written_leaves_nothing_of_them(
    model, both, tmp_path, undisturbed, monkeypatch
):
    write = extraction.write

    def full(path, content):
        if path.name == "test.safetensors":
            raise OSError(errno.ENOSPC, f"{len(content)} bytes, {path}")
        write(path, content)

    with monkeypatch.context() as patch, pytest.raises(OSError, match=r"test\.safetensors"):
        patch.setattr(extraction, "write", full)
        extract(model, both, [1, 2], tmp_path / "b", tmp_path / "pool", window_rule=RULE)
    [pool] = (path for path in (tmp_path / "pool").iterdir() if path.is_dir())
    assert sorted(path.name for path in pool.iterdir()) == ["layer_1", "layer_2"]
    extract(model, both, [1, 2], tmp_path / "b", tmp_path / "pool", window_rule=RULE)
    assert files(tmp_path / "b") == undisturbed


def test_one_more_layer_extracts_only_that_layer_and_leaves_the_others_alone(model, both, tmp_path):
    extract(model, both, [1], tmp_path / "a", tmp_path / "pool", window_rule=RULE)
    before = files(tmp_path / "a")
    asked = []
    extract(
        model,
        both,
        [1, 3],
        tmp_path / "a",
        tmp_path / "pool",
        window_rule=RULE,
        forward=lambda b, ls: asked.append(tuple(ls)) or model.residual_stream(b, ls),
    )
    assert set(asked) == {(3,)}
    after = files(tmp_path / "a")
    assert all(after[name] == content for name, content in before.items())


def test_manifest_records_what_was_read(model, both, tmp_path):
    extract(model, both, [1], tmp_path / "a", tmp_path / "pool", window_rule=RULE)
    manifest = json.loads((tmp_path / "a" / "layer_1" / "manifest.json").read_text())
    assert sorted(manifest) == [  # as in the stores that the records of finished studies have digests of
        "batch_windows", "d_in", "depth", "dtype", "hook", "layer", "model", "quantisation", "revision", "sha256",
        "versions", "windows",
    ]  # fmt: skip
    assert manifest["windows"]["train"]["corpus_sha256"] == "digest-0"
    assert manifest["windows"]["length"] == T
    assert manifest["dtype"] == "bfloat16"
    assert "torch" in manifest["versions"]
    assert len(manifest["revision"]) == 64


def test_layer_the_model_does_not_have_is_refused_before_anything_is_written(model, both, tmp_path):
    with pytest.raises(ValueError, match=f"no layer 9.*{model.n_layers} blocks.*width {model.d_model}"):
        extract(model, both, [1, 9], tmp_path / "a", tmp_path / "pool", window_rule=RULE)
    assert not list(tmp_path.iterdir())


def test_a_raised_version_extracts_again(model, both, tmp_path, monkeypatch):
    again = Counted(model)
    for _ in range(2):
        extract(model, both, [1], tmp_path / "a", tmp_path / "pool", window_rule=RULE, forward=again)
    assert len(again.calls) == 8
    monkeypatch.setattr(extraction, "version", lambda stage: 2)
    extract(model, both, [1], tmp_path / "a", tmp_path / "pool", window_rule=RULE, forward=again)
    assert len(again.calls) == 16


def first_key(model, both):
    """The key of activations in a pool at commit 04afd0d."""
    windows = {
        split: {
            "count": len(w.tokens),
            "corpus_sha256": w.digest,
            "tokens_sha256": hashlib.sha256(w.tokens.tobytes()).hexdigest(),
        }
        for split, w in both.items()
    }
    identity = {
        "model": model.name,
        "revision": model.revision,
        "quantisation": "",
        "batch_windows": 16,
        "windows": {**RULE, **windows},
        "versions": {m.__name__: m.__version__ for m in (torch, transformers, safetensors)},
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


@pytest.mark.parametrize("as_named", [True, False])
def test_activations_of_an_older_pool_are_taken_over_where_the_name_says_all(model, both, tmp_path, as_named):
    extract(model, both, [1], tmp_path / "a", tmp_path / "pool", window_rule=RULE)
    [made] = (tmp_path / "pool").glob("activations-*")
    made.rename(made.with_name(f"activations-{first_key(model, both)}"))
    again = Counted(model)
    extract(model, both, [1], tmp_path / "b", tmp_path / "pool", window_rule=RULE, as_named=as_named, forward=again)
    assert bool(again.calls) != as_named
    assert files(tmp_path / "a") == files(tmp_path / "b")


@pytest.mark.parametrize("change", ["configuration", "weights"])
def test_another_model_under_the_same_name_is_extracted_again(both, tmp_path, change):
    model = models.load("random:gemma-3-tiny")
    extract(model, both, [1], tmp_path / "a", tmp_path / "pool", window_rule=RULE)
    if change == "configuration":
        for block in model.blocks:
            block.mlp.act_fn = torch.nn.ReLU()
        model.model.config.hidden_activation = "relu"
    else:
        model.model.get_input_embeddings().weight.data[3] *= 2
    extract(model, both, [1], tmp_path / "b", tmp_path / "pool", window_rule=RULE)
    extract(model, both, [1], tmp_path / "fresh", tmp_path / "pool-fresh", window_rule=RULE)
    assert files(tmp_path / "b") == files(tmp_path / "fresh")
    assert len(list((tmp_path / "pool").glob("activations-*"))) == 2
