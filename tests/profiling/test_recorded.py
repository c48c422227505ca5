import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

import lens
from lens.errors import ConfigError
from lens.profiling.position_profile import PositionProfile, ProfileError
from tests.profiling.test_position_profile import OPTIONS, Halves, T, identity, value, windowed

D, N = 8, 64


class Model:
    d_model, name = D, "m"


@pytest.fixture(scope="module")
def vectors() -> torch.Tensor:
    return torch.randn(N, T, D, generator=torch.Generator().manual_seed(0))


def of_arrays(sae, given, **options) -> PositionProfile:
    return lens.profile(sae, given, permutations=60, **options)


def test_windows_of_firing_are_found_without_a_model(vectors):
    sae, first = windowed(Model())
    found = of_arrays(sae, vectors)
    tested = found.features[found.features["p"].notna()]
    assert len(tested) > 8 and tested["positional"].all()
    assert (tested["centre"] - (first[tested["feature"]] + 3.5)).abs().max() < 1.5
    assert found.about.model == "activations" and found.about.windows == N and found.about.length == T
    assert not {"delta_ce", "kl"} & set(found.summary["metric"])
    assert "token_share" not in found.features  # tokens are not known
    assert repr(found).partition("\n")[0].endswith(f", activations, {N} windows of {T} tokens")


def test_fvu_is_that_of_the_numbers_given(vectors):
    found = of_arrays(Halves(D), vectors.double().numpy())
    text = vectors[:, 1:].double()
    expected = (text / 2).square().sum() / (text - text.mean((0, 1))).square().sum()
    assert value(found, "fvu") == pytest.approx(float(expected), rel=1e-4)


def test_arrays_of_both_libraries_and_of_any_precision_give_the_same(vectors, tmp_path):
    short = vectors.bfloat16()
    on_disk = np.memmap(tmp_path / "x", np.float32, "w+", shape=tuple(short.shape))
    on_disk[:] = short.float().numpy()
    on_disk.flush()
    on_disk = np.memmap(tmp_path / "x", np.float32, "r", shape=tuple(short.shape))
    one, other = of_arrays(identity(Model()), short), of_arrays(identity(Model()), on_disk)
    pd.testing.assert_frame_equal(one.features, other.features)
    assert one.about.text != other.about.text  # of the numbers as they are stored
    assert one.about == dataclasses.replace(other.about, text=one.about.text)
    native = short.float().numpy()
    backwards = np.ascontiguousarray(native[:, ::-1])[:, ::-1]  # strides below 0
    for values in (native.astype(">f4"), backwards):
        pd.testing.assert_frame_equal(of_arrays(identity(Model()), values).features, other.features)


def test_labels_are_measured(vectors):
    """Feature 0 fires where the first coordinate is above 0, which is where the token is 1."""
    tokens = (vectors[..., 0] > 0).long()
    documents = ["first"] * (N // 2) + ["second"] * (N // 2)
    given = lens.Activations(vectors, documents, tokens, ["off", "on"], name="weights of a robot")
    assert repr(given) == f"Activations (weights of a robot): {N} windows of {T} vectors of {D} dimensions"
    found = of_arrays(identity(Model()), given)
    share = found.features["token_share"]
    assert share[0] == share[D] == 1 and 0.4 < share[1] < 0.65
    store = given.layer_data("").test
    assert store.documents == ("first", "second") and store.start[N // 2].item() == 0 and store.start[1].item() == T
    assert "weights of a robot" in found.plot_feature(0).title


def test_what_is_saved_is_read_back(vectors, tmp_path):
    found = of_arrays(identity(Model()), vectors, layer=3)
    again = PositionProfile.read(found.save(tmp_path))
    assert again.about == found.about and again.about.place == "layer 3 of activations"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"documents": ["one"]}, f"documents names 1 windows, the activations are {N}"),
        ({"tokens": np.zeros((N, T - 1), int)}, rf"shape \({N}, {T - 1}\): whole numbers .*\({N}, {T}\)"),
        ({"tokens": np.zeros((N, T))}, "float64"),
        ({"tokens": np.full((N, T), -1)}, "from 0 on"),
        ({"words": ["a"]}, "words without tokens"),
        ({"tokens": np.full((N, T), 2), "words": ["a", "b"]}, "no text for token 2"),
        ({"tokens": np.full((N, T), 2), "words": {1: "a"}}, "no text for token 2"),
    ],
)
def test_labels_that_do_not_fit_are_refused(vectors, labels, message):
    with pytest.raises(ConfigError, match=message):
        lens.Activations(vectors, **labels)


def test_numbers_that_are_none_are_refused(vectors):
    broken = vectors.clone()
    broken[N - 3, 4, 2] = torch.nan
    for values, message in (
        (broken, f"window {N - 3} of the activations holds NaN"),
        (vectors[0], r"\[n, T, d\] are needed"),
        (vectors.long(), "int64"),
        (vectors.numpy().astype(object), "array of object where numbers"),
        (vectors.numpy().astype(np.longdouble), r"where numbers .* values.astype\(np.float32\)"),
        (vectors[:0], r"shape \(0,"),
        (np.ma.masked_array(vectors.numpy(), mask=False), "masked array: what its mask hides would be measured"),
    ):
        with pytest.raises(ConfigError, match=message):
            of_arrays(identity(Model()), values)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fidelity": 4}, "fidelity asked of activations.*need a language model"),
        ({"offsets": 2, "windows": 8}, "windows and offsets asked"),
        ({"text": ["a"]}, "activations and a text"),
    ],
)
def test_what_needs_a_model_says_so(vectors, options, message):
    with pytest.raises(ProfileError, match=message):
        of_arrays(identity(Model()), vectors, **options)


def test_what_does_not_fit_the_dictionary_says_so(vectors):
    for given, message in (
        (vectors[..., :4], "reads width 8, the activations have width 4"),
        (vectors[:8], "8 windows of activations: a profile needs 16"),
        (torch.cat([vectors, vectors], 1), "has positions 0..31"),
        (vectors[:, :6], "needs 8"),
    ):
        with pytest.raises(ProfileError, match=message):
            of_arrays(identity(Model()), given)
    with pytest.raises(ProfileError, match="a model without a text"):
        lens.profile(identity(Model()), "random:gemma-3-tiny")


def test_offsets_of_none_are_no_request(vectors):
    assert OPTIONS["windows"] == N  # the same as those of the tests with a model
    assert of_arrays(identity(Model()), vectors, offsets=0, fidelity=0).about.fidelity_windows == 0
