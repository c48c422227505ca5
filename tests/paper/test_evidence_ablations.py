"""C02, C11 to C13, C23 to C25, C35, C36: what ablations show, planted and not."""

import numpy as np
import pytest
from scipy import stats

from tests.paper.planted import by_itself, judged, made, plant, planted, reading, summary, without

METHOD = "temporallens"
TEMPERATURES = ("fixed_tau_0.1", "fixed_tau_1", "fixed_tau_5")
KINDS = ("static_windows", "static_windows_wrapped", "frozen_masks")


@pytest.mark.parametrize("claim", ["C02", "C11", "C12", "C13", "C23", "C24", "C25", "C35", "C36"])
def test_a_study_without_ablations_says_so(claim):
    entry = judged(made({(METHOD, "fvu"): 0.3}, ablated=False), claim)
    assert (entry["verdict"], entry["reason"]) == ("not measured in this study", "the study has no ablations")


# C02


@pytest.mark.parametrize(
    ("uniform", "word"), [(0.0, "reproduced"), (0.09, "partly"), (0.15, "not reproduced"), (0.3, "contradicted")]
)
def test_the_part_of_the_early_advantage_that_weights_cause(uniform, word):
    data = plant(0.15, standard=uniform, seeds=(0, 1, 2), noise=0.001)
    for table in data.tables.values():
        table["variant"] = table["variant"].replace("standard", "uniform_weights")
    entry = judged(data, "C02")
    assert entry["verdict"] == word
    assert entry["readings"][0]["estimate"] == pytest.approx(0.15 - uniform, abs=0.005)
    assert reading(entry, "raw error, uniform_weights", "context")["estimate"] == pytest.approx(uniform, abs=0.005)


def test_a_claim_about_a_variant_that_the_study_has_not_says_so():
    entry = judged(plant(), "C02")
    assert (entry["verdict"], entry["reason"]) == (
        "not measured in this study",
        "'uniform_weights' is not among the variants and ablations of study 'quick'",
    )


# C11


def annealing(rates, fvus, **how):
    """Spike rates and FVUs of three fixed temperatures; the method's are 0.01 and 0.3."""
    values = {(METHOD, "steps"): 1e6, (METHOD, "loss_spike_rate"): 0.01, (METHOD, "fvu"): 0.3}
    for variant, rate, fvu in zip(TEMPERATURES, rates, fvus, strict=True):
        values |= {(variant, "loss_spike_rate"): rate, (variant, "fvu"): fvu}
    return made(values, **how)


@pytest.mark.parametrize(
    ("rates", "fvus", "word"),
    [
        ((0.03, 0.01, 0.01), (0.3, 0.3, 0.3), "reproduced"),
        ((0.01, 0.01, 0.03), (0.3, 0.3, 0.3), "reproduced"),  # any of them
        ((0.01, 0.01, 0.01), (0.3, 0.33, 0.3), "partly"),
        ((0.01, 0.01, 0.01), (0.3, 0.3, 0.3), "not reproduced"),
        ((0.005, 0.005, 0.005), (0.27, 0.27, 0.27), "not reproduced"),
    ],
)
def test_instability_without_annealing(rates, fvus, word):
    entry = judged(annealing(rates, fvus), "C11")
    assert by_itself(entry) == word
    growth = max(rates) / 0.01
    assert entry["measures"]["spike_rate_ratio_or_divergence"]["estimate"] == pytest.approx(growth, rel=1e-3)
    assert entry["readings"][0]["estimate"] == pytest.approx(rates[0] / 0.01 - 1, abs=2e-3)


def test_runs_without_spikes_have_a_ratio_of_one():
    entry = judged(annealing((0.0, 0.0, 0.0), (0.3, 0.3, 0.3)), "C11")
    assert reading(entry, "temperature 1")["estimate"] < 0  # the method's own rate is 0.01
    data = annealing((0.0, 0.0, 0.0), (0.3, 0.3, 0.3), spread=0)
    rows = data.tables["summary"]
    rows.loc[rows["metric"] == "loss_spike_rate", "value"] = 0.0
    assert judged(data, "C11")["measures"]["spike_rate_ratio_or_divergence"]["estimate"] == 1


