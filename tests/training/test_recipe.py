import pytest

from lens import checkout
from lens.dictionaries.architectures.gated import Gated
from lens.errors import ConfigError
from lens.training import recipe_file
from lens.training.recipe import Recipe, build, recipe

RECIPES = recipe_file.read(checkout.root() / "paper" / "recipes.yaml")


def test_defaults_are_the_paper_s_hyper_parameters():
    found = recipe("temporallens", RECIPES, 10)
    assert found == Recipe(steps=10)
    assert (found.lr, found.betas, found.ema_beta) == (3e-4, (0.9, 0.999), 0.99)
    assert [found.setting(name) for name in ("l1_coef", "tau_start", "tau_end")] == [0.04, 5.0, 0.1]


def test_a_variant_wins_over_what_the_study_changes():
    found = recipe("standard", RECIPES, 5, {"position_weights": "squared", "lr": 0.1, "l1_coef": 1, "tau_end": 0.3})
    assert (found.position, found.position_weights, found.lr) == ("none", "uniform", 0.1)
    assert found.setting("l1_coef") == 1.0
    assert "tau_end" not in found.settings  # of a term that the variant has not
    assert recipe("temporallens", RECIPES, 5, {"tau_end": 0.3}).setting("tau_end") == 0.3


def test_a_variant_with_larger_batches_takes_fewer_steps():
    assert recipe("literal", RECIPES, 5000).steps == 5000 * 16 // 2048
    assert recipe("literal", RECIPES, 5).steps == 1
    assert recipe("temporallens", RECIPES, 5000, {"batch_windows": 2048}).steps == 5000


def test_what_tells_recipes_apart_is_every_field_and_no_default():
    assert build({}).identity() == build({"lr": 3e-4, "tau_end": 0.1}).identity()
    assert build({}).identity() == {"architecture": "relu", "position": "mask", "steps": 1000}
    changed = [{"lr": 1e-3}, {"tau_end": 0.2}, {"position": "none"}, {"l1_coef": 0.1}, {"steps": 7}]
    assert len({str(build(fields).identity()) for fields in [{}, *changed]}) == 6


def test_an_architecture_that_trains_to_other_numbers_leaves_the_runs_of_others(monkeypatch):
    def keys():
        return [build({"architecture": name, "position": "none"}).identity() for name in ("relu", "gated")]

    before = keys()
    monkeypatch.setattr(Gated, "version", 2)
    after = keys()
    assert after[0] == before[0] and after[1] != before[1]


def test_code_of_your_own_counts_by_its_content(tmp_path):
    file = tmp_path / "mine.py"
    text = "from lens.dictionaries.architectures.relu import ReLU\n\n\nclass Mine(ReLU):\n    pass\n"
    found = []
    for content in (text, text, text + "# changed\n"):
        file.write_text(content)
        found.append(build({"architecture": f"{file}:Mine"}).identity())
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("temporalens", RECIPES, 5), "unknown variant 'temporalens'.*'temporallens'"),
        (("standard", RECIPES, 5, {"l1coef": 1}), "training.overrides: unknown field 'l1coef'.*'l1_coef'"),
        (("standard", RECIPES, 5, {"lr": "fast"}), "lr: expected float, found 'fast'"),
        (("standard", RECIPES, 5, {"lr": float("nan")}), "lr: expected a finite number, found nan"),
        (("standard", RECIPES, 0), "not trained in zero steps"),
        (("temporallens", RECIPES, 5, {"tau_end": 0}), "temperatures must be positive"),
        (("standard", RECIPES, 5, {"expansion": 0}), "expansion must be at least 1"),
        (("standard", RECIPES, 5, {"batch_windows": 16, "micro_batch_windows": 5}), "not a multiple"),
        (("standard", RECIPES, 5, {"micro_batch_windows": -2}), "micro_batch_windows must be at least 0"),
        (("standard", RECIPES, 5, {"betas": [0.9, 1.0]}), "betas must be at least 0 and below 1"),
        (("standard", RECIPES, 5, {"ema_beta": 1.5}), "ema_beta must be at least 0 and below 1"),
        (("standard", RECIPES, 5, {"weight_decay": -0.1}), "weight_decay must be at least 0"),
        (
            ("standard", RECIPES, 5, {"lr_warmup": 0.6, "lr_decay": 0.5}),
            "lr_warmup and lr_decay are shares of the steps",
        ),
        (("standard", RECIPES, 5, {"sparsity_warmup": -0.1}), "sparsity_warmup are shares.*-0.1"),
        (("mine", {"mine": {"position": "maks"}}, 5), "recipe 'mine': unknown position term 'maks' .did you mean"),
        (("mine", {"mine": {"architecture": "topk"}}, 5), "recipe 'mine': position term mask on architecture topk"),
        (("mine", {"mine": {"position": "none", "tau_end": 1.0}}, 5), "'tau_end'.* position none"),
        (("mine", {"mine": {"mask_start": "window"}}, 5), "mask_start: 'window' is not one of 'normal'"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        recipe(*arguments)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_of_the_paper_is_one(name):
    recipe(name, RECIPES, 5)


def test_a_recipe_file_must_hold_recipes(tmp_path):
    with pytest.raises(ConfigError, match="missing.yaml is missing: name another"):
        recipe_file.read(tmp_path / "missing.yaml")
    (tmp_path / "list.yaml").write_text("- temporallens")
    with pytest.raises(ConfigError, match="list.yaml cannot be read .it holds a list"):
        recipe_file.read(tmp_path / "list.yaml")
    (tmp_path / "flat.yaml").write_text("temporallens: relu")
    with pytest.raises(ConfigError, match="flat.yaml: expected a mapping from names"):
        recipe_file.read(tmp_path / "flat.yaml")
