"""Per-claim measurements: verdicts on tables with planted effects, one per kind of outcome."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from paper.evidence import difficulty, early_late
from tests.paper.planted import MAIN, by_itself, judged, plant, reading


@pytest.fixture(autouse=True)
def fewer_draws(monkeypatch):
    """Bootstraps of a size that a test needs."""
    monkeypatch.setattr(early_late, "DRAWS", 1000)
    monkeypatch.setattr(difficulty, "DRAWS", 200)


# C01


def test_a_planted_effect_of_the_method_is_reproduced_and_attributed():
    entry = judged(plant(0.15), "C01")
    first = entry["readings"][0]
    assert (entry["verdict"], entry["attributable"], entry["status"]) == ("reproduced", "yes", "measured")
    assert first["estimate"] == pytest.approx(0.15, abs=0.01)
    assert first["low"] < 0.15 < first["high"] and first["low"] > 0
    assert (first["n_seeds"], first["n_blocks"]) == (5, 12)
    assert {f"raw error, layer {layer}" for layer in ("3", "8")} <= {r["name"] for r in entry["readings"]}
    assert reading(entry, "temporallens - standard", "differences")["estimate"] == pytest.approx(0.15, abs=0.01)
    assert entry["p"] < 1e-3 and 0 < entry["minimum_detectable_effect"] < 0.15


def test_an_effect_that_the_plain_dictionary_shows_is_not_attributed():
    entry = judged(plant(0.15, standard=0.15, shuffled=0.15), "C01")
    assert (entry["verdict"], entry["attributable"]) == ("present without the method", "no")
    assert (
        "(standard has as much of it" in entry["attributable_reason"]
        or "(standard shows" in entry["attributable_reason"]
    )


def test_an_effect_without_position_information_is_not_attributed():
    entry = judged(plant(0.15, standard=0.0, shuffled=0.15), "C01")
    assert (entry["verdict"], entry["attributable"]) == ("present without the method", "no")
    half = judged(plant(0.15, standard=0.0, shuffled=0.07), "C01")
    assert half["attributable"] == "no" and "without position information" in half["attributable_reason"]


@pytest.mark.parametrize(
    ("delta", "noise", "word"),
    [
        (0.30, 0.003, "partly"),
        (0.0, 0.003, "not reproduced"),
        (-0.15, 0.003, "contradicted"),
        (0.1, 0.3, "inconclusive"),
    ],
)
def test_other_outcomes_of_a_band(delta, noise, word):
    entry = judged(plant(delta, noise=noise), "C01")
    assert entry["verdict"] == word
    assert entry["attributable"] == {"partly": "yes", "inconclusive": "not assessed"}.get(word, "not applicable")


def test_documents_widen_the_interval():
    few, many = (judged(plant(n_blocks=n, noise=1e-4), "C01")["readings"][0] for n in (3, 40))
    assert few["high"] - few["low"] > 2 * (many["high"] - many["low"])


def test_early_and_late_swapped_would_be_noticed(monkeypatch):
    swapped = early_late._contrast

    def mutant(data, variant, *, early=None, late=None, **how):
        return swapped(data, variant, early=late or data.late, late=early or data.early, **how)

    monkeypatch.setattr(early_late, "_contrast", mutant)
    assert judged(plant(0.15), "C01")["verdict"] == "contradicted"


def test_readings_by_hand():
    data = plant(0.15, noise=0.0, own=0.0)
    entry = judged(data, "C01")
    positions = data.tables["positions"]
    run = positions[(positions["variant"] == "temporallens") & (positions["seed"] == 0) & (positions["layer"] == "3")]
    mse = run[run["metric"] == "mse"].sort_values("position")["value"].to_numpy()
    given = {
        "raw error": 1 - mse[1:33].mean() / mse[33:].mean(),
        "BOS counted as the first position": 1 - mse[0:32].mean() / mse[32:].mean(),
        "positions 4 to T/4": 1 - mse[4:33].mean() / mse[33:].mean(),
        "positions 8 to T/4": 1 - mse[8:33].mean() / mse[33:].mean(),
    }
    for name, value in given.items():
        assert reading(entry, name)["estimate"] == pytest.approx(value, abs=2e-6), name
    fvu = reading(entry, "FVU by the overall mean")["estimate"]
    assert fvu == pytest.approx(0.15, abs=1e-6)  # the input's own curve divided out, only the plant is left
    assert reading(entry, "squared deviation of the input", "context")["n_seeds"] is None
    assert reading(entry, "BOS counted as the first position")["n_blocks"] is None


def test_tables_of_different_runs_are_not_judged():
    data = plant()
    blocks = data.tables["blocks"]
    blocks.loc[(blocks["variant"] == "temporallens") & (blocks["bucket"] == "1-3"), "value"] *= 2
    with pytest.raises(ValueError, match="`positions` and `blocks` disagree"):
        judged(data, "C01")


def test_a_row_given_twice_is_an_error():
    data = plant()
    twice = pd.concat([data.tables["positions"]] * 2)
    with pytest.raises(ValueError, match="is there twice at"):
        judged(dataclasses.replace(data, tables=data.tables | {"positions": twice}), "C01")


# C03, C04


def test_sparsity_in_the_band_is_reproduced_and_attributed_only_if_controls_miss_it():
    same = judged(plant(zeros=dict.fromkeys(MAIN, 0.73)), "C03")
    assert (same["verdict"], same["attributable"]) == ("present without the method", "no")
    alone = judged(plant(zeros={"temporallens": 0.73, "standard": 0.95, "shuffled_positions": 0.95}), "C03")
    assert (alone["verdict"], alone["attributable"]) == ("reproduced", "yes")
    assert "equivalence to the band is shown" in alone["reason"]
    assert alone["readings"][0]["estimate"] == pytest.approx(0.73, abs=0.003)


def test_sparsity_that_only_another_definition_meets_is_underspecified():
    entry = judged(plant(sparsity={"gini": 0.74}), "C03")
    assert entry["verdict"] == "underspecified"
    assert reading(entry, "zero fraction")["verdict"] == "not reproduced"
    assert reading(entry, "Gini")["verdict"] == "reproduced"
    assert judged(plant(), "C03")["verdict"] == "not reproduced"


def test_stability_is_judged_over_positions_and_over_training():
    """A tenth of the features is active: the range over it is ten times that of the share of zeros."""
    assert judged(plant(), "C04")["before"]["verdict"] == "reproduced"
    tilted = judged(plant(zero_slope=0.03), "C04")
    assert reading(tilted, "range over training")["verdict"] == "reproduced"
    assert tilted["layers"][0]["reason"].startswith("partly: ")  # and the controls, planted alike, show it too
    assert tilted["before"]["verdict"] == "reproduced"  # 0.03 of all features
    assert reading(tilted, "range over positions")["estimate"] == pytest.approx(
        0.3, rel=0.05
    )  # 126 steps of 0.03 / 126
    drifting = judged(plant(zero_drift=0.30), "C04")
    assert (drifting["verdict"], reading(drifting, "range over positions")["verdict"]) == (
        "not reproduced",
        "reproduced",
    )
    assert reading(drifting, "range over training")["estimate"] == pytest.approx(3, rel=0.05)  # steps 500 to 999 only


# C09


def test_weights_against_their_own_error_hold_by_construction():
    entry = judged(plant(), "C09a")
    assert entry["verdict"] == "holds by construction"
    assert entry["readings"][0]["estimate"] > 0.999
    assert entry["attributable"] == "not applicable"


def test_independent_difficulty_uses_other_runs():
    shared = judged(plant(delta=0.0, own=0.02), "C09b")
    assert (shared["before"]["verdict"], shared["before"]["attributable"]) == ("reproduced", "yes")
    assert shared["verdict"] == "present without the method"  # the input deviates in the same way
    mixed = plant(delta=0.0, own=0.25)
    assert judged(mixed, "C09a")["readings"][0]["estimate"] > 0.999  # each run follows its own error exactly
    entry = judged(mixed, "C09b")
    assert entry["before"]["verdict"] == "partly" and 0.1 < entry["readings"][0]["estimate"] < 0.6


def test_independent_difficulty_by_hand():
    data = plant(layers=("3",), seeds=(0, 1, 2))
    pick = data.tables["positions"][data.tables["positions"]["position"] >= 1]
    curves = pick.pivot_table(index="position", columns=["variant", "metric", "seed"], values="value")
    z = [
        np.arctanh(np.corrcoef(curves["temporallens", "position_weight", s], curves["standard", "mse", other])[0, 1])
        for s in range(3) for other in range(3) if other != s
    ]  # fmt: skip
    assert judged(data, "C09b")["readings"][0]["estimate"] == pytest.approx(np.tanh(np.mean(z)), rel=1e-5)


def test_weights_that_fall_with_the_error_contradict_even_what_holds_by_construction():
    data = plant()
    weights = data.tables["positions"]["metric"] == "position_weight"
    data.tables["positions"].loc[weights, "value"] = 2 - data.tables["positions"].loc[weights, "value"]
    assert judged(data, "C09a")["verdict"] == "contradicted"
    assert by_itself(judged(data, "C09b")) == "contradicted"


# C26, C27, C28


@pytest.mark.parametrize(
    ("claim", "broken"),
    [("C26", {"max_decoder_norm_error": 0.01}), ("C27", {"tau_last": 0.5}), ("C27", {"tau_loglinearity_error": 0.3}),
     ("C28", {"weight_sum_error": 0.1})],
)  # fmt: skip
def test_properties_of_the_implementation(claim, broken):
    assert judged(plant(), claim)["verdict"] == "implemented"
    entry = judged(plant(invariants=broken), claim)
    assert entry["verdict"] == "not reproduced"
    assert entry["readings"][0]["low"] is None and entry["attributable"] == "not applicable"


def test_one_bad_run_of_any_variant_is_enough():
    data = plant()
    summary = data.tables["summary"]
    rows = (summary["metric"] == "max_decoder_norm_error") & (summary["variant"] == "standard")
    summary.loc[rows.idxmax(), "value"] = 0.5
    entry = judged(data, "C26")
    assert entry["verdict"] == "not reproduced"
    assert reading(entry, "temporallens")["verdict"] == "implemented"