def test_the_intervals_of_three_temperatures_hold_together():
    data = annealing((0.01, 0.01, 0.01), (0.3, 0.31, 0.3), spread=0.02, seeds=(0, 1, 2))
    rows = data.tables["summary"]
    for layer in ("3", "8"):  # log ratios of 0.02, 0.03 and 0.06 over seeds
        for seed, rise in enumerate((0.02, 0.03, 0.06)):
            here = (rows["layer"] == layer) & (rows["seed"] == seed) & (rows["metric"] == "fvu")
            rows.loc[here, "value"] = 0.3
            rows.loc[here & (rows["variant"] == "fixed_tau_1"), "value"] = 0.3 * np.exp(rise)
    entry = judged(data, "C11")
    found, logs = entry["measures"]["fvu_difference"], np.array([0.02, 0.03, 0.06])
    half = stats.t.ppf(1 - 0.05 / 6, 2) * logs.std(ddof=1) / 3**0.5
    assert found["low"] == pytest.approx(max(0, np.expm1(logs.mean() - half)), abs=1e-5)
    assert found["high"] == pytest.approx(np.expm1(logs.mean() + half), rel=1e-4)


def test_annealing_needs_a_fixed_temperature_and_spike_rates():
    full = annealing((0.03, 0.01, 0.01), (0.3, 0.3, 0.3))
    one = full
    for variant in TEMPERATURES[1:]:
        one = without(one, variant=variant)
    entry = judged(one, "C11")
    assert entry["verdict"] == "reproduced"
    assert reading(entry, "temperature 5")["verdict"] == "not measured in this study"
    none = without(one, variant=TEMPERATURES[0])
    assert judged(none, "C11")["reason"].startswith("no run with a fixed temperature: add fixed_tau_0.1")
    short = judged(without(full, metric="loss_spike_rate"), "C11")
    assert short["reason"] == "no 'loss_spike_rate' of variant 'fixed_tau_0.1'"


# C12


def static(evs, ones=0.6, standard=0.6, method=0.7, shuffled=0.6, **how):
    """Explained variance of windows, wrapped windows and frozen masks, of masks of ones, standard, method and null."""
    variants = dict(zip(KINDS, evs, strict=True)) | {"all_ones_masks": ones, "standard": standard, METHOD: method}
    variants["shuffled_positions"] = shuffled
    return made({(v, m): 1 - ev for v, ev in variants.items() for m in ("fvu", "mse")}, spread=0.005, **how)


@pytest.mark.parametrize(
    ("evs", "ones", "word"),
    [
        ((0.54, 0.2, 0.7), 0.6, "reproduced"),
        ((0.2, 0.54, 0.7), 0.6, "partly"),  # the companion code's windows decide, however near another kind comes
        ((0.54, 0.54, 0.54), 0.54, "partly"),  # masks of ones lose as much
        ((0.1, 0.1, 0.1), 0.6, "partly"),
        ((0.7, 0.7, 0.7), 0.6, "not reproduced"),
    ],
)
def test_what_static_masks_lose(evs, ones, word):
    entry = judged(static(evs, ones), "C12")
    assert entry["verdict"] == word
    assert entry["readings"][0]["estimate"] == pytest.approx(1 - evs[0] / 0.7, abs=1e-3)
    assert reading(entry, "windows of T/4 that wrap")["estimate"] == pytest.approx(1 - evs[1] / 0.7, abs=1e-3)


def test_masks_that_explain_less_than_nothing_have_a_loss_above_one():
    entry = judged(static((-0.35, -0.35, -0.35)), "C12")
    assert entry["readings"][0]["estimate"] == pytest.approx(1.5, abs=1e-3) and entry["verdict"] == "partly"
    bad = judged(static((0.5, 0.5, 0.5), method=-0.1), "C12")
    assert bad["reason"] == "the explained variance of temporallens is not positive, so none can be lost"


