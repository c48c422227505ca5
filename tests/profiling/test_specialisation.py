"""Verdicts on a dictionary whose features are known: tuned, inheriting, flat, and tuned by a mask alone."""

import numpy as np
import pytest
import torch

import lens
from lens.activations.offset_windows import TILES, OffsetWindows
from lens.activations.store import LayerStore
from lens.dictionaries.dictionary import Dictionary, Info
from lens.errors import ConfigError
from lens.measure.verdicts import VERDICTS
from lens.profiling.specialisation import _pass, specialisation

T, D, K, DOCUMENTS, M = 48, 16, 12, 16, 4
P = T - 1
TUNED, INHERITING, FLAT = range(0, 4), range(4, 8), range(8, 12)
RATE = np.full((P, K), 0.12)
RATE[:, :4] = 0.03 + 0.3 * (np.abs(np.arange(1, T)[:, None] - np.array([4, 12, 24, 36])) < np.array([3, 4, 6, 6]))


def activations(position, rng):
    """Windows [..., P, D] of features that fire at rates by position, each along an axis of its own, and noise."""
    on = rng.random((*position.shape, K)) < RATE[position - 1]
    f = on * (1 + np.abs(rng.normal(size=on.shape)))
    x = np.concatenate([f, np.zeros((*position.shape, D - K))], -1)
    return torch.from_numpy(x + 0.05 * rng.normal(size=x.shape)).float()


def with_bos(x):
    return torch.cat([torch.full((*x.shape[:-2], 1, D), 30.0), x], -2)


def dictionary(position="none", leak=0.7, **term):
    """Encoder and decoder the axes; encoders of the inheriting features read a tuned one each too."""
    W_enc = torch.eye(D, K)
    W_enc[list(TUNED), list(INHERITING)] = leak
    weights = {"W_enc": W_enc, "W_dec": torch.eye(K, D), "b_dec": torch.zeros(D), "b_enc": torch.full((K,), -0.6)}
    return Dictionary(Info(D, K, n_positions=T if term else None, position=position), weights | term)


