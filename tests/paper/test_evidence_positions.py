"""C29 and C37: position curves of L0, and of weights and errors, with planted ranges and overlaps."""

import numpy as np
import pytest
from scipy.stats import hypergeom

from tests.paper.planted import MAIN, SEEDS, T, judged, planted, reading, without

METHOD, STANDARD, SHUFFLED, INPUT = "temporallens", "standard", "shuffled_positions", "activations"
LAYERS = ("3", "8")


def curves(values: dict, seeds=SEEDS, spread=0.01):
    """(variant, metric) -> a curve over positions 0..127; its deviations from its mean differ by run."""
    rng, rows = np.random.default_rng(0), []
    for (variant, metric), curve in values.items():
        for layer in LAYERS:
            noise = spread * rng.standard_normal(len(seeds))
            for seed, deviation in zip([-1] if variant == INPUT else seeds, noise - noise.mean(), strict=False):
                run = curve.mean() + (curve - curve.mean()) * (1 + deviation)
                rows += [("test", "stand-in", layer, variant, seed, t, metric, v, 1, "") for t, v in enumerate(run)]
    return planted({"positions": rows}, LAYERS, seeds)


# C29


def l0_from(top: float) -> np.ndarray:
    """100 active features, and at text positions 4 to 7 `top` times as many; BOS, which is not text, has 1."""
    t = np.arange(T)
    return np.where((t >= 4) & (t < 8), 100.0 * top, np.where(t == 0, 1.0, 100.0))


def usage(method, standard, shuffled):
    variants = zip((METHOD, STANDARD, SHUFFLED), (method, standard, shuffled), strict=True)
    return curves({(variant, "l0"): l0_from(top) for variant, top in variants}, spread=0.001)


@pytest.mark.parametrize(
    ("method", "standard", "shuffled", "word", "attributable"),
    [
        (1.5, 1.2, 1.2, "reproduced", "yes"),
        (1.5, 1.2, 1.5, "present without the method", "no"),  # training on shuffled positions shows it too
        (1.5, 1.2, 1.3, "present without the method", "no"),  # and here a part of it
        (1.2, 1.5, 1.5, "present without the method", "no"),  # varies, but less than the standard dictionary's
        (1.01, 1.01, 1.01, "not reproduced", "not applicable"),
    ],
)
def test_how_much_feature_usage_varies(method, standard, shuffled, word, attributable):
    entry = judged(usage(method, standard, shuffled), "C29")
    assert (entry["verdict"], entry["attributable"]) == (word, attributable), entry["attributable_reason"]
    assert entry["readings"][0]["estimate"] == pytest.approx(method - 1, abs=2e-3)
    difference = reading(entry, f"{METHOD} - {STANDARD}", "differences")
    assert difference["estimate"] == pytest.approx(method - standard, abs=4e-3)


def test_usage_needs_l0_at_every_position_and_a_standard_dictionary():
    data = usage(1.5, 1.2, 1.2)
    assert judged(without(data, variant=STANDARD), "C29")["reason"] == "no 'l0' of variant 'standard'"
    gap = judged(without(data, variant=METHOD, position=7, layer="8", seed=1), "C29")
    assert gap["reason"] == "no 'l0' of variant 'temporallens' at layer 8, seed 1, position 7"
    entry = judged(without(data, variant=SHUFFLED), "C29")
    assert (entry["verdict"], entry["attributable"]) == ("reproduced", "not assessed")
    data = usage(1.5, 1.2, 1.2)
    rows = data.tables["positions"]
    rows.loc[(rows["position"] == 9) & (rows["variant"] == METHOD), "value"] = 0.0
    assert judged(data, "C29")["readings"][0]["estimate"] == pytest.approx(150 / (100 * 24 / 25) - 1, abs=2e-3)
    data = usage(1.5, 1.2, 1.2)
    rows = data.tables["positions"]
    rows.loc[(rows["position"] >= 8) & (rows["position"] <= 32) & (rows["variant"] == METHOD), "value"] = 0.0
    assert "no feature fires in some position bucket" in judged(data, "C29")["reason"]


def test_the_noise_of_single_positions_is_no_range():
    """Of 127 positions with 2 % noise each the range is about 10 %, of the long buckets' means it is not."""
    rng = np.random.default_rng(0)
    data = curves({(variant, "l0"): 100 * (1 + 0.02 * rng.standard_normal(T)) for variant in MAIN})
    assert judged(data, "C29")["readings"][0]["estimate"] < 0.04
    rows = data.tables["positions"]
    text = rows[(rows["variant"] == METHOD) & (rows["seed"] == 0) & (rows["layer"] == "3") & (rows["position"] > 0)]
    assert text["value"].max() / text["value"].min() - 1 > 0.08


