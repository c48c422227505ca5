"""Runs that were finished at 04afd0d, by what the pool of the studies `smoke` and `quick` then held."""

import json

import pandas as pd
import pytest
import torch

from lens import checkout
from lens.dictionaries.dictionary import Dictionary
from lens.training import first_pool, recipe_file
from lens.training.recipe import build, recipe
from lens.training.sealed import DIGESTS
from tests.training.test_train import train

POOLS = json.loads((checkout.root() / "tests" / "golden" / "first_pool.json").read_text())
RECIPES = recipe_file.read(checkout.root() / "paper" / "recipes.yaml")


@pytest.mark.parametrize("study", POOLS)
def test_keys_are_those_that_the_pool_had(study):
    pool = POOLS[study]
    same = {name: pool[name] for name in ("model", "log_every", "torch")} | {"device": "cpu"}
    for layer, variant, seed, order_seed, data, share, key in pool["runs"]:
        shared = {"data": pool["data"][data] + share, "layer": layer, "order_seed": order_seed, **same}
        found = first_pool.first_key(recipe(variant, RECIPES, pool["steps"]), variant, seed, shared)
        assert found == key, (layer, variant, seed)


def test_other_architectures_had_none():
    assert first_pool.first_key(build({"architecture": "topk", "position": "none"}), "v", 0, {}) is None


def test_what_could_not_be_asked_for_then_had_none():
    assert first_pool.first_key(build({"lr_warmup": 0.1}), "v", 0, {}) is None


def test_a_finished_run_is_taken_over_and_not_trained_again(tmp_path, monkeypatch):
    kinds = {"variants": ("temporallens",), "seeds": (0,)}
    expected = train(tmp_path / "a", **kinds)
    (made,) = (tmp_path / "a" / "pool").glob("trained-*")
    config = made / "temporallens-seed0" / "cfg.json"
    now = json.loads(config.read_text())
    old = {"d_in": now["d_in"], "d_sae": now["d_sae"], "n_positions": now["n_positions"], "masked": True, "tau": 0.1,
           "input_scale": now["input_scale"], "model": "", "layer": "3", "variant": "temporallens", "seed": 0,
           "sha256": now["sha256"]}  # fmt: skip
    config.write_text(json.dumps(old))
    (made / DIGESTS).unlink()
    shared = {"data": "test", "model": "", "layer": "3", "order_seed": 0, "log_every": 5, "device": "cpu"}
    fields = recipe("temporallens", RECIPES, 30, {"batch_windows": 4})
    key = first_pool.first_key(fields, "temporallens", 0, shared | {"torch": torch.__version__})
    (tmp_path / "b" / "pool").mkdir(parents=True)
    made.rename(tmp_path / "b" / "pool" / f"trained-{key}")
    monkeypatch.setattr("lens.training.train._train", lambda *a: pytest.fail("trained again"))
    found = train(tmp_path / "b", **kinds)
    pd.testing.assert_frame_equal(expected.history, found.history)
    a, b = (Dictionary.load(trained.folders["temporallens", 0]) for trained in (expected, found))
    assert a.info == b.info and torch.equal(a.W_enc, b.W_enc)
    assert [p.name for p in (tmp_path / "b" / "pool").iterdir() if p.is_dir()] == [made.name]
