import dataclasses
import json
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

import lens
from lens.activations import language_model, models
from lens.cli import main
from lens.dictionaries.dictionary import Dictionary, Info
from lens.dictionaries.positions.mask import SATURATED
from lens.figures.plot import FigureError
from lens.profiling.position_profile import PositionProfile, ProfileError
from lens.profiling.profile import profile
from tests.making import info

T, LAYER = 32, 1
OPTIONS = {"windows": 64, "length": T, "fidelity": 4, "permutations": 60}


@pytest.fixture(scope="module")
def model():
    return models.load("random:gemma-3-tiny", dtype=torch.float32)


@pytest.fixture(scope="module")
def documents():
    rng = np.random.default_rng(0)
    return ["".join(rng.choice(list("abcdefghij \n"), 1500)) for _ in range(3)]


def identity(lm, **changes) -> Dictionary:
    """A dictionary of both directions of every axis: it loses next to nothing."""
    d, eye = lm.d_model, torch.eye(lm.d_model)
    config = info(d, 2 * d, T, False, 1.0, 1.0, layer=str(LAYER))
    weights = {
        "W_enc": torch.cat([eye, -eye], dim=1),
        "b_enc": torch.zeros(2 * d),
        "W_dec": torch.cat([eye, -eye]),
        "b_dec": torch.full((d,), 1e-5),
    }
    return Dictionary(dataclasses.replace(config, **changes), weights)


def windowed(model) -> tuple[Dictionary, np.ndarray]:
    """The same, with masks that let every feature fire on eight neighbouring positions alone."""
    sae = identity(model)
    first = 1 + np.arange(sae.info.d_sae) * 7 % (T - 9)
    t = np.arange(T)[:, None]
    is_open = torch.as_tensor((t >= first) & (t < first + 8))
    weights = {**{n: p.detach() for n, p in sae.weights().items()}}
    weights["pos_logits"] = torch.where(is_open, SATURATED, -SATURATED)
    return Dictionary(dataclasses.replace(sae.info, position="mask"), weights), first


@pytest.fixture(scope="module")
def found(model, documents) -> PositionProfile:
    """Of the identity, whose features know nothing of position."""
    return profile(identity(model), model, documents, **OPTIONS)


@pytest.fixture(scope="module")
def narrow(model, documents) -> PositionProfile:
    return profile(windowed(model)[0], model, documents, **OPTIONS)


def value(found: PositionProfile, metric: str, positions: str = "text") -> float:
    rows = found.summary[(found.summary["metric"] == metric) & (found.summary["positions"] == positions)]
    return float(rows["value"].item())


def test_a_dictionary_that_loses_nothing_costs_nothing(model, found):
    assert value(found, "fvu") == pytest.approx(0, abs=1e-6)
    assert value(found, "delta_ce") == pytest.approx(0, abs=1e-5)
    assert value(found, "kl") == pytest.approx(0, abs=1e-5)
    assert value(found, "ce_recovered_mean") == pytest.approx(1, abs=1e-3)
    assert value(found, "l0") == pytest.approx(model.d_model, rel=0.01)  # one of the two directions of each axis
    at = found.positions.groupby("metric")["position"].agg(set)
    assert at["fvu_position"] == set(range(1, T))  # every BOS is the same: no variance about its own mean
    assert at["fvu_global"] == at["l0"] == at["sq_norm"] == set(range(T))
    assert at["delta_ce"] == at["kl"] == set(range(T - 1))  # nothing follows the last token


def test_windows_of_firing_are_found_with_their_places_and_widths(model, found, narrow):
    first = windowed(model)[1]
    tested = narrow.features[narrow.features["p"].notna()]
    assert len(tested) > 30
    assert tested["positional"].all()
    assert value(narrow, "positional_share_null") < 0.05
    centres = tested["centre"] - (first[tested["feature"]] + 3.5)
    assert centres.abs().max() < 1.5
    outside = narrow.rates.to_numpy()[(np.arange(1, T)[:, None] < first) | (np.arange(1, T)[:, None] >= first + 8)]
    assert not outside.any()
    assert tested["information"].min() > 4 * found.features["information"].median()


