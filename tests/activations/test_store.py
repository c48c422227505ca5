import json

import pytest
import torch
from safetensors.torch import save_file

from lens.activations.store import StoreError, digest, link_folders, open_layer

DOCUMENTS = ["A", "B"]


def write_store(folder, n=6, T=4, d=3):
    x = torch.randn(n, T, d, generator=torch.Generator().manual_seed(0)).bfloat16()
    windows = {"length": T}
    for name in ("tokens", "layer_3"):
        (folder / name).mkdir(parents=True)
        for split in ("train", "test"):
            tensors = {"activations": x}
            if name == "tokens":
                tensors = {
                    "tokens": torch.arange(n * T).view(n, T).int(),
                    "document": torch.arange(n).int() % 2,
                    "start": torch.arange(n),
                }
            save_file(tensors, folder / name / f"{split}.safetensors")
        manifest = {
            "windows": windows,
            "documents": {"train": DOCUMENTS, "test": DOCUMENTS},
            "sha256": {p.name: digest(p) for p in (folder / name).glob("*.safetensors")},
        }
        (folder / name / "manifest.json").write_text(json.dumps(manifest))
    return x


def test_a_store_may_be_a_link_to_another_disk(tmp_path):
    x = write_store(tmp_path / "pool")
    (tmp_path / "disk").mkdir()
    (tmp_path / "store").symlink_to(tmp_path / "disk")
    for _ in range(2):
        link_folders([tmp_path / "pool" / name for name in ("tokens", "layer_3")], tmp_path / "store")
        assert torch.equal(open_layer(tmp_path / "store", 3, "train").activations, x)
        assert (tmp_path / "store").is_symlink() and (tmp_path / "disk" / "layer_3").is_dir()


def test_opened_layer_holds_what_was_written(tmp_path):
    x = write_store(tmp_path)
    store = open_layer(tmp_path, 3, "train")
    assert torch.equal(store.activations, x)
    assert store.tokens.shape == (6, 4)
    assert store.document.tolist() == [0, 1, 0, 1, 0, 1]
    assert store.documents == ("A", "B")


@pytest.mark.parametrize("name", ["layer_3/train.safetensors", "tokens/train.safetensors"])
@pytest.mark.parametrize("damage", ["truncate", "flip"])
def test_damaged_files_are_refused_with_both_digests(tmp_path, name, damage):
    write_store(tmp_path)
    path = tmp_path / name
    content = bytearray(path.read_bytes())
    if damage == "truncate":
        content = content[:-10]
    else:
        content[-1] ^= 1
    expected = digest(path)
    path.write_bytes(content)
    with pytest.raises(StoreError, match="truncated or altered") as error:
        open_layer(tmp_path, 3, "train")
    assert str(path) in str(error.value)
    assert expected in str(error.value)
    assert digest(path) in str(error.value)


@pytest.mark.parametrize("name", ["layer_3", "tokens"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"sha256": 1}', b"\xff", b"[" * 100_000])
def test_a_damaged_manifest_is_named_with_what_to_do(tmp_path, name, content):
    write_store(tmp_path)
    (tmp_path / name / "manifest.json").write_bytes(content)
    with pytest.raises(StoreError, match=f"{name}/manifest.json cannot be read.*delete .*{name} and extract it again"):
        open_layer(tmp_path, 3, "train")


@pytest.mark.parametrize("name", ["layer_3", "tokens"])
def test_a_file_that_never_was_one_is_named_though_its_digest_is_right(tmp_path, name):
    write_store(tmp_path)
    manifest = json.loads((tmp_path / name / "manifest.json").read_text())
    (tmp_path / name / "train.safetensors").write_bytes(b"\0" * 64)
    manifest["sha256"]["train.safetensors"] = digest(tmp_path / name / "train.safetensors")
    (tmp_path / name / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match=f"{name}/train.safetensors.*delete .*{name} and extract it again"):
        open_layer(tmp_path, 3, "train")


def test_missing_layer_says_what_to_run(tmp_path):
    write_store(tmp_path)
    with pytest.raises(StoreError, match="layer_5.*is missing; run the extraction"):
        open_layer(tmp_path, 5, "train")


def test_tokens_and_activations_of_different_windows_are_refused(tmp_path):
    write_store(tmp_path)
    path = tmp_path / "tokens" / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "windows": {"length": 5}}))
    with pytest.raises(StoreError, match="different window rules"):
        open_layer(tmp_path, 3, "train")


def test_the_folder_of_another_layer_is_refused(tmp_path):
    write_store(tmp_path)
    path = tmp_path / "layer_3" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "layer": 4}))
    with pytest.raises(StoreError, match="layer_3 holds layer 4; delete .*layer_3 and extract it again"):
        open_layer(tmp_path, 3, "train")


def test_linked_folders_replace_what_was_there(tmp_path):
    (tmp_path / "pool" / "a").mkdir(parents=True)
    (tmp_path / "pool" / "a" / "file").write_text("new")
    (tmp_path / "out" / "stale").mkdir(parents=True)
    link_folders([tmp_path / "pool" / "a"], tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a"]
    assert (tmp_path / "out" / "a" / "file").stat().st_ino == (tmp_path / "pool" / "a" / "file").stat().st_ino
