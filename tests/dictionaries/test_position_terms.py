"""Each position term finds a planted effect of position that it can express, and nothing in permuted positions."""

import pytest
import torch

from lens.activations.statistics import position_moments
from lens.dictionaries import splines
from lens.dictionaries.by_name import names, position_term
from lens.dictionaries.dictionary import Dictionary, Info
from lens.dictionaries.positions.position_prior import log_odds
from lens.dictionaries.post_hoc import with_position_prior
from lens.dictionaries.replace import replaced
from lens.errors import ConfigError, DictionaryError
from lens.measure import synthetic
from lens.measure.masks import fvu_rise, mask_of
from lens.profiling.controls import untrained
from lens.training.recipe import build
from lens.training.train import shuffle_positions, train_layer

N, T, D, K = 256, 17, 16, 24
SEEDS = (0, *(pytest.param(seed, marks=pytest.mark.full) for seed in (1, 2)))


def train(activations, folder, *, seed=0, **fields) -> Dictionary:
    common = {"architecture": "topk", "k": 3, "steps": 2, "lr": 5e-3, "expansion": 2, "batch_windows": 8}
    recipe = build({**common, "input_scale": "raw", "position_weights": "uniform", **fields})
    trained = train_layer(
        activations, {"v": recipe}, (seed,), folder / "out", folder / "pool", data_digest=f"{seed}", order_seed=seed
    )
    return Dictionary.load(trained.folders["v", seed])


def windows(seed: int, position_share: float = 0.3) -> torch.Tensor:
    truth = synthetic.plant(N, T, K, widths=(float("nan"),), densities=(0.1, 0.1), seed=seed)
    return synthetic.embed(truth, D, position_share=position_share, seed=seed + 1).activations.float()


def of_permuted(x: torch.Tensor, position_mean: torch.Tensor) -> float:
    """Distance of means of positions from that of all, in units of the sampling error of N windows."""
    text = x[:, 1:].flatten(0, 1)
    sampling = (text.var(0).sum() / len(x)).sqrt()
    return ((position_mean[1:] - text.mean(0)).square().sum(1).mean().sqrt() / sampling).item()


def test_moments_by_hand():
    x = torch.tensor([[[7.0, 7.0], [1.0, 2.0]], [[7.0, 7.0], [3.0, 2.0]], [[7.0, 7.0], [5.0, 2.0]]])
    found = position_moments(x.split(2)).scaled(2.0)
    assert found.mean.tolist() == [[14.0, 14.0], [6.0, 4.0]]
    assert found.deviation.tolist() == pytest.approx([0.0, 2 * (8 / 3) ** 0.5])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("position", ["centred", "standardised"])
def test_means_of_positions_are_found_and_none_where_they_are_permuted(position, seed, tmp_path):
    x = windows(seed)
    sae = train(x, tmp_path / "true", seed=seed, position=position)
    torch.testing.assert_close(sae.position_term.position_mean, x.mean(0), rtol=1e-5, atol=1e-4)
    assert of_permuted(x, sae.position_term.position_mean) > 5
    assert sae.b_dec.abs().max() < 0.05  # nothing is left but two steps of training
    permuted = train(x, tmp_path / "permuted", seed=seed, position=position, positions="shuffled")
    assert 0.5 < of_permuted(x, permuted.position_term.position_mean) < 1.5
    again = untrained(sae)
    assert torch.equal(again.position_term.position_mean, sae.position_term.position_mean)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_size_of_inputs_at_a_position_is_found_and_none_where_they_are_permuted(seed, tmp_path):
    size = 2.0 ** torch.linspace(-1, 1, T)
    x = windows(seed, 0.0) * size[:, None]
    sae = train(x, tmp_path / "true", seed=seed, position="standardised")
    ratio = sae.position_term.position_deviation / size
    assert (ratio[1:] / ratio[1:].mean() - 1).abs().max() < 0.15
    assert sae.position_term.position_deviation[0] == 1  # BOS is always the same
    inside = sae.position_term.apply(x, sae.position_term.values())[:, 1:]
    torch.testing.assert_close(inside.square().sum(-1).mean(0), torch.ones(T - 1), rtol=1e-3, atol=1e-3)
    permuted = train(x, tmp_path / "permuted", seed=seed, position="standardised", positions="shuffled")
    spread = permuted.position_term.position_deviation[1:]
    assert (spread / spread.mean() - 1).abs().max() < 0.2


