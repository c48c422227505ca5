"""The hub is a folder here: what is uploaded to `<hub>/<repo_id>` is what can be fetched."""

import shutil
import socket
from fnmatch import fnmatch
from pathlib import Path

import huggingface_hub
import pytest
import torch

from lens.dictionaries.dictionary import Dictionary
from lens.dictionaries.hub import fetch, from_pretrained, push_to_hub
from lens.dictionaries.load import FORMATS, load
from lens.errors import DictionaryError
from tests.making import info


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    root = tmp_path / "hub"

    class Api:
        def repo_info(self, repo_id, *, repo_type, timeout):
            assert repo_type == "model"

        def create_repo(self, repo_id, *, private, exist_ok):
            (root / repo_id).mkdir(parents=True, exist_ok=exist_ok)
            (root / repo_id / ".private").write_text(str(private))

        def upload_folder(self, *, repo_id, folder_path, path_in_repo, commit_message):
            shutil.copytree(folder_path, root / repo_id / (path_in_repo or ""), dirs_exist_ok=True)

    def snapshot_download(repo_id, *, revision, allow_patterns):
        if not (root / repo_id).is_dir():
            raise huggingface_hub.errors.LocalEntryNotFoundError("no such repository")
        copy = tmp_path / "cache" / repo_id / (revision or "main")
        for path in (root / repo_id).rglob("*"):
            name = str(path.relative_to(root / repo_id))
            if path.is_file() and any(fnmatch(name, pattern) for pattern in allow_patterns):
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, copy / name)
        return str(copy)

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "none"))
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, port: None)
    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return root


def sae(**changes) -> Dictionary:
    config = {"d_in": 4, "d_sae": 6, "T": 5, "tau": 0.5, "scale": 0.25}
    return Dictionary.initialise(info(**{**config, "model": "a-model", "layer": "3", **changes}), torch.zeros(4), 1)


def test_what_is_pushed_comes_back(hub):
    model = sae()
    assert push_to_hub(model, "me/dictionaries", private=True) == "me/dictionaries"
    assert (hub / "me/dictionaries/.private").read_text() == "True"
    for found in (from_pretrained("me/dictionaries"), load("me/dictionaries")):
        assert found.info == model.info
        for name, value in model.state_dict().items():
            assert torch.equal(value, found.state_dict()[name])


def test_a_repository_may_hold_several(hub):
    for layer in ("3", "8"):
        assert push_to_hub(sae(layer=layer), "me/many", folder=f"layer_{layer}/v") == f"me/many:layer_{layer}/v"
    assert from_pretrained("me/many:layer_8/v").info.layer == "8"
    assert not (hub.parent / "cache/me/many/main/layer_3").exists()  # nothing else is downloaded
    page = (hub / "me/many/layer_3/v/README.md").read_text()
    assert 'from_pretrained("me/many:layer_3/v")' in page
    assert "layer 3" in page
    with pytest.raises(
        DictionaryError, match="me/many has no file 'layer_9', and no folder with any of sae.safetensors"
    ):
        load("me/many:layer_9")


def test_a_folder_on_this_machine_needs_no_hub(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", None)
    sae().save(tmp_path / "d")
    assert from_pretrained(tmp_path / "d").info == from_pretrained(str(tmp_path / "d")).info == sae().info
    with pytest.raises(DictionaryError, match="revision 'main' asked of .*, which is on this machine"):
        from_pretrained(tmp_path / "d", revision="main")


def test_other_formats_are_fetched_with_the_file_around_them(hub):
    folder = hub / "you/sparse" / "layers.3"
    folder.mkdir(parents=True)
    for name in ("layers.3/cfg.json", "layers.3/sae.safetensors", "layers.3/optimizer.pt", "config.json"):
        (hub / "you/sparse" / name).touch()
    found = fetch("you/sparse:layers.3/", "v2")
    assert found.parent.name == "v2"
    assert sorted(path.name for path in found.iterdir()) == ["cfg.json", "sae.safetensors"]
    assert (found.parent / "config.json").is_file()


def test_all_files_that_a_format_reads_are_fetched(hub):
    """Whatever the format: of those that are read, that is every file that tells it, and those beside it."""
    (hub / "you/many").mkdir(parents=True)
    (hub / "you/many/large.bin").touch()
    names = {name for f in FORMATS for name in (f.weights, *f.beside) if not f.alone}
    assert names >= {"hyperparams.json", "conf.yaml", "activation_scaler.json", "checkpoints/final.safetensors"}
    for name in names:
        (hub / "you/many" / name).parent.mkdir(exist_ok=True)
        (hub / "you/many" / name).touch()
    with pytest.raises(DictionaryError, match="holds sae.safetensors and .* keep one dictionary a folder"):
        load("you/many")
    copy = hub.parent / "cache/you/many/main"
    assert {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()} == names


def test_one_of_the_files_of_a_repository_is_fetched_alone(hub):
    release = hub / "Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_50"
    release.mkdir(parents=True)
    weights = {"W_enc": torch.eye(3, 2), "W_dec": torch.ones(2, 3), "b_enc": torch.zeros(3), "b_dec": torch.zeros(2)}
    for layer in (7, 8):
        torch.save(weights, release / f"layer{layer}.sae.pt")
    with pytest.raises(DictionaryError, match="k = 50 of 3 features"):
        load(f"Qwen/{release.name}:layer8.sae.pt")
    assert [path.name for path in (hub.parent / "cache/Qwen" / release.name).rglob("*.pt")] == ["layer8.sae.pt"]


def test_an_unreachable_hub_is_an_error_that_names_the_id(monkeypatch, tmp_path):
    """The real client, told that there is no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    for source in ("someone/dictionaries", "someone/dictionaries:layers.3"):
        with pytest.raises(
            DictionaryError, match=f"{source} is not on this machine and could not be fetched.*its path"
        ):
            load(source)
    with pytest.raises(DictionaryError, match="someone/dictionaries could not be published.*hf auth login"):
        push_to_hub(sae(), "someone/dictionaries")


def test_a_misspelt_id_or_path_brings_the_close_one(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache/models--someone--dictionaries/snapshots/1").mkdir(parents=True)
    (tmp_path / "scratch/mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for source, close in (
        ("someone/dictionary:layers.3", "someone/dictionaries"),
        ("scratch/mines", "mine"),
        (f"{tmp_path}/scratch/mien", "mine"),
    ):
        with pytest.raises(DictionaryError, match=f"did you mean '{close}'"):
            load(source)


@pytest.mark.parametrize("source", ["no/such/folder", "/no/such/folder", "word", "a/b:c:d"])
def test_what_is_neither_a_path_nor_an_id_is_refused(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DictionaryError, match="is not on this machine, and no id on the hub"):
        load(source)


def test_a_home_folder_is_found(tmp_path, monkeypatch):
    sae().save(tmp_path / "mine")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load("~/mine").info == load(tmp_path / "mine").info


@pytest.mark.parametrize("repo_id", ["dictionaries", "a/b/c", "a/b:c", ""])
def test_publishing_under_what_is_no_id_is_refused(repo_id, hub):
    with pytest.raises(DictionaryError, match="is no id on the hub"):
        push_to_hub(sae(), repo_id)
    assert not hub.exists()


def test_another_format_is_not_taken_for_ours(tmp_path):
    (tmp_path / "cfg.json").write_text("{}")
    with pytest.raises(ValueError, match="sae.safetensors is missing"):
        from_pretrained(tmp_path)
