"""Dictionaries that the real packages made and saved give here what they give there, and ours open in SAELens."""

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from benchmarks import environment
from lens import checkout
from lens.activations.hooks import layer_name
from lens.dictionaries.compatible import place_of
from lens.dictionaries.dictionary import Dictionary, Info
from lens.dictionaries.export import export_saelens
from lens.dictionaries.load import load
from tests.making import info

TOLERANCE = 1e-5  # of the largest value of the other side
D_IN, D_SAE, T = 12, 40, 6  # of peer_dictionaries.py
POSITION = 4


def made(package: str, folder: Path) -> Path:
    """Let the package make its dictionaries in `folder`, in the peers' environment."""
    if not Path(environment.python()).exists():
        pytest.skip(
            f"the peers' environment {environment.FOLDER.name} is missing; make it (some minutes, once) with: "
            "python -c 'from benchmarks.environment import prepare; prepare()'"
        )
    script = Path(__file__).with_name("peer_dictionaries.py")
    variables = {**os.environ, "PYTHONPATH": str(checkout.root()), "HF_HUB_OFFLINE": "1"}
    command = [environment.python(), script, package, folder]
    done = subprocess.run(command, env=variables, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


PLAIN = {"relu": "standard", "jumprelu": "jumprelu", "topk": "topk", "abs_topk": "abstopk", "gated": "gated"}


def own(masked: bool, architecture: str = "relu") -> Dictionary:
    config = info(D_IN, D_SAE, T, masked, 0.5, 0.3, model="a-model", layer="3", name="temporallens", seed=7)
    if architecture != "relu":
        config = replace(config, architecture=architecture, settings={"k": 5} if "topk" in architecture else {})
    sae = Dictionary.initialise(config, torch.zeros(D_IN), 0)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for value in sae.parameters():
            value += 0.3 * torch.randn(value.shape, generator=generator)
    return sae


@pytest.fixture(scope="session")
def saelens(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saelens")
    for name, position in (("at", POSITION), ("mean", "mean"), ("masks", None)):
        export_saelens(own(masked=True), folder / "exported" / name, position)
    for architecture, theirs in PLAIN.items():
        export_saelens(own(masked=False, architecture=architecture), folder / "exported" / theirs, None)
    return made("sae-lens", folder)


@pytest.fixture(scope="session")
def dictionary_learning(tmp_path_factory) -> Path:
    return made("dictionary-learning", tmp_path_factory.mktemp("dictionary_learning"))


@pytest.fixture(scope="session")
def sparsify(tmp_path_factory) -> Path:
    return made("eai-sparsify", tmp_path_factory.mktemp("sparsify"))


def error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours.detach() - theirs).abs().max() / theirs.abs().max())


def check_equal(sae, theirs: dict[str, torch.Tensor], name: str) -> None:
    f = sae.encode(theirs["x"]).dense()
    assert (theirs["f"] != 0).any() and (theirs["f"] == 0).any(), f"{name} selects nothing, or everything"
    assert torch.equal(f.sign(), theirs["f"].sign()), name
    assert error(f, theirs["f"]) < TOLERANCE, name
    assert error(sae.decode(f), theirs["x_hat"]) < TOLERANCE, name
    assert error(sae(theirs["x"]), theirs["x_hat"]) < TOLERANCE, name


def check_all(folder: Path, at_least: int) -> None:
    found = sorted(path.with_suffix("") for path in folder.glob("*.safetensors"))
    found = [path for path in found if path.is_dir()]
    assert len(found) >= at_least
    for path in found:
        check_equal(load(path), load_file(f"{path}.safetensors"), path.name)


@pytest.mark.filterwarnings("ignore:cfg.json says expected_average_only_in")
def test_saelens_dictionaries(saelens):
    """Five architectures, four normalisations, with and without the decoder's bias; flat settings; a checkpoint."""
    check_all(saelens, 61)
    config = load(saelens / "topk-none").info
    assert (config.model, config.layer, config.architecture) == ("a-model", "3", "topk")
    assert load(saelens / "trained-batchtopk").info.architecture == "jumprelu"


def test_published_files_as_saelens_converts_them(saelens):
    found = sorted((saelens / "releases").glob("*.json"))
    assert len(found) == 8
    for path in found:
        said = json.loads(path.read_text())
        sae = load(path.parent / said["path"])
        check_equal(sae, load_file(path.with_suffix(".safetensors")), path.stem)
        assert sae.info.layer == layer_name(said["hook_name"]), path.stem
        if "gemma" in path.stem:
            assert sae.info.model.removeprefix("google/") == said["model_name"].removeprefix("google/")
            assert sae.info.hook == said["hook_name"]


