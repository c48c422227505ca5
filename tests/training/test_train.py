import dataclasses
import os
import signal
from pathlib import Path

import pandas as pd
import pytest
import torch

from lens import checkout
from lens.activations.statistics import input_statistics
from lens.dictionaries.dictionary import Dictionary, Info
from lens.training import recipe_file
from lens.training import train as lens_train
from lens.training.gradients import Workspace
from lens.training.recipe import build, recipe
from lens.training.run import Run, TrainingError
from lens.training.source import window_order
from lens.training.train import shuffle_positions, train_layer

N, T, D = 12, 9, 16
RECIPES = recipe_file.read(checkout.root() / "paper" / "recipes.yaml")
VARIANTS = ("standard", "temporallens", "shuffled_positions")


def activations(seed: int = 0) -> torch.Tensor:
    """Windows with a mean, a direction that grows with position, and a huge BOS."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(N, T, D, generator=generator) + 2 * torch.randn(D, generator=generator)
    x += torch.linspace(0, 3, T)[:, None] * torch.randn(D, generator=generator)
    x[:, 0] = 1000
    return x.bfloat16()


def configs(steps: int = 30, variants=VARIANTS, **overrides):
    return {v: recipe(v, RECIPES, steps, {"batch_windows": 4, **overrides}) for v in variants}


def train(folder: Path, *, pool: Path | None = None, seeds=(0, 1), data=None, log_every=5, **kinds):
    return train_layer(
        activations() if data is None else data,
        configs(**kinds),
        seeds,
        folder / "out",
        pool or folder / "pool",
        data_digest="test",
        layer=3,
        log_every=log_every,
    )


def same(a: Path, b: Path) -> bool:
    names = sorted(p.relative_to(a) for p in a.rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(b) for p in b.rglob("*") if p.is_file())
    return all((a / n).read_bytes() == (b / n).read_bytes() for n in names)


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """One run of the three variants with two seeds, which nothing changes."""
    return train(tmp_path_factory.mktemp("once"))


def test_equal_calls_give_equal_bytes_and_other_seeds_others(once, tmp_path):
    again, folders = train(tmp_path), once.folders
    assert same(folders["standard", 0].parent, tmp_path / "out")
    pd.testing.assert_frame_equal(once.history, again.history)
    assert not same(folders["standard", 0], folders["standard", 1])


def test_a_run_is_the_same_alone_and_in_company(once, tmp_path):
    """Variants and seeds share batches, and nothing else."""
    alone = train(tmp_path, seeds=(1,), variants=("temporallens",))
    assert same(once.folders["temporallens", 1], alone.folders["temporallens", 1])


def test_kill_minus_nine_loses_nothing(once, tmp_path):
    if not (child := os.fork()):
        try:
            torch.set_num_threads(1)  # those of the parent are not there
            lens_train.CHECKPOINT_EVERY, save = 7, lens_train.snapshot
            lens_train.snapshot = lambda runs, folder, step: (
                save(runs, folder, step), os.kill(os.getpid(), signal.SIGKILL) if step >= 21 else None
            )  # fmt: skip
            train(tmp_path)
        finally:
            os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert list((tmp_path / "pool").glob("train-*/step-21")) and not (tmp_path / "out").exists()
    train(tmp_path)
    assert same(tmp_path / "out", once.folders["standard", 0].parent)


def test_finished_training_is_not_repeated_and_changed_training_is(tmp_path, monkeypatch):
    few = {"variants": ("standard",), "seeds": (0,)}
    first = train(tmp_path, **few)
    monkeypatch.setattr("lens.training.train._train", lambda *a: pytest.fail("trained again"))
    pd.testing.assert_frame_equal(first.history, train(tmp_path, **few).history)
    for changed in ({"l1_coef": 0.05}, {"steps": 31}):
        with pytest.raises(pytest.fail.Exception):
            train(tmp_path, **few, **changed)


def test_a_further_variant_leaves_finished_runs_alone(tmp_path, monkeypatch):
    first = train(tmp_path, variants=("standard",), seeds=(0,))
    started = []
    original = lens_train._initial
    monkeypatch.setattr(lens_train, "_initial", lambda variant, *a: started.append(variant) or original(variant, *a))
    both = train(tmp_path, variants=("standard", "temporallens"), seeds=(0,))
    assert started == ["temporallens"]
    history = both.history[both.history["variant"] == "standard"].reset_index(drop=True)
    pd.testing.assert_frame_equal(first.history, history)


def test_a_variant_with_larger_batches_sees_as_many_windows(tmp_path):
    both = configs(steps=30, variants=("temporallens", "literal"))
    both["literal"] = dataclasses.replace(both["literal"], steps=10, batch_windows=12, micro_batch_windows=4)
    trained = train_layer(activations(), both, (0,), tmp_path / "o", tmp_path / "p", data_digest="test", log_every=5)
    steps = trained.summary[trained.summary["metric"] == "steps"].set_index("variant")["value"]
    assert steps.to_dict() == {"temporallens": 30, "literal": 10}


def test_static_windows_gate_exactly_and_stay(tmp_path):
    trained = train(tmp_path, variants=("static_windows", "static_windows_wrapped"), seeds=(0,))
    for variant in ("static_windows", "static_windows_wrapped"):
        mask = Dictionary.load(trained.folders[variant, 0]).position_term.values()
        assert set(mask.unique().tolist()) == {0.0, 1.0}
        assert (mask.sum(0) == T // 4).all()


def test_pure_bf16_loses_updates_of_the_mask_logits_and_float32_does_not(tmp_path):
    """Half a unit in the last place of a bfloat16 in [1/8, 1/4) is 4.9e-4, more than a step of 3e-4."""
    trained = train(tmp_path, variants=("temporallens", "bf16_parameters"), seeds=(0,), steps=60)
    lost = trained.summary[trained.summary["metric"] == "lost_update_share"].set_index("variant")["value"]
    assert lost["temporallens"] < 0.01 and lost["bf16_parameters"] > 0.1


def test_order_covers_every_window_once_an_epoch_and_can_start_anywhere():
    rows = torch.cat(list(window_order(10, 4, 25, seed=0)))
    for epoch in rows.view(10, 10):
        assert sorted(epoch.tolist()) == list(range(10))
    assert torch.equal(torch.cat(list(window_order(10, 4, 25, seed=0, first_step=7))), rows[28:])
    assert not torch.equal(torch.cat(list(window_order(10, 4, 25, seed=1))), rows)


def test_shuffling_permutes_within_each_window_and_each_window_differently():
    x = torch.arange(5 * 30).view(5, 30, 1).float()
    shuffled = shuffle_positions(x, step=3, seed=0)
    assert torch.equal(shuffled.sort(1).values, x)
    orders = {tuple((shuffled[i, :, 0] - 30 * i).int().tolist()) for i in range(5)}
    assert len(orders) == 5
    assert torch.equal(shuffled, shuffle_positions(x, step=3, seed=0))
    assert not torch.equal(shuffled, shuffle_positions(x, step=4, seed=0))


def test_bos_is_left_out_of_statistics_and_of_training(tmp_path):
    data = activations()
    statistics = input_statistics(data)
    expected = data[:, 1:].float()
    torch.testing.assert_close(statistics.mean, expected.mean((0, 1)), rtol=1e-4, atol=1e-4)
    assert statistics.mean_square_norm == pytest.approx(expected.square().sum(-1).mean().item(), rel=1e-4)
    other = data.clone()
    other[:, 0] = -5
    few = {"variants": ("temporallens",), "seeds": (0,)}
    a, b = (train(tmp_path / name, data=x, **few) for name, x in (("a", data), ("b", other)))
    assert same(a.folders["temporallens", 0], b.folders["temporallens", 0])
    included = train(tmp_path / "c", data=data, variants=("bos_included",), seeds=(0,))
    weights = included.position_weights
    assert weights[weights["step"] == weights["step"].max()].sort_values("value")["position"].iloc[-1] == 0  # BOS


def test_masks_move_only_where_they_are_learned_and_trained(tmp_path):
    trained = train(tmp_path, variants=("temporallens", "frozen_masks", "standard"), seeds=(0,))
    found = {v: Dictionary.load(trained.folders[v, 0]) for v in ("temporallens", "frozen_masks", "standard")}
    start = Dictionary.initialise(found["temporallens"].info, torch.zeros(D), 0).position_term.pos_logits
    learned = found["temporallens"].position_term.pos_logits
    assert torch.equal(learned[0], start[0])  # BOS is not trained on
    assert (learned[1:] != start[1:]).float().mean() > 0.5
    assert torch.equal(found["frozen_masks"].position_term.pos_logits, start)
    assert found["standard"].position_term.values() is None


def test_masks_of_the_shuffled_control_know_nothing_about_position(tmp_path):
    """Text positions 1-4 and 5-8 hold different directions. A mask value only moves where its feature fires: by half
    under true positions, everywhere under shuffled ones."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(2, 4, D, generator=generator)
    amount = torch.rand(2, N, 4, 4, generator=generator)
    data = torch.zeros(N, T, D)
    for half, first in ((0, 1), (1, 5)):
        data[:, first : first + 4] = amount[half] @ directions[half]
    trained = train(tmp_path, data=data.bfloat16(), steps=60, lr=1e-2, seeds=(0,))

    def imbalance(variant):
        sae = Dictionary.load(trained.folders[variant, 0])
        start = Dictionary.initialise(sae.info, torch.zeros(D), 0).position_term.pos_logits
        moved = (sae.position_term.pos_logits - start).abs().detach()
        early, late = moved[1:5].mean(0), moved[5:].mean(0)
        alive = early + late > 0.05
        return ((early - late).abs() / (early + late))[alive].mean().item()

    assert imbalance("temporallens") > 1.5 * imbalance("shuffled_positions")