def test_a_loss_is_one_of_learning_only_if_dictionaries_without_learned_masks_lose_too():
    assert judged(static((0.4, 0.4, 0.4), ones=0.6, standard=0.6), "C12")["attributable"] == "yes"
    for level in (0.7, 0.75):  # windows take features away
        entry = judged(static((0.54, 0.54, 0.54), ones=0.6, standard=level), "C12")
        assert entry["attributable"] == "no" and "standard" in entry["attributable_reason"]
        assert judged(static((0.54, 0.54, 0.54), ones=level, standard=0.6), "C12")["attributable"] == "no"
    entry = judged(static((0.54, 0.54, 0.54), shuffled=0.71), "C12")  # without position to learn there is more to lose
    assert (entry["verdict"], entry["before"]["verdict"]) == ("present without the method", "reproduced")
    assert entry["before"]["attributable"] == "yes" and "shuffled_positions" in entry["attributable_reason"]
    missing = judged(without(static((0.54, 0.5, 0.5), ones=0.6), variant="standard"), "C12")
    assert missing["attributable"] == "not assessed" and "standard" in missing["attributable_reason"]


def test_static_masks_that_are_missing():
    data = static((0.54, 0.54, 0.54))
    assert judged(without(data, variant="all_ones_masks"), "C12")["reason"] == "no 'fvu' of variant 'all_ones_masks'"
    entry = judged(without(data, variant="static_windows_wrapped"), "C12")
    assert reading(entry, "windows of T/4 that wrap")["estimate"] is None and entry["verdict"] == "reproduced"
    gap = judged(without(data, variant="static_windows"), "C12")  # no other kind stands in
    assert gap["reason"].endswith("not in this study: add static_windows to the ablations")


# C13


@pytest.mark.parametrize(
    ("rise", "word"), [(0.18, "reproduced"), (0.4, "partly"), (0.0, "not reproduced"), (-0.1, "contradicted")]
)
def test_what_uniform_weights_cost(rise, word):
    values = {("uniform_weights", "mse"): 0.3 * (1 + rise), (METHOD, "mse"): 0.3}
    values[METHOD, "weight_effective_positions"] = 100.0
    entry = judged(made(values), "C13")
    assert (entry["verdict"], entry["attributable"]) == (word, "not applicable")
    assert entry["readings"][0]["estimate"] == pytest.approx(rise, abs=1e-3)
    assert reading(entry, "weighted loss")["detail"] == "no 'late_loss' of variant 'uniform_weights'"


@pytest.mark.parametrize(("effective", "word"), [(126.9, "inert"), (100.0, "reproduced")])
def test_weights_that_hardly_vary_are_inert_whatever_the_error(effective, word):
    """n / (1 + v^2) positions: v is 0.028 and 0.52."""
    values = {("uniform_weights", "mse"): 0.3 * 1.18, (METHOD, "mse"): 0.3}
    entry = judged(made(values | {(METHOD, "weight_effective_positions"): effective}, spread=1e-4), "C13")
    assert (entry["verdict"], entry["before"]["verdict"]) == (word, "reproduced")
    expected = (127 / effective - 1) ** 0.5
    assert entry["measures"]["weight_variation"]["estimate"] == pytest.approx(expected, rel=0.02)


# C23


def schedules(fvu, seeds=(0, 1, 2, 3, 4), **how):
    """FVU by schedule (final temperature 0.05, 0.1, 0.3, 1), each a number or one per layer."""
    names = ("end_tau_0.05", METHOD, "end_tau_0.3", "end_tau_1")
    values = {(v, "fvu"): np.reshape(x, (-1, 1)) for v, x in zip(names, fvu, strict=True)}
    return made(values, seeds=seeds, spread=0.001, **how)


def test_layers_that_need_their_own_schedule():
    entry = judged(schedules([(0.2, 0.3), (0.3, 0.2), (0.4, 0.4), (0.4, 0.4)]), "C23")
    assert entry["verdict"] == "reproduced"
    rise = np.sqrt(0.3 / 0.2) - 1  # a common schedule is best at one layer and costs 50 % at the other
    assert entry["readings"][0]["estimate"] == pytest.approx(rise, abs=0.01)
    assert "best final temperature at layers 3, 8: 0.05, 0.1" in entry["readings"][0]["detail"]


def test_layers_with_different_best_schedules_that_cost_little():
    entry = judged(schedules([(0.300, 0.303), (0.303, 0.300), (0.4, 0.4), (0.4, 0.4)]), "C23")
    assert entry["verdict"] == "partly"


