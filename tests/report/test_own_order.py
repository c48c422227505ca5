"""Masks of seeds that share no order of the data: planted agreement is found, and every seed has its own order."""

from dataclasses import replace

import pytest
import torch

from lens import config
from lens.config import Study
from lens.measure.layer_features import MIN_PAIRS
from lens.report import own_order
from lens.sae.model import SAE, SAEConfig

N, T, D = 64, 24, 40
SEEDS = (0, 1, 2)


def dictionaries(same_masks: bool) -> dict[int, SAE]:
    """One dictionary three times, its features in another order each time, with masks that agree or do not."""
    config = SAEConfig(D, D, T, True, 0.1, 1.0, variant="temporallens")
    first = SAE.initialise(config, torch.zeros(D), 0)
    found = {}
    for seed in SEEDS:
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(D, generator=generator)
        logits = first.pos_logits if same_masks else torch.randn(T, D, generator=generator)
        weights = {"W_enc": first.W_enc[:, order], "b_enc": first.b_enc[order], "W_dec": first.W_dec[order],
                   "b_dec": first.b_dec, "pos_logits": logits[:, order]}  # fmt: skip
        found[seed] = SAE(config, {name: weight.detach().clone() for name, weight in weights.items()})
    return found


@pytest.mark.parametrize(("same", "expected"), [(True, 1.0), (False, 0.0)])
def test_masks_agree_if_they_are_the_same_and_not_because_the_features_are(same, expected):
    activations = torch.randn(N, T, D, generator=torch.Generator().manual_seed(9)).bfloat16()
    table = own_order.agreement_table("temporallens", dictionaries(same), activations)
    means = table.groupby("metric")["value"].mean()
    assert table["seed"].tolist() == list(SEEDS) * 4
    assert means["own_order_pairs"] == D
    assert means["own_order_profile_correlation"] == pytest.approx(1)
    assert means["own_order_mask_correlation"] == pytest.approx(expected, abs=0.1)
    assert means["own_order_mask_correlation_null"] == pytest.approx(0, abs=0.1)


def test_too_few_shared_features_are_counted_and_not_compared():
    few = torch.zeros(N, T, D)
    few[..., : MIN_PAIRS - 1] = torch.randn(N, T, MIN_PAIRS - 1, generator=torch.Generator().manual_seed(9))
    weights = {"W_enc": torch.eye(D), "b_enc": torch.zeros(D), "W_dec": torch.eye(D), "b_dec": torch.zeros(D),
               "pos_logits": torch.zeros(T, D)}  # fmt: skip
    sae = SAE(SAEConfig(D, D, T, True, 0.1, 1.0), weights)
    table = own_order.agreement_table("temporallens", dict.fromkeys(SEEDS, sae), few.bfloat16())
    assert table["metric"].unique().tolist() == ["own_order_pairs"]
    assert table["value"].tolist() == [MIN_PAIRS - 1] * 3


@pytest.fixture
def study(tmp_path, monkeypatch) -> Study:
    """A small study of its own pool, with three seeds."""
    loaded = Study.load("smoke", tmp_path / "out")
    monkeypatch.setattr(config, "ROOT", tmp_path)
    ablations = replace(loaded.ablations, seeds=SEEDS)
    return replace(loaded, seeds=SEEDS, ablations=ablations, training=replace(loaded.training, steps=12))


def test_every_seed_has_an_order_that_no_other_run_has(study, monkeypatch):
    asked, original = [], own_order.train_layer

    def recorded(activations, configs, seeds, *arguments, **options):
        asked.append((tuple(configs), seeds, options["order_seed"]))
        return original(activations, configs, seeds, *arguments, **options)

    monkeypatch.setattr(own_order, "train_layer", recorded)
    table = own_order.own_order_table(study, 1)
    assert [(variants, seeds) for variants, seeds, _ in asked] == [(own_order.COMPARED, (s,)) for s in SEEDS]
    orders = [order for *_, order in asked]
    assert len({*orders, study.windows.seed}) == len(SEEDS) + 1
    pairs = table[table["metric"] == "own_order_pairs"]
    assert pairs["variant"].tolist() == [variant for variant in own_order.COMPARED for _ in SEEDS]
    folders = {p.name for p in study.dictionaries("ablations", 1).glob("own_order_*/*")}
    assert folders == {f"{variant}-seed{seed}" for variant in own_order.COMPARED for seed in SEEDS}


def test_two_seeds_are_not_trained_for_nothing(study, monkeypatch):
    monkeypatch.setattr(own_order, "train_layer", None)
    two = replace(study, ablations=replace(study.ablations, seeds=(0, 1)))
    assert own_order.own_order_table(two, 1).empty