def test_micro_batches_add_up_to_the_batch(tmp_path):
    few = {"variants": ("temporallens",), "seeds": (0,), "precision": "fp32"}
    whole, parts = train(tmp_path / "a", **few), train(tmp_path / "b", micro_batch_windows=2, **few)
    a, b = Dictionary.load(whole.folders["temporallens", 0]), Dictionary.load(parts.folders["temporallens", 0])
    torch.testing.assert_close(a.W_enc, b.W_enc, rtol=1e-3, atol=1e-4)
    pd.testing.assert_frame_equal(whole.position_weights, parts.position_weights, rtol=1e-3)


@pytest.mark.parametrize("variant", ["literal", "companion"])
def test_other_readings_of_the_paper_run(tmp_path, variant):
    literal = variant == "literal"
    fields = RECIPES[variant] | {"batch_windows": 4} | ({"micro_batch_windows": 2} if literal else {})
    chosen = {variant: recipe(variant, {variant: fields}, 12, {"batch_windows": 4})}
    trained = train_layer(activations(), chosen, (0,), tmp_path / "o", tmp_path / "p", data_digest="d", log_every=5)
    sae = Dictionary.load(trained.folders[variant, 0])
    assert torch.isfinite(sae.W_enc).all()
    assert (sae.W_enc.dtype == torch.bfloat16) == literal
    assert (sae.info.input_scale == 1) == literal


