"""Dictionaries that read sequences, through the whole path: trained, resumed, measured, opened again, or refused."""

import pytest
import torch

from lens.dictionaries.dictionary import Dictionary
from lens.dictionaries.export import export_saelens
from lens.dictionaries.load import load
from lens.dictionaries.saebench import SAEBenchAdapter
from lens.errors import DictionaryError
from lens.measure import synthetic
from lens.profiling.reconstruction import reconstruction_tables
from lens.training import train as training
from tests.training.test_architectures import D, K, N, T, train

COMMON = {
    "position": "none",
    "position_weights": "uniform",
    "k": 3,
    "gradient_clip": 1.0,
    "steps": 40,
    "precision": "fp32",
}
TFA = {"architecture": "tfa", "lr": 1e-2, "betas": (0.9, 0.95), "weight_decay": 1e-4, "input_centre": "mean"}
ROWS = {
    "t_sae": {"architecture": "t_sae", "dead_after": 500, "partner": "random"},
    "crosscoder": {"architecture": "temporal_crosscoder", "dead_after": 500, "span": 2},
    "stacked": {"architecture": "topk", "position": "stacked", "dead_after": 500},
    "tfa": TFA,
    "tfa_strict": {**TFA, "strict": True},
}
OF_WINDOWS = [name for name, fields in ROWS.items() if fields["architecture"] in ("tfa", "temporal_crosscoder")]


def trained_row(row: str, folder, activations, **fields) -> Dictionary:
    return train(row, folder, activations, **COMMON | ROWS[row] | fields)


@pytest.fixture(scope="module")
def planted() -> synthetic.Embedded:
    truth = synthetic.plant(N, T, K, widths=(8,), densities=(0.1, 0.1), seed=0)
    return synthetic.embed(truth, D, seed=5)


@pytest.fixture(scope="module")
def trained(planted, tmp_path_factory) -> dict[str, Dictionary]:
    folder = tmp_path_factory.mktemp("trained")
    return {row: trained_row(row, folder / row, planted.activations) for row in ROWS}


@pytest.mark.parametrize("row", ROWS)
def test_it_reconstructs_and_is_measured_by_the_same_functions(row, trained, planted):
    sae, block = trained[row], torch.zeros(N, dtype=torch.long)
    tables = reconstruction_tables({(row, 0): sae}, planted.activations, block, ["text"], sae.info.input_scale)
    values = tables["summary"].query("variant == @row and positions == 'text'").set_index("metric")["value"]
    assert values["fvu"] < 0.9
    assert 1 < values["l0"] <= 3 * (sae.architecture.span if row != "t_sae" else 2)


@pytest.mark.parametrize("row", ROWS)
def test_a_killed_run_goes_on_to_the_same_bytes(row, planted, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 4)
    trained_row(row, tmp_path / "a", planted.activations, steps=10)
    save = training.snapshot

    def killed(runs, folder, step):
        save(runs, folder, step)
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "snapshot", killed)
    with pytest.raises(KeyboardInterrupt):
        trained_row(row, tmp_path / "b", planted.activations, steps=10)
    monkeypatch.setattr(training, "snapshot", save)
    trained_row(row, tmp_path / "b", planted.activations, steps=10)
    files = [next((tmp_path / part / "out").rglob("sae.safetensors")).read_bytes() for part in "ab"]
    assert files[0] == files[1]


@pytest.mark.parametrize("row", ROWS)
def test_it_is_opened_again(row, trained, planted, tmp_path):
    sae, x = trained[row], planted.activations.float()
    sae.save(tmp_path)
    again = load(tmp_path)
    assert again.info == sae.info
    assert torch.equal(again.encode(x).dense(), sae.encode(x).dense()) and torch.equal(again(x), sae(x))


def test_a_free_decoder_stays_tied_and_has_rows_of_any_norm(trained):
    for row in ("tfa", "tfa_strict"):
        sae = trained[row]
        assert torch.equal(sae.W_enc, sae.W_dec.T)
        assert sae.W_dec.norm(dim=1).std() > 0.1
    rows = trained["crosscoder"].W_dec  # of the decoders of both places together
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(len(rows)))


@pytest.mark.parametrize("row", OF_WINDOWS)
def test_what_takes_single_vectors_refuses_it_by_name(row, trained, tmp_path):
    sae, name = trained[row], ROWS[row]["architecture"]
    with pytest.raises(DictionaryError, match=name):
        export_saelens(sae, tmp_path, None)
    with pytest.raises(DictionaryError, match=name):
        SAEBenchAdapter(Dictionary(sae.info.__class__(**{**vars(sae.info), "model": "m"}), sae.on_disk()[1]))
    if sae.input_centre is not None:
        with pytest.raises(DictionaryError, match=name):
            sae.uncentred()


def test_clipped_gradients_train_to_other_numbers(planted, tmp_path):
    one, other = (
        trained_row("stacked", tmp_path / str(clip), planted.activations, steps=5, gradient_clip=clip)
        for clip in (0.0, 0.001)
    )
    assert not torch.equal(one.W_dec, other.W_dec)