def test_the_null_band_holds_the_rates_of_a_feature_without_position(found):
    flat = found.features.loc[found.features["p"] > 0.2, "feature"]
    rates, null = found.rates[flat], found.null_rates.loc[flat]
    inside = (rates >= null["low"]) & (rates <= null["high"])
    assert 0.85 < inside.to_numpy().mean() <= 1


def test_what_is_saved_is_read_back(found, tmp_path):
    again = PositionProfile.read(found.save(tmp_path / "made" / "profile"))
    assert again.about == found.about
    for name in ("summary", "positions", "features"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(found, name), rtol=1e-4, check_dtype=False)
    pd.testing.assert_frame_equal(again.rates, found.rates, rtol=1e-4, check_names=False)
    assert {"fvu_global.png", "kl.png", "features.png"} <= {path.name for path in (tmp_path / "made/profile").iterdir()}
    path = tmp_path / "made/profile/features.csv"
    content = path.read_text()
    path.write_text(content.replace("1", "2", 1))
    with pytest.raises(ProfileError, match="features.csv cannot be read .it is truncated or altered.: profile"):
        PositionProfile.read(path.parent)
    path.write_text(content)
    about = path.with_name("about.json")
    content = about.read_text()
    about.write_text(content.replace('"windows": 64', '"windows": 46'))
    with pytest.raises(ProfileError, match="about.json cannot be read .it was altered"):
        PositionProfile.read(path.parent)
    about.write_text(content)
    (tmp_path / "made/profile/rates.csv").unlink()
    with pytest.raises(ProfileError, match="rates.csv is missing: profile the dictionary again"):
        PositionProfile.read(tmp_path / "made/profile")
    for name, content in {"summary.csv": "", "about.json": '{"dictionary": "x"'}.items():
        (tmp_path / "made/profile" / name).write_text(content)
        with pytest.raises(ProfileError, match=f"{name} cannot be read .*: profile the dictionary again"):
            PositionProfile.read(tmp_path / "made/profile")


def test_files_of_others_are_never_replaced(found, tmp_path, capsys):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    (mine / "features.txt").write_text("no name of a profile's")
    for name in ("features.csv", "kl.png", "about.json"):
        (mine / name).write_text("{}")
        with pytest.raises(ProfileError, match=f"mine holds {name}, which no profile wrote"):
            found.save(mine)
        assert main(["profile", "no-dictionary", "no-model", "no-text", "--out", str(mine)]) == 1
        assert "which no profile wrote" in capsys.readouterr().err  # before anything is opened
        assert (mine / name).read_text() == "{}"
        (mine / name).unlink()
    found.save(mine)
    found.save(mine)  # its own may be
    assert (mine / "notes.txt").read_text() == "mine"


def test_texts_may_be_an_array_of_strings(model, documents):
    options = {"layer": 1, "windows": 16, "length": 16, "fidelity": 0}
    of_list, of_array = (profile(identity(model), model, text, **options) for text in (documents, np.array(documents)))
    pd.testing.assert_frame_equal(of_list.summary, of_array.summary)


@pytest.mark.parametrize("offsets", [1, 10**6])
def test_offsets_that_cannot_be_read_are_named_before_the_work(model, documents, offsets, monkeypatch):
    monkeypatch.setattr(type(model), "residual_stream", lambda *_, **__: 1 / 0)
    with pytest.raises(ProfileError, match="2 offsets or more, and fewer than its windows' tokens"):
        profile(identity(model), model, documents, layer=1, windows=64, length=16, offsets=offsets)


