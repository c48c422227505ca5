"""Profiles with clocks beside the position: each feature is found to follow what it follows."""

import numpy as np
import pytest
import torch

import lens
from lens.activations import models
from lens.activations.packing import as_windows, packed
from lens.cli import main
from lens.errors import ConfigError
from lens.explorer.profiles import collect
from lens.figures.plot import FigureError
from lens.profiling.position_profile import PositionProfile, ProfileError
from tests.profiling.test_position_profile import OPTIONS, identity

N, T, D = 96, 40, 4


class Given(torch.nn.Module):
    """The activations are the features."""

    def encode(self, x):
        return x

    def decode(self, f):
        return f


@pytest.fixture(scope="module")
def windows():
    """A turn begins every ten tokens, at another place in each window: feature 0 fires for three tokens after, 1 at
    positions 5 to 9, 2 at random, 3 more often late in a turn."""
    rng = np.random.default_rng(0)
    t = np.arange(T)
    turn = (t + rng.integers(10, size=(N, 1))) % 10
    x = np.zeros((N, T, D), np.float32)
    x[..., 0] = turn < 3
    x[..., 1] = (t >= 5) & (t < 10)
    x[..., 2] = rng.random((N, T)) < 0.2
    x[..., 3] = rng.random((N, T)) < np.where(turn >= 8, 0.5, 0.1)
    return x, turn


@pytest.fixture(scope="module")
def found(windows) -> PositionProfile:
    x, turn = windows
    tokens = np.zeros((N, T), int)
    return lens.profile(Given(), lens.Activations(x, tokens=tokens, clocks={"turn": turn}), permutations=80, contexts=1)


def test_features_depend_on_what_they_follow(found):
    features = found.features
    assert features["since_turn"].tolist() == [True, False, False, True]
    assert features["positional"].tolist()[1:3] == [True, False]
    assert features["positional_given_turn"].tolist() == [False, True, False, False]
    assert features["since_turn_information"][0] > 0.5 > 0.01 > features["since_turn_information"][2]
    value = found.summary.set_index("metric")["value"]
    assert value["since_turn_share"] == 0.5 and value["positional_given_turn_share"] == 0.25
    assert {"since_turn_share_null", "positional_given_turn_share_null"} <= set(value.index)
    assert "by tokens since turn, of 4 tested" in repr(found)


def test_rates_by_clock_are_those_of_the_tokens_at_text_positions(found, windows):
    x, turn = windows
    table = found.clocks
    assert table["since"].tolist() == ["0", "1", "2-3", "4-7", "8-15"]
    for row, (low, high) in zip(table.index, ((0, 0), (1, 1), (2, 3), (4, 7), (8, 15)), strict=True):
        inside = (turn[:, 1:] >= low) & (turn[:, 1:] <= high)
        assert table.loc[row, "tokens"] == inside.sum()
        assert np.allclose(table.loc[row, list(range(D))].astype(float), x[:, 1:][inside].mean(0))
    assert table.loc[:1, 0].tolist() == [1, 1] and table.loc[2, 0] < 1


def test_without_clocks_nothing_is_different(found, windows):
    x, _ = windows
    plain = lens.profile(Given(), lens.Activations(x, tokens=np.zeros((N, T), int)), permutations=80)
    shared = found.features[plain.features.columns]
    assert shared.equals(plain.features) and plain.clocks is None
    with pytest.raises(FigureError, match="profile with clocks="):
        plain.plot_clocks()


def test_it_is_kept_drawn_and_shown(found, tmp_path):
    folder = found.save(tmp_path / "a")
    again = PositionProfile.read(folder)
    assert again.clocks.columns.tolist() == found.clocks.columns.tolist()
    assert again.clocks["since"].tolist() == found.clocks["since"].tolist()
    assert np.allclose(again.clocks[0], found.clocks[0], rtol=1e-5)
    assert (folder / "clocks.svg").is_file() and "since turn" in found.plot_clocks().alt
    assert "1 at 0" in found.plot_clocks(0).alt
    with pytest.raises(FigureError, match="no feature 9"):
        found.plot_clocks(9)
    [study] = collect({"a": again})
    [part] = study.layers.values()
    assert part.header["columns"]["since_turn"] == [1, 0, 0, 1]
    assert {"since_turn_p", "since_turn_information", "positional_given_turn"} <= set(part.header["columns"])
    (folder / "clocks.csv").write_text("")
    with pytest.raises(ProfileError, match="clocks.csv cannot be read .it is truncated or altered"):
        PositionProfile.read(folder)