def test_one_schedule_for_all_layers():
    entry = judged(schedules([0.3, 0.2, 0.3, 0.3]), "C23")
    assert (entry["verdict"], entry["readings"][0]["estimate"]) == ("not reproduced", 0)
    noise = judged(made({(v, "fvu"): 0.3 for v in ("end_tau_0.05", METHOD, "end_tau_0.3", "end_tau_1")}), "C23")
    assert abs(noise["readings"][0]["estimate"]) < 0.02  # the smallest of noisy numbers is not taken on its own seed


def test_schedules_need_layers_seeds_and_variants():
    assert "at one layer only" in judged(schedules([0.3] * 4, layers=("8",)), "C23")["reason"]
    assert "one training seed" in judged(schedules([0.3] * 4, seeds=(0,)), "C23")["reason"]
    gap = judged(without(schedules([0.3] * 4), variant="end_tau_1"), "C23")
    assert gap["reason"] == "no 'fvu' of variant 'end_tau_1'"


# C24


@pytest.mark.parametrize(
    ("with_bos", "alone", "word"), [(50, 1.5, "reproduced"), (5, 3, "partly"), (1.2, 1.2, "not reproduced")]
)
def test_weights_that_over_emphasise(with_bos, alone, word):
    entry = judged(weighted(with_bos, alone), "C24")
    assert entry["verdict"] == word
    assert reading(entry, "BOS trained on")["estimate"] == pytest.approx(with_bos)
    assert reading(entry, "BOS left out")["estimate"] == pytest.approx(alone)
    assert reading(entry, "BOS left out, shuffled_positions", "context")["estimate"] == pytest.approx(1.1)


def weighted(with_bos, alone):
    """Late weights of 1, but for BOS where it is trained on, and for one text position."""
    t, rows = np.arange(128), []
    largest = {"bos_included": (t == 0, with_bos), METHOD: (t == 9, alone), "shuffled_positions": (t == 70, 1.1)}
    for variant, (where, value) in largest.items():
        for layer in ("3", "8"):
            for seed in range(5):
                spread = 1 + 0.01 * (seed - 2)
                rows += [
                    ("test", "stand-in", layer, variant, seed, i, "position_weight", w, 1, "")
                    for i, w in enumerate(np.where(where, value * spread, 1.0)) if i or variant == "bos_included"
                ]  # fmt: skip
    effective = {(METHOD, "weight_effective_positions"): 100.0, ("bos_included", "weight_effective_positions"): 100.0}
    return planted({"positions": rows, "summary": summary(effective)})


def test_over_emphasis_needs_both_settings():
    data = without(weighted(50, 2), variant="bos_included")
    assert judged(data, "C24")["reason"] == "no 'position_weight' of variant 'bos_included'"


# C25


def quality(fvu, delta_ce, settings=("end_tau_1",), **how):
    """FVU 0.3 and added cross-entropy 0.5 of the method and of other settings; of some, relative to that."""
    values = {}
    for setting in (METHOD, "end_tau_0.05", "end_tau_0.3", "end_tau_1", "bos_included"):
        values |= {(setting, "fvu"): 0.3, (setting, "delta_ce"): 0.5}
    for setting in settings:
        values |= {(setting, "fvu"): 0.3 * fvu, (setting, "delta_ce"): 0.5 * delta_ce}
    return made(values, spread=0.001, **how)


OTHERS = ("end_tau_0.05", "end_tau_0.3", "end_tau_1", "bos_included")


@pytest.mark.parametrize(
    ("fvu", "delta_ce", "word"), [(1.0, 1.0, "reproduced"), (1.2, 1.0, "partly"), (1.0, 0.8, "partly")]
)
def test_settings_that_are_equally_good(fvu, delta_ce, word):
    entry = judged(quality(fvu, delta_ce), "C25")
    assert entry["verdict"] == word
    assert entry["readings"][0]["estimate"] == pytest.approx(fvu - 1, abs=2e-3)
    assert entry["readings"][1]["estimate"] == pytest.approx(delta_ce - 1, abs=2e-3)
    assert (entry["p"] < 0.01) == (fvu == 1.0)  # p of equivalence, not of a difference