def test_a_profile_that_was_not_written_to_its_end_is_named_and_written_again(found, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("lens.profiling.position_profile.save_plot", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            found.save(tmp_path)
    with pytest.raises(ProfileError, match="not written to its end: profile"):
        PositionProfile.read(tmp_path)
    assert PositionProfile.read(found.save(tmp_path)).about == found.about


@pytest.mark.parametrize("out", ["file", "file/in", "link"])
def test_a_place_that_can_hold_nothing_is_named_before_the_work(found, tmp_path, out, capsys):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("link")
    with pytest.raises(OSError, match="cannot hold results: .*; name another folder"):
        found.save(tmp_path / out)
    assert main(["profile", "no-dictionary", "no-model", "no-text", "--out", str(tmp_path / out)]) == 1
    assert "cannot hold results" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


@pytest.mark.parametrize("offsets", [0, 2])
def test_windows_are_as_those_of_training_with_bos_or_without(model, documents, offsets, monkeypatch):
    """Also where the tokenizer has a BOS that the dictionary hasn't seen."""
    read = language_model.LanguageModel.residual_stream
    seen = []
    monkeypatch.setattr(language_model.LanguageModel, "residual_stream", lambda *a: seen.append(a[1][:, 0]) or read(*a))
    for bos in (True, False):
        seen.clear()
        found = profile(identity(model, bos=bos), model, documents, **{**OPTIONS, "fidelity": 0, "offsets": offsets})
        assert bool((torch.cat(seen) == model.bos_id).all()) == found.about.bos == bos
        assert ("without BOS" in repr(found)) == (not bos)


def test_paths_names_and_files_do_as_well_as_objects(model, documents, tmp_path):
    identity(model).save(tmp_path / "dictionary")
    (tmp_path / "text.txt").write_text("\n".join(documents))
    options = {**OPTIONS, "fidelity": 0}
    found = lens.profile(tmp_path / "dictionary", "random:gemma-3-tiny", str(tmp_path / "text.txt"), **options)
    typed = lens.profile(tmp_path / "dictionary", "random:gemma-3-tiny", tmp_path / "text.txt", layer="1", **options)
    assert found.about.layer == typed.about.layer == "1"
    assert typed.positions.equals(found.positions)
    assert "kl" not in set(found.positions["metric"])
    with pytest.raises(FigureError, match="kl was not measured of dictionary; profile with fidelity of 1 or more"):
        found.plot_positions("kl")


def test_figures_are_those_of_the_numbers(found, narrow):
    positional = int(narrow.features.loc[narrow.features["positional"], "feature"].iloc[0])
    assert "depends on position" in narrow.plot_feature(positional).caption
    other = dataclasses.replace(found, about=dataclasses.replace(found.about, dictionary="models/mine"))
    plot = found.plot_positions("l0", others=[other])
    assert "mine" in plot.alt and "seed" not in plot.caption
    for draw, message in (
        (lambda: found.plot_positions("l0", others=[found]), "two profiles have one name"),
        (lambda: found.plot_positions("fvu"), "'fvu': choose one of mse, fvu_global"),
        (lambda: found.plot_feature(64), "features 0..63"),
    ):
        with pytest.raises(FigureError, match=message):
            draw()


def test_windows_of_64_tokens_have_spans_or_the_word_that_no_feature_has_one(model, documents, found):
    with pytest.raises(FigureError, match="windows of 48 tokens or more"):
        found.plot_spans()
    sae, options = identity(model, n_positions=64), OPTIONS | {"length": 64, "windows": 32, "fidelity": 0}
    longer = profile(sae, model, documents, **options)
    features = longer.features
    assert features["depth"].notna().any() and features["width"].isna().all() and not features["material"].any()
    assert value(longer, "late_span_share") == 0 and "late_width_q50" not in set(longer.summary["metric"])
    plot = longer.plot_spans()
    assert f"0 of {features['depth'].count()} features tested have a span" in plot.alt and "nan" not in plot.alt


def test_the_headline_counts_tokens_of_massive_activation_and_leaves_them_out(found):
    plain = found.headline().set_index("measure")["unit"]
    names = ["FVU", "L0", "ΔCE", "KL", "positional", "the same in shifted windows"]
    assert [name.split(",")[0] for name in plain.index] == names
    rows = found.summary["positions"].eq("text")
    with_outliers = found.summary.assign(
        value=found.summary["value"].mask(rows & found.summary["metric"].eq("outlier_tokens"), 3)
    )
    told = dataclasses.replace(found, summary=with_outliers)
    assert told.headline()["measure"][1].startswith("FVU without 3 of 1984 tokens with massive activations")
    assert "massive activations" in repr(told) and "massive activations" in told._repr_html_()


def test_the_same_call_gives_the_same_profile(model, documents, found):
    again, other = (profile(identity(model), model, documents, **{**OPTIONS, "seed": s}) for s in (0, 1))
    pd.testing.assert_frame_equal(again.features, found.features)
    assert not other.rates.equals(found.rates)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({}, {"length": T + 1}, "positions 0..31.*length=32"),
        ({"layer": ""}, {}, "pass layer="),
        ({}, {"length": 4}, "length must be a whole number of at least 8, found 4"),
        ({}, {"windows": 0}, "windows must be a whole number of at least 1, found 0"),
        ({}, {"windows": 64.0}, "windows must be a whole number of at least 1, found 64.0"),
        ({}, {"fidelity": -1}, "fidelity must be a whole number of at least 0, found -1"),
        ({}, {"seed": -1}, "seed must be a whole number of at least 0 and at most 4294967295, found -1"),
        ({}, {"permutations": True}, "permutations must be a whole number of at least 40, found True"),
        ({}, {"layer": 7}, "no layer 7"),
    ],
)
def test_what_does_not_fit_says_so(model, documents, changes, options, message):
    with pytest.raises(ValueError, match=message):
        profile(identity(model, **changes), model, documents, **{**OPTIONS, **options})


