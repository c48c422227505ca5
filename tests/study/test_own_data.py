"""Seeds with data of their own: every seed has an order, and then windows, that no other run has."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from lens import checkout
from lens.study import own_data
from lens.study.extraction import extract_for_trial
from lens.study.layer_data import open_layer_data
from lens.study.params import Corpus, Study

SEEDS = (0, 1, 2)
COMPARED = ("temporallens", "shuffled_positions")


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Iterator[Study]:
    """A small study of its own pool and texts, with three seeds."""
    folder = tmp_path_factory.mktemp("own")
    texts = {name: folder / f"{name}.txt" for name in ("train", "test", "contrast")}
    for name, path in texts.items():
        path.write_text("".join(f"the {name} text, line {i} of three hundred\n" for i in range(300)))
    corpus = Corpus(**{name: str(path) for name, path in texts.items()})
    loaded = replace(Study.load("smoke", folder / "out"), corpus=corpus)
    ablations = replace(loaded.ablations, seeds=SEEDS)
    small = replace(loaded, seeds=SEEDS, ablations=ablations, training=replace(loaded.training, steps=12))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkout, "root", lambda: folder)
        extract_for_trial(small, 1)
        yield small


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