def inside(sae: Dictionary, truth: synthetic.Planted, directions: torch.Tensor, values: torch.Tensor) -> float:
    """How much higher `values` [T, d_sae] are where the planted feature can fire than elsewhere, mean over features."""
    learned = synthetic.recover(sae.W_dec.detach().numpy(), directions.numpy()).learned
    own, can = values.detach()[1:, learned], torch.from_numpy(truth.window_TK[1:])
    return (
        (torch.where(can, own, 0).sum(0) / can.sum(0) - torch.where(can, 0, own).sum(0) / (~can).sum(0)).mean().item()
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("fields", "of", "at_least", "null"),
    [
        ({"position": "score_mask", "steps": 300}, torch.clone, 0.3, 0.03),
        ({"position": "gain", "steps": 600, "lr_decay": 0.3}, torch.log, 0.06, 0.01),
        ({"position": "position_prior", "steps": 300}, torch.clone, 0.06, 0.01),
    ],
    ids=["score_mask", "gain", "position_prior"],
)
def test_windows_of_features_are_found_and_none_where_positions_are_permuted(
    fields, of, at_least, null, seed, tmp_path
):
    truth = synthetic.plant(N, T, K, widths=(8,), densities=(0.1, 0.1), seed=seed)
    planted = synthetic.embed(truth, D, seed=seed + 1)
    found = {}
    for positions in ("true", "shuffled"):
        options = {**fields, "lr": 1e-2, "input_scale": "unit_mean_square", "positions": positions}
        sae = train(planted.activations, tmp_path / positions, seed=seed, **options)
        found[positions] = inside(sae, truth, planted.directions, of(sae.position_term.values()))
    assert found["true"] > at_least, found
    assert abs(found["shuffled"]) < null, found


def test_gains_by_hand():
    kind = position_term("gain")
    term = kind(D, 2, 4, kind.Settings(splines=4))
    assert (term.values() == 1).all()
    cubic = torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 1.0]])  # Bernstein polynomials at their ends
    middle = (torch.log2(torch.tensor(3.0)) - 1).item()  # of log2(1 + t) from t = 1 to 3, at t = 2
    row = [(1 - middle) ** 3, 3 * middle * (1 - middle) ** 2, 3 * middle**2 * (1 - middle), middle**3]
    text = torch.stack([cubic[0], torch.tensor(row), cubic[1]])
    with torch.no_grad():
        term.gain_splines[:, 1] = torch.tensor([2.0, 0.0, 0.0, -1.0])
    log = (text - text.mean(0)) @ term.gain_splines.detach()
    torch.testing.assert_close(term.values().detach(), torch.cat([log[:1], log]).exp())
    torch.testing.assert_close(term.values().detach()[1:].log().sum(0), torch.zeros(2))
    assert torch.equal(term.values(torch.tensor([2])), term.values()[2:3])
    assert (term.intervention("ones", torch.Generator()) == 1).all()


def test_a_mask_on_the_score_lets_others_be_selected():
    """One feature of two is kept; where the stronger one is closed it is the other, which a mask on the code is not."""
    weights = {"W_enc": torch.eye(2), "b_enc": torch.zeros(2), "W_dec": torch.eye(2), "b_dec": torch.zeros(2)}
    logits = torch.tensor([[0.0, 0.0], [-1e3, 1e3]])
    sae = Dictionary(Info(2, 2, 2, "topk", "score_mask", {"k": 1}), {**weights, "pos_logits": logits})
    x = torch.tensor([[[4.0, 2.0], [4.0, 2.0]]])
    assert sae.encode(x).dense().tolist() == [[[2.0, 0.0], [0.0, 2.0]]]
    with pytest.raises(DictionaryError, match="position term mask on architecture topk"):
        Dictionary(Info(2, 2, 2, "topk", "mask", {"k": 1}), {**weights, "pos_logits": logits})


def test_log_odds_by_hand():
    basis, slopes = (
        splines.basis(40, 5)[1:],
        torch.tensor([[0.0, 1.0], [0.0, -2.0], [0.0, 0.5], [0.0, 1.0], [0.0, -1.0]]),
    )
    rate = (basis @ slopes - 1.5).sigmoid()
    found = log_odds(10_000 * rate, torch.tensor(10_000.0), basis)
    wanted = basis @ slopes
    torch.testing.assert_close(basis @ found, wanted, atol=0.02, rtol=0)
    never = log_odds(torch.zeros(39, 1), torch.tensor(10_000.0), basis)
    assert (basis @ never).abs().max() < 0.3  # as good as no prior


