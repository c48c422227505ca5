import dataclasses
import json

import numpy as np
import pytest
import torch

import lens
from lens.cli import main
from lens.explorer.profiles import build, collect
from lens.profiling.position_profile import PositionProfile, ProfileError
from lens.profiling.reading import BINS, LEVELS
from tests.making import info

N, T, D = 48, 16, 6
WORDS = ["</script>", " king", " queen", "\n"]


def dictionary(seed: int, name: str, d_sae: int = 8):
    """Random directions; the last feature is silent."""
    sae = lens.Dictionary.initialise(info(D, d_sae, T, False, name=name), torch.zeros(D), seed)
    sae.architecture.b_enc.data[-1] = -1e9
    return sae


def given() -> lens.Activations:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(N, T, D, generator=generator)
    tokens = torch.randint(0, len(WORDS), (N, T), generator=generator)
    return lens.Activations(x, ["one"] * (N // 2) + ["two"] * (N // 2), tokens, WORDS, name="robots")


def profiled(sae, **options) -> PositionProfile:
    return lens.profile(sae, given(), **{"permutations": 40, "contexts": 2, **options})


@pytest.fixture(scope="module")
def profiles() -> dict[str, PositionProfile]:
    return {"a": profiled(dictionary(0, "first")), "b": profiled(dictionary(1, "second", 5))}


def test_what_is_kept_is_read_back(profiles, tmp_path):
    before = profiles["a"].shown
    after = PositionProfile.read(profiles["a"].save(tmp_path)).shown
    assert after.facts == before.facts and after.text.words == before.text.words
    assert after.reading.band_scale == before.reading.band_scale
    for name, values in (before.reading.arrays | before.text.arrays).items():
        assert ((after.reading.arrays | after.text.arrays)[name] == values).all(), name
    assert (after.directions == before.directions).all()
    path = tmp_path / "contexts.npz"
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ProfileError, match="contexts.npz cannot be read .it is truncated or altered"):
        PositionProfile.read(tmp_path)


def test_contexts_of_an_earlier_profile_do_not_stay_behind(profiles, tmp_path):
    profiles["a"].save(tmp_path)
    dataclasses.replace(profiles["a"], shown=None).save(tmp_path)
    assert PositionProfile.read(tmp_path).shown is None and not (tmp_path / "contexts.npz").exists()


def test_histograms_contexts_and_neighbours_are_those_of_the_activations(profiles):
    """By another way: all activations at once."""
    sae, data = dictionary(0, "first"), given()
    f = sae.encode(data.values).dense()[:, 1:].detach().numpy()
    arrays, text = profiles["a"].shown.reading.arrays, profiles["a"].shown.text
    for k in range(7):
        mine, most = f[..., k][f[..., k] > 0], f[..., k].max()
        assert arrays["highest"][k] == pytest.approx(most)
        edges = np.arange(BINS + 1) * most / BINS
        expected = np.histogram(-mine, -edges[::-1])[0][::-1]  # bins closed above, as a share of exactly 1 asks for
        assert np.abs(arrays["histogram"][k] - expected).sum() <= 2  # a rounding at an edge
        window, place = np.unravel_index(f[:, 3:7, k].argmax(), (N, 4))  # positions 4-7
        kept, peak = arrays["context_window"][k, 1, 0], arrays["context_peak"][k, 1, 0]
        assert peak == place + 4
        words = [WORDS[i] for i in data.tokens[window].tolist()]
        assert [text.words[i] for i in text.arrays["tokens"][kept]] == words
        level = np.rint(LEVELS * f[window, :, k] / most)
        assert np.abs(arrays["context_activation"][k, 1, 0] - level).max() <= 1
    unit = torch.nn.functional.normalize(sae.W_dec.detach(), dim=-1).numpy()
    cosine = unit @ unit.T - 2 * np.eye(8)
    assert (arrays["neighbour"][:, 0] == cosine.argmax(1)).all()
    assert np.allclose(arrays["neighbour_cosine"][:, 0], cosine.max(1), atol=1e-6)
    assert arrays["histogram"][7].sum() == 0 and arrays["context_count"][7].sum() == 0


def test_twins_are_the_nearest_directions_of_the_other(profiles):
    first, second = collect(profiles)
    [twin] = first.layers["given"].header["twins"]
    a, b = (torch.nn.functional.normalize(dictionary(s, "", n).W_dec.detach(), dim=-1) for s, n in ((0, 8), (1, 5)))
    cosine = (a @ b.T).numpy()
    assert twin["study"] == "second" and twin["feature"] == cosine.argmax(1).tolist()
    assert np.allclose(twin["decoder"], cosine.max(1), atol=2e-3)
    assert twin["shared"] == (cosine.max(1) >= 0.7).astype(int).tolist()
    header = second.study.header
    assert [one["name"] for one in header["beside"]] == ["first", "second"] and header["profile"]
    columns = first.layers["given"].header["columns"]
    assert columns["density"][7] == 0 and columns["shared_with_seeds"] == twin["shared"]
    json.dumps([header, first.layers["given"].header], allow_nan=False)


def test_a_dictionary_is_its_own_twin_and_names_are_told_apart(profiles):
    again = {"here": profiles["a"], "there": profiles["a"]}
    first, second = collect(again)
    assert (first.name, second.name) == ("here", "there")
    [twin] = first.layers["given"].header["twins"]
    assert twin["feature"] == list(range(8)) and min(twin["decoder"]) > 0.999
    assert [r for r in twin["profile"] if r] == pytest.approx([1] * 7)


def test_dictionaries_of_other_places_are_no_twins(profiles):
    elsewhere = dataclasses.replace(profiles["b"], about=dataclasses.replace(profiles["b"].about, model="humans"))
    found = collect({"a": profiles["a"], "b": elsewhere})
    assert all(study.layers["given"].header["twins"] == [] for study in found)


def test_a_module_of_another_library_has_no_directions():
    class Mine(torch.nn.Module):
        def encode(self, x):
            return torch.relu(x)

        def decode(self, f):
            return f

    found = collect({"mine": profiled(Mine())})
    part = found[0].layers["given"]
    assert part.header["lens"] is None and "neighbour" not in part.arrays and part.header["features"] == D


def test_the_command_writes_the_page(profiles, tmp_path, capsys):
    folders = [str(profile.save(tmp_path / name)) for name, profile in profiles.items()]
    assert main(["explore", *folders, "--out", str(tmp_path / "new/page.html")]) == 0
    text = (tmp_path / "new/page.html").read_text()
    assert 'data-study="first"' in text and 'data-study="second" data-layer="given"' in text
    assert text == build(folders, tmp_path / "again.html").read_text()
    bare = dataclasses.replace(profiles["a"], shown=None).save(tmp_path / "bare")
    for words, message in (
        (folders, "name the file to write with --out"),
        ([*folders, "--study", "smoke", "--out", "x"], "explore one or the other"),
        ([folders[0], folders[0], "--out", "x"], "is named twice"),
        ([str(bare), "--out", "x"], "bare kept no contexts to show: profile with contexts=3"),
        ([str(tmp_path / "none"), "--out", "x"], "about.json is missing"),
    ):
        assert main(["explore", *words]) == 1
        assert message in capsys.readouterr().err


def test_contexts_without_tokens_are_refused():
    with pytest.raises(ProfileError, match="pass tokens="):
        lens.profile(dictionary(0, "x"), given().values, contexts=3)