def test_summary_holds_what_the_equations_promise(once):
    summary = once.summary.set_index(["variant", "seed", "metric"])["value"]
    for seed in (0, 1):
        assert summary["temporallens", seed, "tau_first"] == 5.0
        assert summary["temporallens", seed, "tau_last"] == 0.1
        assert summary["temporallens", seed, "tau_loglinearity_error"] < 1e-5
        for variant in VARIANTS:
            assert summary[variant, seed, "max_decoder_norm_error"] < 1e-5
            assert summary[variant, seed, "weight_sum_error"] < 1e-3
            assert summary[variant, seed, "steps"] == 30


def test_non_finite_loss_stops_training_and_names_the_step(tmp_path):
    with pytest.raises(TrainingError, match="not finite at step 1;"):
        train(tmp_path, lr=1e30)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_activations_that_are_not_finite_or_all_zero_are_refused(tmp_path, value):
    data = activations()
    data[:, slice(4, 5) if value else slice(None)] = value
    with pytest.raises(TrainingError, match="layer 3: the mean squared norm of the activations is "):
        train(tmp_path, data=data)
    assert not (tmp_path / "out").exists()


def test_silent_dictionary_is_an_error_and_writes_nothing(tmp_path):
    with pytest.raises(TrainingError, match="every feature is silent"):
        train(tmp_path, steps=200, lr=0.1, l1_coef=1e5, variants=("standard",), seeds=(0,))
    assert not (tmp_path / "out").exists()


def test_fewer_windows_than_a_batch_is_an_error(tmp_path):
    with pytest.raises(TrainingError, match="3 training windows are fewer than one batch of 4"):
        train(tmp_path, data=activations()[:3])


def one_step(**fields):
    """The run of a recipe of four steps after its first."""
    x = activations()
    made = build({"position": "none", "position_weights": "uniform", "precision": "fp32", "steps": 4, **fields})
    info = Info(D, D, T, position="none", settings=made.settings)
    run = Run(made, Dictionary.initialise(info, torch.zeros(D), 0), Workspace())
    run.step(x.float(), None, log=False)
    return run


def test_a_warmed_up_learning_rate_moves_as_a_smaller_one():
    """The first of two steps of warm-up, and of four of decay: Adam moves by lr in every coordinate."""
    bias = [one_step(**fields).dictionary.architecture.b_enc for fields in ({}, {"lr_warmup": 0.5}, {"lr": 1.5e-4})]
    assert torch.equal(bias[1], bias[2])
    torch.testing.assert_close(bias[0].abs().max().item(), 3e-4, rtol=1e-3, atol=0)
    assert torch.equal(one_step(lr_decay=1.0).dictionary.W_dec, one_step().dictionary.W_dec)  # 4/4 at the first step


def test_a_warmed_up_penalty_is_a_smaller_one():
    warm, small = one_step(sparsity_warmup=0.5, l1_coef=0.4), one_step(l1_coef=0.2)
    assert torch.equal(warm.dictionary.W_enc, small.dictionary.W_enc)
    assert warm.curves[0, 0] == small.curves[0, 0]
    assert not torch.equal(warm.dictionary.W_enc, one_step(l1_coef=0.4).dictionary.W_enc)
