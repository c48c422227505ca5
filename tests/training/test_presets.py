import pytest

from lens.errors import ConfigError
from lens.training.presets import PRESETS, VARIANTS, TrainConfig, train_config


def test_defaults_are_the_paper_s_hyper_parameters():
    config = train_config("paper", "temporallens", 10)
    assert config == TrainConfig(steps=10)
    assert (config.lr, config.betas, config.l1_coef, config.ema_beta) == (3e-4, (0.9, 0.999), 0.04, 0.99)
    assert (config.tau_start, config.tau_end) == (5.0, 0.1)


def test_every_preset_and_variant_combine():
    for preset in PRESETS:
        for variant in VARIANTS:
            train_config(preset, variant, 5)


def test_variant_wins_over_overrides_which_win_over_the_preset():
    config = train_config("companion", "standard", 5, {"masks": "frozen", "position_weights": "squared", "lr": 0.1})
    assert (config.masks, config.position_weights, config.lr, config.weight_decay) == ("none", "uniform", 0.1, 0.0)


def test_a_variant_with_larger_batches_takes_fewer_steps():
    assert train_config("paper", "literal", 5000).steps == 5000 * 16 // 2048
    assert train_config("paper", "literal", 5).steps == 1
    assert (
        train_config("literal", "temporallens", 5000).steps == 5000
    )  # a study of the literal preset takes what it says


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("papper", "standard", 5), "unknown preset 'papper'.*'paper'"),
        (("paper", "temporalens", 5), "unknown variant 'temporalens'.*'temporallens'"),
        (("paper", "standard", 5, {"l1coef": 1}), "unknown field 'l1coef'.*'l1_coef'"),
        (("paper", "standard", 0), "not trained in zero steps"),
        (("paper", "standard", 5, {"tau_end": 0}), "temperatures must be positive"),
        (("paper", "standard", 5, {"expansion": 0}), "expansion must be at least 1"),
        (("paper", "standard", 5, {"batch_windows": 16, "micro_batch_windows": 5}), "not a multiple"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        train_config(*arguments)
