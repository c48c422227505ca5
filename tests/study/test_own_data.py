"""Masks of seeds that share no order of the data: planted agreement is found, and every seed has its own order."""

from dataclasses import replace

import pytest
import torch

from lens import checkout
from lens.dictionaries.dictionary import Dictionary
from lens.profiling.seeds import MASKS, MIN_PAIRS, mask_agreement
from lens.study import own_data
from lens.study.extraction import extract_for_trial
from lens.study.layer_data import open_layer_data
from lens.study.params import Study
from tests.making import info

N, T, D = 64, 24, 40
SEEDS = (0, 1, 2)
COMPARED = ("temporallens", "shuffled_positions")


def dictionaries(same_masks: bool) -> dict[int, Dictionary]:
    """One dictionary three times, its features in another order each time, with masks that agree or do not."""
    config = info(D, D, T, True, 0.1, 1.0, name="temporallens")
    first = Dictionary.initialise(config, torch.zeros(D), 0)
    found = {}
    for seed in SEEDS:
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(D, generator=generator)
        logits = first.position_term.pos_logits if same_masks else torch.randn(T, D, generator=generator)
        weights = {"W_enc": first.W_enc[:, order], "b_enc": first.architecture.b_enc[order],
                   "W_dec": first.W_dec[order],
                   "b_dec": first.b_dec, "pos_logits": logits[:, order]}  # fmt: skip
        found[seed] = Dictionary(config, {name: weight.detach().clone() for name, weight in weights.items()})
    return found


@pytest.mark.parametrize(("same", "expected"), [(True, 1.0), (False, 0.0)])
def test_masks_agree_if_they_are_the_same_and_not_because_the_features_are(same, expected):
    activations = torch.randn(N, T, D, generator=torch.Generator().manual_seed(9)).bfloat16()
    table = mask_agreement("own_order", "temporallens", dictionaries(same), activations)
    means = table.groupby("metric")["value"].mean()
    assert table["seed"].tolist() == list(SEEDS) * len(MASKS)
    assert means["own_order_pairs"] == D
    assert means["own_order_profile_correlation"] == pytest.approx(1)
    assert means["own_order_mask_correlation"] == pytest.approx(expected, abs=0.1)
    for other in ("null", "next"):  # masks of noise: neither another feature nor the next position knows of it
        assert means[f"own_order_mask_correlation_{other}"] == pytest.approx(0, abs=0.1)


def test_masks_that_are_smooth_agree_with_the_next_position_too():
    smooth = dictionaries(True)
    for sae in smooth.values():
        order = sae.position_term.pos_logits[0].argsort()
        windows = torch.linspace(-3, 3, T)[:, None] * torch.where(torch.arange(D) % 2 == 0, 1.0, -1.0)
        sae.position_term.pos_logits.data[:, order] = windows
    activations = torch.randn(N, T, D, generator=torch.Generator().manual_seed(9)).bfloat16()
    table = mask_agreement("own_windows", "temporallens", smooth, activations)
    means = table.groupby("metric")["value"].mean()
    assert means["own_windows_mask_correlation"] == pytest.approx(1)
    assert means["own_windows_mask_correlation_next"] > 0.8


def test_too_few_shared_features_are_counted_and_not_compared():
    few = torch.zeros(N, T, D)
    few[..., : MIN_PAIRS - 1] = torch.randn(N, T, MIN_PAIRS - 1, generator=torch.Generator().manual_seed(9))
    weights = {"W_enc": torch.eye(D), "b_enc": torch.zeros(D), "W_dec": torch.eye(D), "b_dec": torch.zeros(D),
               "pos_logits": torch.zeros(T, D)}  # fmt: skip
    sae = Dictionary(info(D, D, T, True, 0.1, 1.0), weights)
    table = mask_agreement("own_order", "temporallens", dict.fromkeys(SEEDS, sae), few.bfloat16())
    assert table["metric"].unique().tolist() == ["own_order_pairs"]
    assert table["value"].tolist() == [MIN_PAIRS - 1] * 3


@pytest.fixture
def study(tmp_path, monkeypatch) -> Study:
    """A small study of its own pool, with three seeds."""
    loaded = Study.load("smoke", tmp_path / "out")
    monkeypatch.setattr(checkout, "root", lambda: tmp_path)
    ablations = replace(loaded.ablations, seeds=SEEDS)
    small = replace(loaded, seeds=SEEDS, ablations=ablations, training=replace(loaded.training, steps=12))
    extract_for_trial(small, 1)
    return small


@pytest.fixture
def asked(monkeypatch) -> list[tuple]:
    """What training was asked for: the windows, the variants, the seeds and the order; it is done all the same."""
    calls, original = [], own_data.train_layer

    def recorded(activations, configs, seeds, *arguments, **options):
        calls.append((activations.float(), tuple(configs), seeds, options["order_seed"], options["data_digest"]))
        return original(activations, configs, seeds, *arguments, **options)

    monkeypatch.setattr(own_data, "train_layer", recorded)
    return calls


def test_every_seed_has_an_order_and_then_windows_that_no_other_run_has(study, asked):
    table = own_data.own_data_table(study, open_layer_data(study, 1))
    assert [(variants, seeds) for _, variants, seeds, *_ in asked] == [(COMPARED, (s,)) for s in SEEDS] * 2
    orders = [order for *_, order, _ in asked]
    assert len({*orders, study.windows.seed}) == len(SEEDS) + 1
    whole, shares = [x for x, *_ in asked[:3]], [x for x, *_ in asked[3:]]
    assert all(len(x) == study.windows.train for x in whole)
    together = torch.cat(shares).flatten(1)
    assert len(together) == study.windows.train
    torch.testing.assert_close(together.sum(0), whole[0].flatten(1).sum(0), rtol=1e-3, atol=1e-2)  # each window once
    assert len({digest for *_, digest in asked}) == 1 + len(SEEDS)  # a share is not resumed from the whole
    pairs = table[table["metric"] == "own_windows_pairs"]
    assert pairs["variant"].tolist() == [variant for variant in COMPARED for _ in SEEDS]
    for kind in own_data.KINDS:
        folders = {p.name for p in study.dictionaries("ablations", 1).glob(f"{kind}_*/*")}
        assert folders == {f"{variant}-seed{seed}" for variant in COMPARED for seed in SEEDS}


def test_shares_of_less_than_a_batch_are_not_trained_on(study, asked):
    large = replace(study, training=replace(study.training, overrides={"batch_windows": 40}))
    table = own_data.own_data_table(large, open_layer_data(large, 1))
    assert len(asked) == len(SEEDS) and table["metric"].str.startswith("own_order").all()


def test_two_seeds_are_not_trained_for_nothing(study, asked):
    two = replace(study, ablations=replace(study.ablations, seeds=(0, 1)))
    assert own_data.own_data_table(two, open_layer_data(two, 1)).empty and not asked
