"""What every architecture and position term must do; a new one is one more row."""

import json
import re
from pathlib import Path

import pytest
import torch

from lens.dictionaries.dictionary import Dictionary
from lens.dictionaries.export import export_saelens
from lens.dictionaries.load import load
from lens.errors import DictionaryError
from lens.measure import synthetic
from lens.profiling.reconstruction import reconstruction_tables
from lens.training import train as training
from lens.training.recipe import build
from lens.training.train import train_layer

N, T, D, K = 64, 17, 16, 24
STEPS = 150
OWN = Path(__file__).parents[1] / "architectures" / "log_penalty.py"
ROWS = {
    "relu_mask": {"l1_coef": 0.02},
    "relu": {"position": "none", "l1_coef": 0.02},
    "topk": {"architecture": "topk", "position": "none", "k": 3, "dead_after": 500},
    "abs_topk": {"architecture": "abs_topk", "position": "none", "k": 3, "dead_after": 500},
    "batch_topk": {"architecture": "batch_topk", "position": "none", "k": 3, "dead_after": 500},
    "matryoshka": {"architecture": "matryoshka", "position": "none", "k": 3, "dead_after": 500},
    "topk_of_many": {"architecture": "topk", "position": "none", "k": 3, "dead_after": 500, "expansion": 8},
    "matryoshka_of_many": {
        "architecture": "matryoshka",
        "position": "none",
        "k": 3,
        "dead_after": 500,
        "expansion": 8,
    },
    "jumprelu": {"architecture": "jumprelu", "position": "none", "target_l0": 3.0, "l0_coef": 0.3, "bandwidth": 0.05},
    "jumprelu_mask": {"architecture": "jumprelu", "target_l0": 0.0, "l0_coef": 0.01, "bandwidth": 0.05},
    "gated": {"architecture": "gated", "position": "none", "l1_coef": 0.3},
    "scheduled": {"position": "none", "l1_coef": 0.06, "lr_warmup": 0.1, "lr_decay": 0.2, "sparsity_warmup": 0.3},
    "centred": {"architecture": "batch_topk", "position": "centred", "k": 3, "dead_after": 500},
    "standardised": {"architecture": "topk", "position": "standardised", "k": 3, "dead_after": 500, "expansion": 8},
    "score_mask": {"architecture": "topk", "position": "score_mask", "k": 3, "dead_after": 500},
    "gain": {"architecture": "batch_topk", "position": "gain", "k": 3, "dead_after": 500, "splines": 4},
    "position_prior": {"architecture": "batch_topk", "position": "position_prior", "k": 3, "dead_after": 500},
    "low_rank": {"architecture": "topk", "position": "low_rank", "k": 3, "dead_after": 500, "rank": 2, "expansion": 8},
    "buckets": {"architecture": "batch_topk", "position": "buckets", "k": 3, "dead_after": 500, "edges": (9,)},
    "combined": {"architecture": "batch_topk", "position": "centred+position_prior", "k": 3, "dead_after": 500},
    "combined_code": {"position": "low_rank+mask", "rank": 2, "l1_coef": 0.02},
    "own_by_import": {"architecture": "tests.architectures.log_penalty:LogPenalty", "position": "none"},
    "own_by_file": {"architecture": f"{OWN}:LogPenalty", "position": "mask"},
}


@pytest.fixture(scope="module")
def planted() -> synthetic.Embedded:
    truth = synthetic.plant(N, T, K, widths=(8,), densities=(0.1, 0.1), seed=0)
    return synthetic.embed(truth, D, seed=5)  # other directions than any dictionary starts with


@pytest.fixture(params=ROWS)
def row(request) -> str:
    return request.param


def train(row: str, folder: Path, activations, **fields) -> Dictionary:
    recipe = build({"steps": STEPS, "lr": 5e-3, "expansion": 2, "batch_windows": 8, **ROWS.get(row, {}), **fields})
    trained = train_layer(
        activations, {row: recipe}, (0,), folder / "out", folder / "pool", data_digest="planted", layer=1, log_every=10
    )
    return Dictionary.load(trained.folders[row, 0])


@pytest.fixture(scope="module")
def trained(planted, tmp_path_factory) -> dict[str, Dictionary]:
    folder = tmp_path_factory.mktemp("trained")
    return {row: train(row, folder / row, planted.activations) for row in ROWS}


