import json
import warnings

import pytest
import torch

from lens.activations.store import digest
from lens.dictionaries.dictionary import Dictionary, Info, PositionError
from lens.dictionaries.load import load
from lens.dictionaries.positions.mask import init_pos_logits
from lens.errors import DictionaryError
from tests.making import info


def sae(**changes) -> Dictionary:
    return Dictionary.initialise(info(6, 9, 5, **{"tau": 0.5, "scale": 0.25, **changes}), torch.arange(6.0), seed=3)


def windows(n: int = 2, T: int = 5) -> torch.Tensor:
    return torch.randn(n, T, 6, generator=torch.Generator().manual_seed(1))


def test_mask_and_code_match_equations_3_and_4_by_hand():
    model, x = sae(), windows()
    for b, t in ((0, 0), (1, 3)):
        pre = [(x[b, t] * 0.25) @ model.W_enc[:, j] + model.architecture.b_enc[j] for j in range(9)]
        m = [1 / (1 + torch.exp(-model.position_term.pos_logits[t, j] / 0.5)) for j in range(9)]
        expected = torch.stack([max(p, torch.tensor(0.0)) * g for p, g in zip(pre, m, strict=True)])
        torch.testing.assert_close(model.encode(x).dense()[b, t], expected)


def test_standard_sae_is_bit_exact_with_all_ones_masks():
    plain, x = sae(masked=False), windows()
    weights = {name: p.data for name, p in plain.weights().items()}
    ones = Dictionary(sae().info, {**weights, "pos_logits": torch.full((5, 9), 1e9)})
    assert torch.equal(ones.position_term.values(), torch.ones(5, 9))
    assert torch.equal(plain.encode(x).dense(), ones.encode(x).dense())
    assert torch.equal(plain(x), ones(x))


def test_masked_and_plain_of_one_seed_start_from_the_same_weights():
    for name, value in sae(masked=False).weights().items():
        assert torch.equal(value, sae().weights()[name]), name


def test_gauge_leaves_the_code_unchanged():
    """Scaling encoder and bias by c and the mask by 1/c is invisible: mask levels are not identifiable."""
    model, x, c = sae(), windows(), 1.5
    m = model.position_term.values()
    code = torch.relu((x * 0.25) @ (model.W_enc * c) + model.architecture.b_enc * c) * (m / c)
    torch.testing.assert_close(code, model.encode(x).dense())


def test_logits_start_with_variance_one_over_T():
    logits = init_pos_logits(128, 2000, torch.Generator().manual_seed(0))
    assert logits.mean().abs() < 1e-3
    assert logits.var().item() == pytest.approx(1 / 128, rel=0.01)


def test_input_without_positions_is_refused_not_guessed():
    with pytest.raises(PositionError, match="no positions.*positions="):
        sae().encode(torch.zeros(10, 6)).dense()


def test_flat_vectors_with_positions_equal_windows():
    model, x = sae(), windows()
    positions = torch.arange(5).repeat(2)
    torch.testing.assert_close(model.encode(x.reshape(10, 6), positions).dense().view(2, 5, 9), model.encode(x).dense())


@pytest.mark.parametrize("masked", [True, False])
def test_position_beyond_the_trained_context_is_refused_unless_clamped(masked):
    model = sae(masked=masked)
    with pytest.raises(PositionError, match=r"0\.\.5 asked.*0\.\.4.*clamp"):
        model.encode(windows(T=6)).dense()
    clamped = model.encode(windows(T=6), clamp=True).dense()
    torch.testing.assert_close(clamped[:, 5], model.encode(windows(T=6)[:, 5], torch.full((2,), 4)).dense())
    with pytest.raises(PositionError):
        model.encode(windows()[:, 0], torch.tensor([-1, 0]), clamp=True).dense()


@pytest.mark.parametrize("masked", [True, False])
def test_folders_from_before_there_were_architectures_open(tmp_path, masked):
    model = sae(masked=masked, model="m", layer="3", name="v", seed=2)
    model.save(tmp_path)
    now = json.loads((tmp_path / "cfg.json").read_text())
    kept = ("d_in", "d_sae", "n_positions", "input_scale", "model", "layer", "seed", "sha256")
    old = {key: now[key] for key in kept} | {"masked": masked, "tau": 0.5, "variant": "v"}
    (tmp_path / "cfg.json").write_text(json.dumps(old))
    for found in (Dictionary.load(tmp_path), load(tmp_path)):
        assert found.info == model.info
        assert torch.equal(found(windows()), model(windows()))