@pytest.mark.parametrize(
    ("clocks", "message"),
    [
        ({"turn": np.zeros((N, T - 1), int)}, r"whole numbers of shape \(96, 40\) are needed"),
        ({"turn": np.zeros((N, T))}, "is float64 of shape"),
        ({"turn": np.full((N, T), -2)}, "-1 before it started"),
        ({"turn": np.full((N, T), -1)}, "it has to start"),
        ({"a turn": np.zeros((N, T), int)}, "name it with letters, digits and underscores"),
    ],
)
def test_clocks_that_do_not_fit_are_refused(clocks, message, windows):
    with pytest.raises(ConfigError, match=message):
        lens.Activations(windows[0], clocks=clocks)


@pytest.fixture(scope="module")
def model():
    return models.load("random:gemma-3-tiny", dtype=torch.float32)


def test_packed_windows_are_read_as_they_are(model):
    """A feature of BOS alone fires at the begin of each document, wherever that is."""
    rng = np.random.default_rng(1)
    texts = ["".join(rng.choice(list("abcd \n"), rng.integers(10, 60))) for _ in range(120)]
    ids = packed(texts, model.tokenizer, 32)
    found = lens.profile(identity(model), model, torch.as_tensor(ids), clocks=["document", "newline"], fidelity=4)
    assert (found.about.windows, found.about.length, found.about.bos) == (len(ids), 32, False)
    table = found.clocks.set_index(["clock", "since"])
    bos = int(((ids == model.bos_id)[:, 1:]).sum())
    assert table.loc[("document", "0"), "tokens"] == bos
    assert found.features["since_document"].any()
    again = lens.profile(identity(model), model, ids, fidelity=4)
    assert again.about.text == found.about.text


def test_what_windows_that_you_have_decide_is_not_asked(model):
    ids = np.full((16, 32), 65)
    for options, message in (
        ({"windows": 16}, "windows asked of token ids"),
        ({"offsets": 2, "length": 16}, "length and offsets asked of token ids"),
    ):
        with pytest.raises(ProfileError, match=message):
            lens.profile(identity(model), model, ids, **options)
    for wrong, message in (
        (ids[:15], "15 windows of token ids: a profile needs 16"),
        (ids[0], "whole numbers .n, T. are needed"),
        (ids * 1.0, "token ids are float64"),
        (ids[:, :40].repeat(2, axis=1), "dictionary has positions 0..31"),
        (ids + 1000, "token 1065 is not among"),
    ):
        with pytest.raises(ValueError, match=message):
            lens.profile(identity(model), model, wrong)
    with pytest.raises(ProfileError, match="clocks asked of activations.*lens.Activations"):
        lens.profile(Given(), np.random.randn(16, 16, 4), clocks=["newline"])


def test_a_text_by_its_lines_and_documents_on_the_command_line(model, tmp_path, capsys):
    rng = np.random.default_rng(0)
    (tmp_path / "text.txt").write_text("".join(rng.choice(list("abcdefghij \n"), 4000)))
    identity(model).save(tmp_path / "sae")
    arguments = [str(tmp_path / "sae"), "random:gemma-3-tiny", str(tmp_path / "text.txt"), "--out", str(tmp_path / "p")]
    numbers = ["--windows", str(OPTIONS["windows"]), "--fidelity", "0"]
    assert main(["profile", *arguments, *numbers, "--clock", "newline", "--clock", "document"]) == 0
    assert "by tokens since newline" in capsys.readouterr().out
    clocks = PositionProfile.read(tmp_path / "p").clocks
    assert set(clocks["clock"]) == {"newline", "document"}
    assert clocks[clocks["clock"] == "document"]["since"].iloc[-1] == "2048-4095"
    assert main(["profile", *arguments, *numbers, "--clock", "lines"]) == 1
    assert "no clock 'lines'" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [-1, 2**31, 2**32 + 5])
def test_ids_that_are_none_are_refused(wrong):
    """2^32 + 5 was read as 5, and what a mask hides was read too."""
    ids = np.zeros((16, 8), np.int64)
    ids[3, 4] = wrong
    with pytest.raises(ValueError, match=f"token ids hold {wrong}: an id is a whole number from 0"):
        as_windows(ids)
    with pytest.raises(ValueError, match="masked array"):
        as_windows(np.ma.masked_array(ids, mask=ids == wrong))
