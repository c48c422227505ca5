import hashlib
import json

import numpy as np
import pytest
import torch

from lens.activations import extract as extraction
from lens.activations import language_model
from lens.activations.corpus import Windows
from lens.activations.extract import BATCH_WINDOWS, extract
from lens.activations.store import open_layer

T = 12
RULE = {"length": T, "starts": "random", "bos": True, "seed": 0}


@pytest.fixture(scope="module")
def model():
    return language_model.load("random:gemma-3-tiny")


def windows(n: int, seed: int, vocab: int, bos: int) -> Windows:
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, vocab, (n, T), dtype=np.int32)
    tokens[:, 0] = bos
    return Windows(tokens, np.zeros(n, np.int32), np.arange(n, dtype=np.int64), ("A play",), f"digest-{seed}")


@pytest.fixture
def both(model):
    n = 3 * BATCH_WINDOWS + 5
    return {s: windows(n, i, model.vocab_size, model.bos_id) for i, s in enumerate(("train", "test"))}


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_store_holds_the_residual_stream_of_every_layer(model, both, tmp_path):
    manifests = extract(model, both, [0, 2, "embedding"], tmp_path / "a", tmp_path / "pool", window_rule=RULE)
    tokens = torch.from_numpy(both["test"].tokens.astype("int64"))
    with torch.inference_mode():
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


def test_interrupted_extraction_goes_on_where_it_stopped(model, both, tmp_path):
    extract(model, both, [1, 2], tmp_path / "a", tmp_path / "pool-a", window_rule=RULE)
    calls = []

    def interrupted(batch, layers):
        calls.append(batch)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return model.residual_stream(batch, layers)

    with pytest.raises(KeyboardInterrupt):
        extract(model, both, [1, 2], tmp_path / "b", tmp_path / "pool-b", window_rule=RULE, forward=interrupted)
    assert not (tmp_path / "b").exists()
    first = len(calls) - 1
    extract(
        model,
        both,
        [1, 2],
        tmp_path / "b",
        tmp_path / "pool-b",
        window_rule=RULE,
        forward=lambda b, ls: calls.append(b) or model.residual_stream(b, ls),
    )
    assert len(calls) == first + 1 + (8 - first)  # 4 batches a split; none that was written is computed again
    assert files(tmp_path / "a") == files(tmp_path / "b")


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
    assert manifest["windows"]["train"]["corpus_sha256"] == "digest-0"
    assert manifest["windows"]["length"] == T
    assert manifest["dtype"] == "bfloat16"
    assert "torch" in manifest["versions"]
    assert len(manifest["revision"]) == 64


def test_layer_the_model_does_not_have_is_refused_before_anything_is_written(model, both, tmp_path):
    with pytest.raises(ValueError, match=f"no layer 9.*{model.n_layers} blocks.*width {model.d_model}"):
        extract(model, both, [1, 9], tmp_path / "a", tmp_path / "pool", window_rule=RULE)
    assert not list(tmp_path.iterdir())


def test_a_raised_version_extracts_again_and_version_1_is_what_was_there_before_versions(
    model, both, tmp_path, monkeypatch
):
    identity = {"model": "m", "windows": {"length": T}}
    old = hashlib.sha256(b'{"model": "m", "windows": {"length": 12}}').hexdigest()[:16]
    assert extraction._pool_key(identity) == old  # as at commit 04afd0d
    extract(model, both, [1], tmp_path / "a", tmp_path / "pool", window_rule=RULE)
    asked = []
    again = {"window_rule": RULE, "forward": lambda b, ls: asked.append(ls) or model.residual_stream(b, ls)}
    extract(model, both, [1], tmp_path / "a", tmp_path / "pool", **again)
    assert not asked
    monkeypatch.setattr(extraction, "version", lambda stage: 2)
    extract(model, both, [1], tmp_path / "a", tmp_path / "pool", **again)
    assert asked and extraction._pool_key(identity) != old