def test_a_prior_decides_what_is_selected_and_leaves_its_amplitude():
    eye = {"W_enc": torch.eye(2), "b_enc": torch.zeros(2), "W_dec": torch.eye(2), "b_dec": torch.zeros(2)}
    sae = Dictionary(Info(2, 2, 5, "topk", "position_prior", {"k": 1}), {**eye, "prior": torch.zeros(8, 2)})
    values = torch.tensor([[0.0, 0.0], [-3.0, 0.0], [0.0, 7.0]])
    x = torch.tensor([[[4.0, 2.0], [4.0, 2.0], [4.0, -2.0]]])  # last: chosen for its prior alone, and not on
    assert sae.encode_with(x, values).dense().tolist() == [[[4.0, 0.0], [0.0, 2.0], [0.0, 0.0]]]


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_a_side_path_finds_means_of_its_rank_and_none_where_positions_are_permuted(seed, tmp_path):
    """A helix in three dimensions."""
    x, explained, size = windows(seed), {}, {}
    mean = x.mean(0)[1:] - x.mean(0)[1:].mean(0)
    for positions in ("true", "shuffled"):
        options = {"position": "low_rank", "rank": 3, "steps": 300, "lr": 1e-2, "positions": positions}
        options |= {"input_scale": "unit_mean_square"}
        sae = train(x, tmp_path / positions, seed=seed, **options)
        found = sae.position_term.values().detach()[1:] / sae.info.input_scale
        found -= found.mean(0)  # the level is that of b_dec
        explained[positions] = 1 - ((found - mean).square().sum() / mean.square().sum()).item()
        size[positions] = (found.square().sum() / mean.square().sum()).item()
    assert explained["true"] > 0.95 and size["shuffled"] < 0.01, (explained, size)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_copies_find_what_is_there_in_their_bucket_and_do_not_differ_where_positions_are_permuted(seed, tmp_path):
    """Half of the directions are used up to position 8, the others from 9; cosines with the best of either copies."""
    truth = synthetic.plant(N, T, K, widths=(float("nan"),), densities=(0.1, 0.1), seed=seed)
    directions = synthetic.embed(truth, D, seed=seed + 1).directions
    early, first = (torch.arange(T) < 9)[:, None], torch.arange(K) < K // 2
    x = (truth.features * 2 * (early == first)) @ directions
    found = {}
    for positions in ("true", "shuffled"):
        options = {"position": "buckets", "edges": (9,), "steps": 300, "lr": 1e-2, "positions": positions}
        sae = train(x, tmp_path / positions, seed=seed, input_scale="unit_mean_square", **options)
        cosines = directions @ sae.W_dec.detach().T
        one, other = cosines[:, 0::2].amax(1), cosines[:, 1::2].amax(1)
        found[positions] = torch.where(first, one - other, other - one).mean().item()
    assert found["true"] > 0.3 and abs(found["shuffled"]) < 0.05, found