def test_settings_that_all_differ_are_not_equally_good():
    entry = judged(quality(1.2, 1.2, settings=OTHERS), "C25")
    assert entry["verdict"] == "not reproduced"
    one = judged(quality(1.2, 1.2), "C25")
    assert "of FVU, end_tau_1" in one["readings"][0]["detail"]
    assert reading(one, "FVU, bos_included")["detail"].endswith("its inputs are scaled with BOS counted in")


def test_the_size_of_a_difference_has_no_sign():
    entry = judged(quality(0.8, 0.8), "C25")
    largest = entry["measures"]["largest_relative_difference"]
    assert largest["estimate"] == pytest.approx(0.2, abs=1e-3) and largest["low"] > 0


def test_quality_needs_other_settings_and_a_ratio():
    bare = judged(made({(METHOD, "fvu"): 0.3}), "C25")
    assert bare["reason"].startswith("not every schedule of C23 is in this study: add end_tau_0.05, end_tau_0.3")
    without_bos = judged(without(quality(1, 1), variant="bos_included"), "C25")
    assert without_bos["verdict"] == "reproduced"
    no_splice = judged(without(quality(1, 1), metric="delta_ce"), "C25")
    assert no_splice["reason"] == "no 'delta_ce' of variant 'end_tau_0.05'"
    negative = judged(quality(1, -0.1), "C25")
    assert "not positive, so there is no ratio" in negative["reason"]


# C35


@pytest.mark.parametrize(
    ("fvu", "lost", "word"), [(0.30, 0.01, "reproduced"), (0.33, 0.2, "partly"), (0.4, 0.9, "not reproduced")]
)
def test_pure_bfloat16(fvu, lost, word):
    values = {("bf16_parameters", "fvu"): fvu, (METHOD, "fvu"): 0.30, ("bf16_parameters", "lost_update_share"): lost}
    entry = judged(made(values), "C35")
    assert entry["verdict"] == word
    assert entry["readings"][0]["estimate"] == pytest.approx(fvu / 0.3 - 1, abs=1e-3)
    assert reading(entry, "lost logit updates")["estimate"] == pytest.approx(lost)
    gap = judged(without(made(values), metric="lost_update_share"), "C35")
    assert gap["reason"] == "no 'lost_update_share' of variant 'bf16_parameters'"


# C36


def wide(fvu, l0=100.0, wide_l0=(150.0, 80.0), **how):
    """FVU at k = d, and at 8 d with two L1 coefficients; L0 of each."""
    variants = (METHOD, "wide_8", "wide_8_sparser")
    values = {(v, "fvu"): x for v, x in zip(variants, fvu, strict=True)}
    values |= {(v, "l0"): x for v, x in zip(variants, (l0, *wide_l0), strict=True)}
    return made(values, spread=how.pop("spread", 0.001), **how)


@pytest.mark.parametrize(("wide_fvu", "word"), [(0.295, "reproduced"), (0.26, "partly"), (0.15, "not reproduced")])
def test_what_a_wider_dictionary_gains(wide_fvu, word):
    entry = judged(wide((0.3, wide_fvu, wide_fvu)), "C36")
    assert entry["verdict"] == word
    assert entry["readings"][0]["estimate"] == pytest.approx(1 - wide_fvu / 0.3, abs=2e-3)


def test_the_wider_dictionary_is_taken_at_equal_l0():
    """log FVU is linear in log L0: FVU 0.2 at L0 200 and 0.4 at 50 is the geometric mean, 0.2828, at 100."""
    entry = judged(wide((0.3, 0.2, 0.4), wide_l0=(200.0, 50.0), spread=0.0), "C36")
    assert entry["readings"][0]["estimate"] == pytest.approx(1 - np.sqrt(0.2 * 0.4) / 0.3, rel=1e-5)


def test_width_needs_both_wide_dictionaries_at_different_l0():
    data = wide((0.3, 0.2, 0.2))
    assert "add wide_8 and wide_8_sparser" in judged(without(data, variant="wide_8_sparser"), "C36")["reason"]
    assert "same L0" in judged(wide((0.3, 0.2, 0.2), wide_l0=(80.0, 80.0), spread=0.0), "C36")["reason"]
    assert judged(without(data, metric="l0"), "C36")["reason"] == "no 'l0' of variant 'temporallens'"