def test_code_that_a_folder_names_runs_only_where_it_is_trusted(tmp_path):
    own = "tests.architectures.log_penalty:LogPenalty"
    made = Dictionary.initialise(Info(6, 9, 5, architecture=own), torch.zeros(6), 0)
    made.architecture.on_disk = super(type(made.architecture), made.architecture).on_disk  # saved as what it is
    made.save(tmp_path)
    assert Dictionary.load(tmp_path, trust=True).info == load(tmp_path, trust=True).info == made.info
    for opened in (load, Dictionary.load):
        with pytest.raises(DictionaryError, match=r"asks to run tests.architectures.*trust=True \(--trust") as error:
            opened(tmp_path)
        assert str(error.value).count(str(tmp_path)) == 1


OWN = "from lens.dictionaries.architectures.relu import Codes, ReLU\n\n\nclass Mine(ReLU):\n    def select(self, u):\n"


def own(folder, select: str) -> str:
    (folder / "mine.py").write_text(f"{OWN}        return {select}\n\n\nclass Other:\n    pass\n")
    return f"{folder / 'mine.py'}:Mine"


def test_code_that_was_edited_since_is_said(tmp_path):
    name = own(tmp_path, "Codes(u, None, 9)")
    made = Dictionary.initialise(Info(6, 9, 5, architecture=name), torch.zeros(6), 0)
    made.save(tmp_path / "d")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(tmp_path / "d", trust=True)
    own(tmp_path, "Codes(2 * u, None, 9)")
    with pytest.warns(UserWarning, match="mine.py:Mine changed since .*d was saved"):
        edited = load(tmp_path / "d", trust=True)
    torch.testing.assert_close(edited.encode(windows()).dense(), 2 * made.encode(windows()).dense())
    sae().save(tmp_path / "ours")
    assert "code" not in json.loads((tmp_path / "ours/cfg.json").read_text())


@pytest.mark.parametrize(
    ("select", "found"),
    [
        ("u.relu()", "got Tensor"),
        ("Codes(u, None, 6)", "got Codes of width 6"),
        ("Codes(u[..., :4], None, 9)", r"got values of shape \(2, 3, 4\) and index None for u of shape \(2, 3, 9\)"),
        ("Codes(u, u.topk(2).indices, 9)", r"got values of shape \(2, 3, 9\) and index \(2, 3, 2\)"),
    ],
)
def test_an_own_architecture_that_answers_no_codes_is_refused(tmp_path, select, found):
    with pytest.raises(DictionaryError, match=f"Mine.select must return Codes of width 9 .*{found}"):
        Dictionary.initialise(Info(6, 9, 5, architecture=own(tmp_path, select)), torch.zeros(6), 0)


def test_an_own_architecture_needs_a_select_and_a_file_needs_a_class(tmp_path):
    (tmp_path / "bare.py").write_text(
        "from lens.dictionaries import parts\nclass Bare(parts.Architecture):\n    pass\n"
    )
    own(tmp_path, "Codes(*u.topk(2), 9)")
    for name, message in (
        ("bare.py:Bare", "Bare has no select: define select"),
        ("mine.py", "mine.py' is a file: name one of its classes, .*mine.py:Mine, .*mine.py:Other$"),
        ("none.py", "unknown architecture '.*none.py'"),
    ):
        with pytest.raises(DictionaryError, match=message):
            Dictionary.initialise(Info(6, 9, 5, architecture=str(tmp_path / name)), torch.zeros(6), 0)
    kept = Dictionary.initialise(Info(6, 9, 5, architecture=f"{tmp_path / 'mine.py'}:Mine"), torch.zeros(6), 0)
    assert (kept.encode(windows()).fired().sum(-1) == 2).all()


def test_broken_folders_are_refused_by_name(tmp_path):
    folder = tmp_path / "d"
    with pytest.raises(ValueError, match="cfg.json is missing"):
        Dictionary.load(folder)
    sae().save(folder)
    weights = folder / "sae.safetensors"
    expected = digest(weights)
    weights.write_bytes(weights.read_bytes()[:-40])
    with pytest.raises(ValueError, match="truncated or altered.*train it again") as error:
        Dictionary.load(folder)
    assert str(weights) in str(error.value)
    assert expected in str(error.value)
    assert digest(weights) in str(error.value)