def test_it_learns_what_is_planted(row, trained, planted):
    directions = planted.directions.numpy()
    start = Dictionary.initialise(trained[row].info, torch.zeros(D), 0)
    found, before = (
        synthetic.recover(sae.W_dec.detach().numpy(), directions).cosine.mean() for sae in (trained[row], start)
    )
    assert found > before + 0.1, (found, before)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {"architecture": "relu", "l1_coef": 0.15},
        {"architecture": "topk", "k": 2, "dead_after": 5000},
        {"architecture": "batch_topk", "k": 2, "dead_after": 5000},
        {"architecture": "matryoshka", "k": 2, "dead_after": 5000, "prefixes": (0.5, 1.0)},
        {"architecture": "jumprelu", "target_l0": 2.0, "bandwidth": 0.05},
        {"architecture": "jumprelu", "target_l0": 0.0, "l0_coef": 0.03, "bandwidth": 0.05},
        {"architecture": "gated", "l1_coef": 0.3},
    ],
)
def test_it_finds_sparse_features_and_how_many_are_on(fields, tmp_path):
    """24 features in 32 dimensions, 1.9 of them on a vector: mean cosine with the decoder above 0.93."""
    truth = synthetic.plant(256, T, K, widths=(8,), densities=(0.08, 0.08), seed=0)
    sparse = synthetic.embed(truth, 2 * D, seed=5)
    common = {"position": "none", "position_weights": "uniform", "batch_windows": 16, "expansion": 1}
    sae = train("", tmp_path, sparse.activations, **common, lr_decay=0.3, lr=1e-2, steps=350, **fields)
    assert synthetic.recover(sae.W_dec.detach().numpy(), sparse.directions.numpy()).cosine.mean() > 0.93
    l0 = sae.encode(sparse.activations.float()).fired()[:, 1:].sum(-1).float().mean()
    assert 1.5 < l0 < 3


def test_a_killed_run_goes_on_to_the_same_bytes(row, planted, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 10)
    whole = train(row, tmp_path / "a", planted.activations, steps=25)
    save = training.snapshot

    def killed(runs, folder, step):
        save(runs, folder, step)
        if step == 20:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "snapshot", killed)
    with pytest.raises(KeyboardInterrupt):
        train(row, tmp_path / "b", planted.activations, steps=25)
    monkeypatch.setattr(training, "snapshot", save)
    again = train(row, tmp_path / "b", planted.activations, steps=25)
    assert whole.info == again.info
    files = [next((tmp_path / part / "out").rglob("sae.safetensors")).read_bytes() for part in "ab"]
    assert files[0] == files[1]


def test_it_is_measured_by_the_same_functions(row, trained, planted):
    sae, block = trained[row], torch.zeros(N, dtype=torch.long)
    tables = reconstruction_tables({(row, 0): sae}, planted.activations, block, ["text"], sae.info.input_scale)
    values = tables["summary"].query("variant == @row and positions == 'text'").set_index("metric")["value"]
    assert values["fvu"] < 0.6
    f = sae.encode(planted.activations.float())
    assert values["l0"] == pytest.approx(f.fired()[:, 1:].sum().item() / (N * (T - 1)))


def test_it_is_saved_exported_and_opened_again(row, trained, planted, tmp_path):
    sae, x = trained[row], planted.activations.float()
    sae.save(tmp_path / "own")
    again = load(tmp_path / "own")
    assert again.info == sae.info
    assert torch.equal(again.encode(x).dense(), sae.encode(x).dense())
    assert torch.equal(again(x), sae(x))
    if sae.info.position not in ("none", "mask"):
        with pytest.raises(DictionaryError, match=re.escape(f"position term {sae.info.position}")):
            export_saelens(sae, tmp_path / "saelens", 3)
        return
    export_saelens(sae, tmp_path / "saelens", 3)
    exported = load(tmp_path / "saelens")
    # 0 or above a threshold: a score on the edge may fall on either side of it in other units
    torch.testing.assert_close(exported.encode(x).dense()[:, 3], sae.encode(x).dense()[:, 3], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(exported(x)[:, 3], sae(x)[:, 3], rtol=1e-4, atol=1e-4)


def test_batch_topk_is_a_jumprelu_afterwards_with_about_as_many_features(trained, planted, tmp_path):
    sae = trained["batch_topk"]
    assert sae.info.architecture == "jumprelu"
    assert (sae.architecture.threshold == sae.architecture.threshold[0]).all() and sae.architecture.threshold[0] > 0
    l0 = sae.encode(planted.activations.float()).fired()[:, 1:].sum(-1).float().mean()
    assert 2 < l0 < 4.5
    export_saelens(sae, tmp_path, None)
    assert json.loads((tmp_path / "cfg.json").read_text())["architecture"] == "jumprelu"
