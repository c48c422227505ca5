"""Seeds that see the windows in one order, or each in its own."""

from tests.training.test_pool import stopped
from tests.training.test_train import activations, configs, same, train, train_layer

FIELDS = {"variants": ("standard", "shuffled_positions"), "window_order": "per_seed"}


def shared(folder, seed: int, order_seed: int):
    """Both variants of a seed, in the order of a study with this seed of windows."""
    recipes = configs(variants=FIELDS["variants"])
    options = {"data_digest": "test", "layer": 3, "log_every": 5, "order_seed": order_seed}
    return train_layer(activations(), recipes, [seed], folder / "out", folder / "pool", **options).folders


def test_each_seed_has_the_order_that_its_number_gives(tmp_path):
    """Seed 1 is trained as where all seeds share the order of seed 1, which isn't that of seed 0."""
    own = train(tmp_path / "own", **FIELDS).folders
    for seed in (0, 1):
        expected = shared(tmp_path / f"shared{seed}", seed, order_seed=seed)
        assert all(same(own[run], folder) for run, folder in expected.items())
    other = shared(tmp_path / "other", 1, order_seed=0)
    assert not any(same(own[run], folder) for run, folder in other.items())


def test_a_seed_is_the_same_alone_and_after_an_interruption(tmp_path, monkeypatch):
    whole = train(tmp_path / "whole", **FIELDS).folders
    stopped(tmp_path / "again", monkeypatch, **FIELDS, seeds=(1,))
    again = train(tmp_path / "again", **FIELDS, seeds=(1,)).folders
    assert all(same(whole[run], folder) for run, folder in again.items())