def test_too_short_a_text_is_found_before_the_model_runs(model, monkeypatch):
    text = ["abcdefghij \n" * 41 + "abc"]  # 495 bytes, one fewer than 16 windows of BOS and 31 take
    with (
        monkeypatch.context() as patch,
        pytest.raises(ValueError, match="16 take about 496 .* are 495: pass windows=15"),
    ):
        patch.setattr("lens.profiling.profile._activations", lambda *a: pytest.fail("the model ran"))
        profile(identity(model), model, text, **{**OPTIONS, "windows": 256})
    assert profile(identity(model), model, text, **{**OPTIONS, "windows": 15}).about.windows == 15


def test_what_is_no_dictionary_text_or_test_is_refused(model, documents):
    small = Dictionary.initialise(info(8, 8, T, False, layer="1"), torch.zeros(8), 0)
    for sae, text, options, message in (
        (small, documents, {}, "(?s)8.*32|32.*8"),
        (torch.nn.Linear(32, 64), documents, {}, "Linear is not a dictionary"),
        (Halves(16), documents, {}, r"Halves does not encode .* 32\]"),
        (small, "first\nsecond", {}, r"text of 12 characters where a path or a name is expected: pass \[text\]"),
        ("no such dictionary", documents, {"permutations": 39}, "permutations must be .* at least 40, found 39"),
    ):
        with pytest.raises(ValueError, match=message):
            profile(sae, model, text, layer=LAYER, **{**OPTIONS, **options})


class Halves(torch.nn.Module):
    """A dictionary of no known kind."""

    def __init__(self, d):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.cat([torch.eye(d), -torch.eye(d)], dim=1))

    def encode(self, x):
        return torch.relu(x @ self.weight)

    def decode(self, f):
        return f @ self.weight.T / 2


class Dropping(Halves):
    """The same, with dropout in training."""

    def encode(self, x):
        return torch.nn.functional.dropout(super().encode(x), 0.5, self.training)


def test_any_module_that_encodes_and_decodes_will_do(model, documents):
    own = Halves(model.d_model).double()
    found = profile(own, model, documents, layer=LAYER, **OPTIONS)
    assert found.about.dictionary == "Halves"
    assert value(found, "nmse") == pytest.approx(0.25, rel=1e-5)  # half of every vector is left
    assert own.weight.dtype == torch.float64  # the caller's module is not touched
    with pytest.raises(ProfileError, match="pass layer="):
        profile(own, model, documents, **OPTIONS)


