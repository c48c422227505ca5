"""Dictionaries on the Hugging Face hub: fetch one, publish one."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import huggingface_hub

from lens.activations.on_hub import check_on_hub, near
from lens.dictionaries.dictionary import Dictionary
from lens.dictionaries.folder import CONFIG, WEIGHTS
from lens.errors import DictionaryError
from lens.files import check_link

_SOURCE = re.compile(r"(?P<repo_id>[\w.-]+/[\w.-]+)(?::(?P<folder>[^:]+))?")
OWN = (CONFIG, WEIGHTS)  # files of a dictionary as `Dictionary.save` writes it


def fetch(source: str | Path, revision: str | None = None, files: Iterable[str] = OWN) -> Path:
    """The local path of a dictionary: that of a file or folder on this machine, else of a copy of one on the hub.

    Args:
        source: a path, or `repo_id` or `repo_id:folder` (`EleutherAI/sae-pythia-70m-32k:layers.3`) or `repo_id:file`
            (`Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_50:layer8.sae.pt`). A path that exists comes first.
        revision: branch, tag or commit on the hub.
        files: what is fetched of a folder, and of a whole repository.

    Raises:
        DictionaryError: there is no such path and it is no id; or the hub cannot be reached, refuses, or does not have
            it. The message names the id and the reason.
    """
    path = Path(source if os.path.exists(source) else os.path.expanduser(source))
    if not str(source):
        raise DictionaryError("an empty source: give a folder, repo_id or repo_id:folder")
    if path.exists():
        if revision is not None:
            raise DictionaryError(f"revision {revision!r} asked of {path}, which is on this machine: leave it out")
        return path
    try:
        check_link(path)
    except OSError as error:
        raise DictionaryError(str(error)) from None
    found = _SOURCE.fullmatch(str(source))
    if found is None:
        raise DictionaryError(
            f"{source} is not on this machine, and no id on the hub{near(str(source), ())}: give a folder, repo_id or "
            "repo_id:folder"
        )
    repo_id, folder = found["repo_id"], (found["folder"] or "").strip("/")
    wanted = [f"{folder}/{name}" for name in files] if folder else [*files]
    if folder:  # a file by itself; and what lies around it says (the model: sparsify; the place: circuit-tracer)
        wanted += [folder, *(str(Path(folder).parent / name) for name in ("config.json", "config.yaml"))]
    try:
        check_on_hub(repo_id)
        root = huggingface_hub.snapshot_download(repo_id, revision=revision, allow_patterns=wanted)
    except (OSError, ValueError) as error:  # unreachable, refused, unknown; or an id that the hub would not have
        raise DictionaryError(
            f"{source} is not on this machine and could not be fetched from the hub{near(repo_id, ())}: "
            f"{_reason(error)} Check the id and the connection, or download the folder elsewhere and give its path"
        ) from error
    if not (Path(root) / folder).exists():
        raise DictionaryError(f"{repo_id} has no file {folder!r}, and no folder with any of {', '.join(files)}")
    return Path(root) / folder


def from_pretrained(source: str | Path, *, revision: str | None = None, trust: bool = False) -> Dictionary:
    """A dictionary that `push_to_hub` published, or `Dictionary.save` wrote; see `fetch` for what a source is.

    Args:
        trust: as in `Dictionary.load`.

    Raises:
        ValueError: it cannot be fetched, or is truncated, altered or of another format (those are for `load`).
    """
    return Dictionary.load(fetch(source, revision), trust=trust)


def push_to_hub(sae: Dictionary, repo_id: str, *, folder: str = "", private: bool = False) -> str:
    """Publish a dictionary and a page that says what it is; makes the repository if there is none.

    Args:
        folder: in the repository, for one that holds several dictionaries. The page goes there too.
        private: whether a new repository is private.

    Returns:
        What `from_pretrained` takes: `repo_id`, or `repo_id:folder`.

    Raises:
        DictionaryError: `repo_id` is no id, or the hub cannot be reached or refuses.
    """
    source = f"{repo_id}:{folder}" if folder else repo_id
    if _SOURCE.fullmatch(source) is None or ":" in repo_id:
        raise DictionaryError(f"{repo_id!r} is no id on the hub: give <owner>/<name>, and the folder apart")
    with tempfile.TemporaryDirectory() as temporary:
        sae.save(Path(temporary))
        Path(temporary, "README.md").write_text(_page(sae, source))
        api = huggingface_hub.HfApi()
        try:
            api.create_repo(repo_id, private=private, exist_ok=True)
            api.upload_folder(
                repo_id=repo_id,
                folder_path=temporary,
                path_in_repo=folder or None,
                commit_message=f"Dictionary of {sae.info.model or 'a language model'}, layer {sae.info.layer}",
            )
        except Exception as error:  # the client's transport, and so the base of its errors, differs between versions
            raise DictionaryError(
                f"{repo_id} could not be published: {_reason(error)} Check the connection, and log in with "
                "`hf auth login` or set HF_TOKEN"
            ) from error
    return source


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _page(sae: Dictionary, source: str) -> str:
    settings = "\n".join(f"| {key} | {value} |" for key, value in asdict(sae.info).items())
    return f"""---
library_name: temporallens
tags: [sparse-autoencoder]
---
# Sparse autoencoder of {sae.info.model or "a language model"}, layer {sae.info.layer or "not stated"}

| setting | value |
|---|---|
{settings}

```python
from lens.dictionaries.hub import from_pretrained

sae = from_pretrained("{source}")
codes = sae.encode(activations)  # [B, T, d_in], the residual stream, position 0 first
```
"""