def test_a_control_whose_usage_varies_too_decides_where_the_difference_is_too_wide():
    entry = judged(usage(1.5, 1.5, 1.5), "C29")
    assert entry["attributable"] == "no" and "(standard shows it too: range" in entry["attributable_reason"]


def test_weights_on_the_error_alone_stand_beside_usage():
    data = curves({(v, "l0"): l0_from(1.5) for v in (*MAIN, "recon_only_weights")})
    assert abs(reading(judged(data, "C29"), f"{METHOD} - recon_only_weights", "context")["estimate"]) < 0.02


# C37


SCATTERED = np.random.default_rng(0).permutation(np.arange(1, T))


def peaks(first: int) -> np.ndarray:
    """A curve whose 16 largest values are at 16 scattered positions, others for other `first`."""
    t = np.arange(T)
    return 1.0 + 1e-3 * np.sin(t) + np.isin(t, SCATTERED[first : first + 16])


def challenged(common: int, untrained=100, **how):
    """Weights whose top 16 positions share `common` with the top 16 of the standard dictionaries' errors; those of the
    input's deviation are the 16 from `untrained` on."""
    values = {(STANDARD, "mse"): peaks(40), (METHOD, "position_weight"): peaks(40 + 16 - common)}
    return curves(values | {(INPUT, "sq_deviation"): peaks(untrained)}, **how)


def smooth(first: int) -> np.ndarray:
    """A curve whose 16 largest values are neighbours."""
    t = np.arange(T)
    return 1.0 + 1e-3 * np.sin(t) + ((t >= first) & (t < first + 16))


@pytest.mark.parametrize(
    ("common", "word"), [(16, "reproduced"), (12, "reproduced"), (11, "partly"), (6, "partly"), (2, "not reproduced")]
)
def test_how_many_challenging_positions_are_found(common, word):
    entry = judged(challenged(common), "C37")
    assert (entry["verdict"], entry["readings"][0]["estimate"]) == (word, common)
    top_w, top_e = (set(SCATTERED[first : first + 16] - 1) for first in (56 - common, 40))
    shifted = [len(top_w & {(t + k) % 127 for t in top_e}) for k in range(127)]
    assert entry["p"] == pytest.approx(np.mean(np.array(shifted) >= common), rel=1e-5)
    assert f"too liberal: {hypergeom.sf(common - 1, 127, 16, 16):.2g}" in entry["readings"][0]["detail"]
    assert entry["attributable"] == ("yes" if word != "not reproduced" else "not applicable")
    assert entry["minimum_detectable_effect"] == 0  # the overlap is the same for every pair of seeds


def test_neighbours_that_agree_by_chance_are_not_found():
    """10 of 16 positions in common are next to impossible by chance, unless the 16 are one run of neighbours."""
    values = {(STANDARD, "mse"): smooth(40), (METHOD, "position_weight"): smooth(46)}
    entry = judged(curves(values), "C37")
    assert hypergeom.sf(9, 127, 16, 16) < 1e-6 and entry["p"] == pytest.approx(13 / 127, rel=1e-5)
    assert entry["verdict"] == "not reproduced"


def test_the_errors_are_those_of_other_seeds():
    """Weights that follow the error of their own seed alone find nothing."""
    data = challenged(16, seeds=(0, 1, 2))
    rows = data.tables["positions"]
    for seed, first in enumerate((20, 50, 80)):
        for variant, metric in ((STANDARD, "mse"), (METHOD, "position_weight")):
            here = (rows["variant"] == variant) & (rows["metric"] == metric) & (rows["seed"] == seed)
            rows.loc[here, "value"] = np.tile(peaks(first), len(LAYERS))
    entry = judged(data, "C37")
    assert entry["readings"][0]["estimate"] == 0 and entry["verdict"] == "not reproduced"


def test_positions_that_any_weights_find_are_not_attributed():
    assert judged(challenged(16, untrained=40), "C37")["verdict"] == "present without the method"
    entry = judged(without(challenged(16), variant=INPUT), "C37")
    assert (entry["verdict"], entry["attributable"]) == ("reproduced", "not assessed")


def test_overlap_needs_seeds_positions_and_weights_that_vary():
    assert "no other seed's error" in judged(challenged(16, seeds=(0,)), "C37")["reason"]
    two = judged(challenged(16, seeds=(0, 1)), "C37")  # by its p; one pair has no spread
    assert (two["verdict"], two["attributable"]) == ("partly", "not assessed")
    assert judged(without(challenged(16), variant=STANDARD), "C37")["reason"] == "no 'mse' of variant 'standard'"
    flat = curves({(STANDARD, "mse"): peaks(40), (METHOD, "position_weight"): np.ones(T)})
    assert judged(flat, "C37")["reason"] == "the position weights of variant 'temporallens' do not vary"