def test_inputs_in_another_scale_than_it_was_trained_on_are_pointed_out(model, documents, tmp_path, capsys):
    """Trained on inputs times 100, of which it loses 5 % of a deviation: 25, not 0.0025."""
    x = model.residual_stream(torch.randint(0, 200, (8, T)), [LAYER])[LAYER][:, 1:]
    mean, deviation = x.mean((0, 1)), x.std((0, 1))
    eye, lost = torch.eye(model.d_model), 5 * deviation
    weights = {"W_enc": torch.cat([eye, -eye], 1), "b_enc": -lost.repeat(2), "W_dec": torch.cat([eye, -eye])}
    config = Info(model.d_model, 2 * model.d_model, layer=str(LAYER), apply_b_dec_to_input=True)
    folder = tmp_path / f"average_l0_{model.d_model}"
    lens.export_saelens(Dictionary(config, {**weights, "b_dec": 100 * mean}), folder, 0)
    said = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps({**said, "normalize_activations": "expected_average_only_in"}))
    options = {**OPTIONS, "windows": 16, "fidelity": 0}
    with pytest.warns(
        UserWarning, match=r"FVU is \d+.*the mean of the activations alone gives 1.*norm_scaling_factor="
    ):
        wrong = profile(folder, model, documents, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        right = profile(lens.load(folder, norm_scaling_factor=100.0), model, documents, **options)
    assert value(right, "fvu") < 0.01 and value(wrong, "fvu") > 1
    (tmp_path / "text.txt").write_text("\n".join(documents))
    words = ["profile", str(folder), "random:gemma-3-tiny", str(tmp_path / "text.txt"), "--out", str(tmp_path / "out")]
    words += ["--windows", "16", "--length", str(T), "--fidelity"]
    with pytest.warns(UserWarning, match=r"FVU is \d+"):
        assert main([*words, "0"]) == 0
    assert main([*words, "-1"]) == 1
    assert "fidelity must be a whole number of at least 0, found -1" in capsys.readouterr().err
    sparse = lens.load(folder.rename(tmp_path / "average_l0_7"), norm_scaling_factor=100.0)
    with pytest.warns(UserWarning, match=r"^L0 is 3\d.*, where the dictionary states 7\. .*norm is about \d"):
        profile(sparse, model, documents, **options)


def test_a_dictionary_in_training_mode_is_measured_as_it_will_be_used(model, documents, found):
    """BatchTopK takes the 20 largest in training, and then all above its threshold, here all."""
    training = identity(model, architecture="batch_topk", settings={"k": 20}).train()
    again = profile(training, model, documents, **OPTIONS)
    assert training.training and again.positions.equals(found.positions)
    dropping = Dropping(model.d_model)
    measured = profile(dropping, model, documents, layer=LAYER, **{**OPTIONS, "fidelity": 0})
    assert dropping.training and value(measured, "nmse") == pytest.approx(0.25, rel=1e-5)


def test_a_dictionary_that_is_always_off_and_a_text_that_never_varies(model, documents):
    """A division by zero, and an FVU of infinity."""

    class Off(Halves):
        def encode(self, x):
            return super().encode(x) * 0

    with pytest.warns(UserWarning, match="FVU is"):
        off = profile(Off(model.d_model), model, documents, layer=LAYER, **OPTIONS)
    assert value(off, "l0") == 0
    with pytest.raises(ProfileError, match="activations at layer embedding are the same at every token"):
        profile(Halves(model.d_model), model, ["a" * 3000], layer="embedding", **OPTIONS)


def test_another_model_of_the_same_width_is_pointed_out(model, documents):
    options = {**OPTIONS, "fidelity": 0}
    with pytest.warns(UserWarning, match="trained on google/gemma-2-2b, and is profiled on random:gemma-3-tiny"):
        profile(identity(model, model="google/gemma-2-2b"), model, documents, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        profile(identity(model, model="someone/Random:Gemma-3-tiny"), model, documents, **options)


def test_logits_that_are_not_finite_are_named_with_their_cause(model, documents):
    """The advice was to leave the model's predictions out."""
    damaged = models.load("random:gemma-3-tiny", dtype=torch.float32, device="cpu")
    with torch.no_grad():
        damaged.blocks[3].mlp.down_proj.weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match="its logits are NaN or infinite: weights behind its blocks are damaged"):
        profile(identity(damaged), damaged, documents, layer=1, windows=16, length=16, fidelity=2)