def test_copies_learn_as_the_feature_that_they_are_until_they_part(tmp_path):
    truth = synthetic.plant(N, T, K, widths=(float("nan"),), densities=(0.1, 0.1), seed=0)
    x = truth.features @ synthetic.embed(truth, D, seed=1).directions
    options = {"steps": 20, "lr": 1e-2, "input_scale": "unit_mean_square", "precision": "fp32"}
    one = train(x, tmp_path / "one", seed=0, position="none", **options)
    copies = {"position": "buckets", "edges": (9,), "expansion": 2 * one.info.d_sae // one.info.d_in}
    tied = train(x, tmp_path / "tied", seed=0, part_at=0.99, **copies, **options)
    parted = train(x, tmp_path / "parted", seed=0, part_at=0.5, **copies, **options)
    for first in (0, 1):
        torch.testing.assert_close(tied.W_dec[first::2], one.W_dec, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(tied.W_enc[:, first::2], one.W_enc, rtol=1e-3, atol=1e-4)
    assert tied.W_dec[0::2].equal(tied.W_dec[1::2]) and not parted.W_dec[0::2].equal(parted.W_dec[1::2])
    with pytest.raises(ConfigError, match="part_at must be a share"):
        train(x, tmp_path / "wrong", seed=0, part_at=1.0, **copies, **options)


def test_bucket_copies_by_hand():
    info = Info(2, 6, 5, "topk", "buckets", {"k": 1, "edges": [2, 4]})
    sae = Dictionary.initialise(info, torch.zeros(2), 0)
    assert torch.equal(sae.W_dec[0::3], sae.W_dec[1::3]) and torch.equal(sae.W_dec[0::3], sae.W_dec[2::3])
    assert not torch.equal(sae.W_dec[0], sae.W_dec[3])
    opened = [row.nonzero()[:, 0].tolist() for row in sae.position_term.values()]
    assert opened == [[0, 3], [0, 3], [1, 4], [1, 4], [2, 5]]
    sae.architecture.b_enc.data += 9  # whatever its bias
    fired = sae.encode(torch.randn(7, 5, 2, generator=torch.Generator().manual_seed(0))).fired()
    assert not (fired & (sae.position_term.values() == 0)).any() and (fired.sum(-1) == 1).all()
    with pytest.raises(DictionaryError, match="'mean'"):
        sae.position_term.intervention("mean", torch.Generator())


@pytest.mark.parametrize("position", ["buckets", "stacked", "centred+buckets"])
def test_scores_of_windows_are_those_of_their_vectors_one_by_one(position):
    term = position_term(position)(3, 10, 41, position_term(position).Settings())
    x, W_enc = torch.randn(2, 41, 3), torch.randn(3, 10)
    assert torch.allclose(term.scores(x, W_enc, term.values()), term.scores(x, W_enc, term.values().expand(2, -1, -1)))


@pytest.mark.parametrize(
    ("position", "settings", "named"),
    [
        ("buckets", {"edges": [2, 5]}, "0..4"),
        ("buckets", {"edges": [1, 2, 3]}, "6 features"),
        ("buckets", {"edges": [3, 2]}, "rising order"),
        ("low_rank", {"rank": 3}, "rank = 3"),
        ("low_rank", {"rank": 0}, "rank must be above 0"),
        ("gain", {"splines": 3}, "splines must be at least 4"),
        ("position_prior", {"prior_strength": -1.0}, "prior_strength must be at least 0"),
    ],
)
def test_settings_that_mean_nothing_are_named(position, settings, named):
    with pytest.raises(DictionaryError, match=named):
        Dictionary.initialise(Info(2, 6, 5, "relu", position, settings), torch.zeros(2), 0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_a_prior_on_a_trained_dictionary_keeps_its_l0(seed, tmp_path):
    truth = synthetic.plant(N, T, K, widths=(8,), densities=(0.1, 0.1), seed=seed)
    planted = synthetic.embed(truth, D, seed=seed + 1)
    x = planted.activations.float()
    blind = train(x, tmp_path, seed=seed, architecture="batch_topk", position="none", steps=200, lr=1e-2)
    permuted = torch.cat([x[:, :1], shuffle_positions(x[:, 1:], 0, seed)], dim=1)
    with_prior, null = (with_position_prior(blind, data) for data in (x, permuted))
    values = [sae.position_term.values() for sae in (with_prior, null)]
    found = [inside(blind, truth, planted.directions, v) for v in values]
    assert found[0] > 0.05 and abs(found[1]) < 0.01, found
    before, after = (sae.encode(x).l0()[:, 1:].sum().item() for sae in (blind, with_prior))
    assert after == pytest.approx(before, abs=1)
    assert not torch.equal(with_prior.encode(x).fired(), blind.encode(x).fired())
    assert torch.equal(blind.W_enc, with_prior.W_enc)
    centred = train(x, tmp_path, seed=seed, architecture="batch_topk", position="centred", steps=20, lr=1e-2)
    both = with_position_prior(centred, x)
    assert both.info.position == "centred+position_prior" and not torch.equal(both(x), centred(x))
    after = both.encode(x).l0()[:, 1:].sum().item()
    assert after == pytest.approx(centred.encode(x).l0()[:, 1:].sum().item(), abs=1)
    with_prior.save(tmp_path / "saved")
    assert torch.equal(Dictionary.load(tmp_path / "saved")(x), with_prior(x))
    with pytest.raises(DictionaryError, match="position_prior already"):
        with_position_prior(with_prior, x)


@pytest.mark.parametrize("outer", ["gain", "position_prior", "score_mask", "mask"])
def test_two_terms_act_as_the_second_on_what_the_first_leaves(outer):
    """On windows less their means the second alone codes the same; reconstructions have the means again."""
    generator, architecture = torch.Generator().manual_seed(0), "relu" if outer == "mask" else "topk"
    settings = {} if outer == "mask" else {"k": 3}
    alone = Dictionary.initialise(Info(D, K, T, architecture, outer, settings), torch.zeros(D), 0)
    for parameter in alone.position_term.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    mean = torch.randn(T, D, generator=generator)
    own = dict(alone.position_term.named_parameters())
    weights = {f"outer.{n}" if n in own else n: w for n, w in alone.weights().items()} | {"inner.position_mean": mean}
    both = Dictionary(Info(D, K, T, architecture, f"centred+{outer}", settings), weights)
    x = torch.randn(5, T, D, generator=generator)
    assert torch.equal(both.encode(x).dense(), alone.encode(x - mean).dense())
    torch.testing.assert_close(both(x), alone(x - mean) + mean)
    rise = fvu_rise(both, x, torch.Generator().manual_seed(0))
    wanted = fvu_rise(alone, x - mean, torch.Generator().manual_seed(0))
    assert rise == pytest.approx(wanted, rel=1e-4)
    factors = both.position_term.factors()
    assert (factors is None) == (outer == "position_prior") and (factors is None or factors.shape == (T, K))


@pytest.mark.parametrize("position", ["gain+centred", "centred+none", "gain+mask", "centred+low_rank"])
def test_two_terms_that_are_no_pair_are_refused(position):
    with pytest.raises(ConfigError, match="the first of two acts on the input"):
        build({"architecture": "relu", "position": position})
    with pytest.raises(ConfigError, match="mask on architecture topk"):
        build({"architecture": "topk", "position": "centred+mask"})


def test_a_prior_is_refused_where_values_are_no_scores():
    with pytest.raises(ConfigError, match="position_prior on architecture gated"):
        build({"architecture": "gated", "position": "position_prior"})


def test_what_multiplies_features_is_measured_as_a_mask_and_nothing_else():
    shapes = {}
    for position in names("lens.dictionaries.positions"):
        if position in ("none", "mask"):
            continue
        kind, settings = position_term(position), {"edges": [9]} if position == "buckets" else {}
        info = Info(D, K, T, "topk", position, {"k": 3, **settings})
        sae = Dictionary.initialise(info, torch.zeros(D), 0)
        shapes[position] = None if (mask := mask_of(sae)) is None else mask.shape
        rise = fvu_rise(sae, windows(0)[:4], torch.Generator().manual_seed(0))
        assert set(rise) == set(kind(D, K, T, sae.position_term.settings).interventions())
    assert [name for name, shape in shapes.items() if shape == (T, K)] == ["gain", "score_mask"]
    assert list(shapes.values()).count(None) == len(shapes) - 2


def test_values_are_replaced_by_hand():
    values, g = torch.tensor([[9.0], [1.0], [2.0], [3.0], [6.0]]), torch.Generator().manual_seed(0)
    assert replaced(values, "mean", g)[:, 0].tolist() == [9, 3, 3, 3, 3]
    assert replaced(values, "moved", g)[:, 0].tolist() == [9, 3, 6, 1, 2]
    new = replaced(values, "shuffled", g)[:, 0].tolist()
    assert new[0] == 9 and sorted(new[1:]) == [1, 2, 3, 6] and new[1:] != [1, 2, 3, 6]


@pytest.mark.parametrize("position", ["centred", "standardised", "gain", "position_prior", "low_rank"])
def test_interventions_that_are_not_there_are_refused_by_name(position):
    kind = position_term(position)
    term = kind(D, K, T, kind.Settings())
    for known in term.interventions():
        assert term.intervention(known, torch.Generator()).shape == term.values().shape
    with pytest.raises(DictionaryError, match="'hard'"):
        term.intervention("hard", torch.Generator())
    with pytest.raises(DictionaryError, match=f"{position} needs a number of positions"):
        kind(D, K, None, kind.Settings())