def test_saelens_transcoders_encode_as_there(saelens):
    folders = [path for path in (saelens / "transcoders").iterdir() if path.is_dir()]
    assert len(folders) == 4
    for path in folders:
        coder, theirs = load(path), load_file(f"{path}.safetensors")
        f = coder.encode(theirs["x"]).dense()
        assert (f != 0).any() and torch.equal(f.sign(), theirs["f"].sign()), path.name
        assert error(f, theirs["f"]) < TOLERANCE, path.name
        assert str(place_of(coder)) == "3 normalised"


def test_temporal_feature_analysis_as_it_is_trained_here_is_that_of_saelens(saelens):
    """With the weights of its file; ours codes position 0 by itself, theirs gets the text alone."""
    folder = saelens / "releases"
    inner, theirs = load(folder / json.loads((folder / "temporal.json").read_text())["path"]).inner, folder / "temporal"
    weights = {"W_enc": inner.D.T, "W_dec": inner.D, "b_dec": inner.b}
    weights |= {f"attention.{name}": value for name, value in inner.attn_layers[0].named_parameters()}
    settings = {"k": inner.k, "heads": inner.attn_layers[0].heads, "bottleneck": 2}
    info = Info(
        D_IN, D_SAE, T + 1, "tfa", settings=settings, input_scale=inner.scale, apply_b_dec_to_input=True
    )  # fmt: skip
    sae, theirs = Dictionary(info, {n: v.detach() for n, v in weights.items()}), load_file(f"{theirs}.safetensors")
    codes = sae.encode(torch.cat([torch.ones(len(theirs["x"]), 1, D_IN), theirs["x"]], dim=1))
    assert error(codes.dense()[:, 1:], theirs["f"]) < TOLERANCE
    assert error(sae.decode(codes)[:, 1:], theirs["x_hat"]) < TOLERANCE


def test_dictionary_learning_dictionaries(dictionary_learning):
    check_all(dictionary_learning, 9)
    config = load(dictionary_learning / "topk").info
    assert (config.model, config.layer, config.seed) == ("a/model", "3", 5)


def test_sparsify_dictionaries(sparsify):
    for name in ("layers.3", "layers.4", "layers.3.mlp"):  # suffixes of their own
        check_equal(load(sparsify / name), load_file(sparsify / f"{name}.safetensors"), name)
    assert load(sparsify / "layers.3").info.model == "a/model"


def test_export_at_one_position_is_exact_there(saelens):
    sae, theirs = own(masked=True), load_file(saelens / "exported" / "at.safetensors")
    x = theirs["x"]
    assert error(sae.encode(x).dense()[:, POSITION], theirs["f"][:, POSITION]) < TOLERANCE
    assert error(sae(x)[:, POSITION], theirs["x_hat"][:, POSITION]) < TOLERANCE
    assert error(sae.encode(x).dense()[:, 0], theirs["f"][:, 0]) > 0.01  # and not elsewhere


def test_export_of_the_mean_mask_is_that(saelens):
    sae, theirs = own(masked=True), load_file(saelens / "exported" / "mean.safetensors")
    u = torch.relu(theirs["x"] * 0.3 @ sae.W_enc + sae.architecture.b_enc)
    assert error(u * sae.position_term.values()[1:].mean(0), theirs["f"]) < TOLERANCE


def test_export_with_all_masks_is_exact_everywhere(saelens):
    check_equal(own(masked=True), load_file(saelens / "exported" / "masks.safetensors"), "masks")
    refused = json.loads((saelens / "exported" / "masks.json").read_text())
    assert refused["flat"].startswith("PositionError: input of shape (6, 12) has no positions")
    assert refused["long"].startswith("PositionError: windows of 7 positions, the masks have 6")


@pytest.mark.parametrize(("architecture", "name"), PLAIN.items())
def test_export_without_masks_is_one_of_its_architectures(saelens, architecture, name):
    check_equal(own(False, architecture), load_file(saelens / "exported" / f"{name}.safetensors"), name)
    assert json.loads((saelens / "exported" / f"{name}.json").read_text()) == {"flat": "", "long": ""}


def test_what_saelens_saves_again_is_still_ours(saelens):
    sae, again = own(masked=True), load(saelens / "saved-again" / "masks")
    assert again.info == sae.info
    for name, value in sae.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_without_the_peers_environment_it_says_how_to_make_it(monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "FOLDER", tmp_path / "none")
    with pytest.raises(pytest.skip.Exception, match="none is missing; make it .* with: python -c .*prepare"):
        made("sae-lens", tmp_path)