def judged(sae, *, tuned=True, moved=None, shift=0.0, seed=0):
    """Verdicts where held-out windows are tuned, and text that is read again is too, unless `moved` says otherwise.

    The test that permutes positions within windows is taken to find the profiles that are there."""
    rng, moved = np.random.default_rng(seed), tuned if moved is None else moved
    n, G = 320, 32
    position = np.tile(np.arange(1, T), (n, 1))
    flat = np.ones_like(position)
    store = LayerStore(
        with_bos(activations(position if tuned else flat, rng)) + shift, torch.zeros(n, T, dtype=torch.int32),
        torch.arange(n) % DOCUMENTS, torch.zeros(n, dtype=torch.long), tuple(map(str, range(DOCUMENTS))), {},
    )  # fmt: skip
    phase = np.stack([rng.permutation((rng.integers(P) + np.arange(M) * P // M) % P) for _ in range(G)])
    drawn = OffsetWindows(np.zeros((G, M, TILES + 1, T), np.int32), phase, np.arange(G) % DOCUMENTS, True)

    def read():
        for g in range(G):
            key = rng.integers(2**32)  # the same text in each reading: one uniform per place and feature
            place = np.arange(TILES * P + 2 * P)
            readings = []
            for p in phase[g]:
                inside = place[P - p : P - p + (TILES + 1) * P]
                text = np.random.default_rng(key)
                u, size = text.random((len(place), K))[inside], 1 + np.abs(text.normal(size=(len(place), K)))[inside]
                where = np.tile(np.arange(1, T), TILES + 1) if moved else np.ones(len(inside), int)
                f = np.where(u < RATE[where - 1], size, 0)
                x = torch.from_numpy(np.concatenate([f, np.zeros((len(f), D - K))], -1)).float()
                readings.append(with_bos(x.view(TILES + 1, P, D)) + shift)
            yield torch.stack(readings)

    with torch.no_grad():
        return specialisation(sae.eval(), store, drawn, read(), tuned & (np.arange(K) < FLAT.start), seed=seed)


def test_tuned_features_are_specialised_and_those_that_read_them_inherit():
    found = judged(dictionary())
    assert list(found["verdict"][list(TUNED)]) == ["specialised"] * 4
    assert list(found["verdict"][list(INHERITING)]) == ["inherits"] * 4
    assert [s.split()[0] for s in found["inherits_from"][list(INHERITING)]] == ["0", "1", "2", "3"]
    assert list(found["verdict"][list(FLAT)]) == ["no evidence"] * 4
    assert (found["offset_depth"][list(TUNED)] > 0.5).all()


def test_a_profile_that_the_same_text_does_not_follow_is_content():
    found = judged(dictionary(), moved=False)
    assert (found["verdict"][[*TUNED, *INHERITING]] == "content at the window's start").all()


def test_a_mask_makes_tuning_by_its_term():
    logits = torch.where(torch.arange(T)[:, None] < 24, 1.0, -0.2).expand(T, K).contiguous()
    found = judged(dictionary("mask", leak=0.0, pos_logits=logits), tuned=False)
    assert (found["verdict"] == "by its term").all()
    assert (found["term_code"] > 0.8).all()


def test_what_a_term_takes_off_the_input_is_no_tuning_of_features():
    """Means of positions along the axes of all features, and the same dictionary on what is left of the input."""
    shift = torch.linspace(-1, 1, T)[:, None] * torch.linspace(1, 2, D)
    found, plain = judged(dictionary("centred", position_mean=shift), shift=shift), judged(dictionary())
    assert list(found["verdict"]) == list(plain["verdict"])
    columns = ["own", "others", "error", "term"]
    np.testing.assert_allclose(found[columns], plain[columns], atol=1e-3)


def test_rare_features_are_not_judged_and_foreign_codes_have_no_source():
    sae = dictionary(leak=0.0)

    class Foreign:
        def encode(self, x):
            f = sae.encode(x).dense().clone()
            f[..., 11] = 0
            return f

        def decode(self, f):
            return sae.decode(f)

    from lens.dictionaries.wrapped import Wrapped

    found = judged(Wrapped(Foreign(), D))
    assert list(found["verdict"][list(TUNED)]) == ["position, source unclear"] * 4
    assert found["verdict"][11] == "too few firings"
    assert "own" not in found


def test_many_documents_are_few_sets_of_whole_documents():
    n = 120
    x = with_bos(activations_of(n))
    tokens, start = torch.zeros(n, T, dtype=torch.int32), torch.zeros(n, dtype=torch.long)
    store = LayerStore(x, tokens, torch.arange(n) % 60, start, tuple(map(str, range(60))), {})
    means = _pass(dictionary().eval(), store, linear=True)
    assert means.code.shape == (16, P, K) and int(means.windows.sum()) == n
    assert means.block.tolist() == (torch.arange(n) % 60).tolist()
    whole = (means.code * means.windows[:, None, None]).sum(0) / n
    assert torch.allclose(whole, dictionary().encode(x.float()).dense()[:, 1:].mean(0), atol=1e-5)


def activations_of(n):
    return activations(np.tile(np.arange(1, T), (n, 1)), np.random.default_rng(0))


def test_a_profile_says_it_of_any_dictionary(tmp_path):
    text = ["".join(f"{i} and then " for i in range(j, j + 300)) for j in range(9)]
    recipe = {"architecture": "batch_topk", "position": "none", "k": 4}
    sae = lens.fit("random:gemma-3-tiny", 1, text, tmp_path, steps=30, windows=128, length=16, **recipe)
    options = {"windows": 96, "length": 16, "fidelity": 0, "permutations": 60}
    found = lens.profile(sae, "random:gemma-3-tiny", text, offsets=4, **options)
    assert set(found.features["verdict"]) <= set(VERDICTS)
    counts = found.summary.set_index("metric")["value"].filter(like="verdict: ")
    assert counts.sum() == len(found.features)
    shown = found.plot_features().alt
    assert all(f"{name.removeprefix('verdict: ')}: {n:.0f}." in shown for name, n in counts.items())
    plain = lens.profile(sae, "random:gemma-3-tiny", text, **options)
    assert found.features[plain.features.columns].equals(plain.features)
    assert "no evidence" not in plain.plot_features().alt
    with pytest.raises(ConfigError, match="offsets"):
        lens.profile(sae, "random:gemma-3-tiny", text, offsets=-1, **options)
    with pytest.raises(ValueError, match="2 offsets or more"):
        lens.profile(sae, "random:gemma-3-tiny", text, offsets=1, **options)
