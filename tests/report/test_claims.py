"""Claims: verdicts on tables with planted effects, one per kind of outcome, and what happens when something is missing."""

import dataclasses
import hashlib
import json

import numpy as np
import pandas as pd
import pytest

from lens import config
from lens.config import ROOT, ConfigError, Study
from lens.digests import NOTEBOOKS
from lens.measure.verdicts import WORDS, Verdict, attribute_by_contrast, attribute_by_control, judge
from lens.report import claims, tables
from lens.report.evidence import difficulty, early_late
from lens.report.evidence.measures import MEASURES
from lens.report.evidence.readings import Measured
from lens.report.figures.gallery import FIGURES

T, BUCKETS = 128, {"0": (0, 0), "1-3": (1, 3), "4-7": (4, 7), "8-32": (8, 32), "33-127": (33, 127)}
MAIN = ("standard", "temporallens", "shuffled_positions")
REGISTRY = claims.load_registry()


@pytest.fixture(autouse=True)
def fewer_draws(monkeypatch):
    """Bootstraps of a size that a test needs."""
    monkeypatch.setattr(early_late, "DRAWS", 1000)
    monkeypatch.setattr(difficulty, "DRAWS", 200)


def plant(
    delta=0.15, *, standard=0.0, shuffled=0.0, layers=("3", "8"), seeds=(0, 1, 2, 3, 4), noise=0.003, n_blocks=12,
    zeros=None, sparsity=None, zero_slope=0.0, zero_drift=0.0, own=0.02, invariants=None,
) -> Measured:  # fmt: skip
    """Tables with a known early advantage, sparsity, difficulty curve and invariants.

    Args:
        delta, standard, shuffled: 1 - e(early) / e(late) of each variant; `noise` is its spread over seeds.
        zeros: variant -> share of zeros; `zero_slope`, `zero_drift`: its change over positions and over training.
        own: spread of an error curve that belongs to one run alone (its weights follow it, other runs do not).
    """
    rng = np.random.default_rng(1)
    deltas = dict(zip(MAIN, (standard, delta, shuffled), strict=True))
    zeros, sparsity, invariants = zeros or dict.fromkeys(MAIN, 0.9), sparsity or {}, invariants or {}
    t = np.arange(T)
    early, late = (t >= 1) & (t <= 32), t > 32
    tilt = 0.05 * rng.standard_normal(n_blocks)
    tilt -= tilt.mean()  # documents differ in their early errors, not on average
    rows: dict[str, list] = {"positions": [], "summary": [], "blocks": [], "history": []}

    def curve(key, metric, values):
        rows["positions"] += [(*key, i, metric, v, 60 * n_blocks, "") for i, v in enumerate(values)]

    def blocks(key, metric, values):
        for b in range(n_blocks):
            here = values * np.where(early, 1 + tilt[b], 1) * 60
            rows["blocks"] += [
                (*key, f"play {b:02d}", name, metric, here[i : j + 1].sum(), 60 * (j - i + 1), "")
                for name, (i, j) in BUCKETS.items()
            ]

    for layer in layers:
        shape = np.exp(0.2 * np.sin(t / 5) + 0.1 * np.cos(t / 11))  # which positions are difficult, for every run
        for where in (early, late):
            shape[where] /= shape[where].mean()
        key = ("test", "stand-in", layer, "activations", -1)
        for metric in ("sq_norm", "sq_deviation", "sq_deviation_position"):
            curve(key, metric, shape)
            blocks(key, metric, shape)
        for variant in MAIN:
            for seed in seeds:
                key = ("test", "stand-in", layer, variant, seed)
                level = np.where(early, 1 - deltas[variant] + noise * rng.standard_normal(), 1.0)
                alone = np.exp(own * rng.standard_normal(T))
                for where in (early, late):
                    alone[where] *= 1 / (alone * shape)[where].mean()
                error = 0.3 * shape * alone * level
                curve(key, "mse", error)
                blocks(key, "sq_error", error)
                share = zeros[variant] + 0.002 * rng.standard_normal()
                curve(key, "zero_fraction", share + zero_slope * (t - T / 2) / (T - 2))
                rows["history"] += [
                    (*key, step, "zero_fraction", share + zero_drift * (step - 500) / 499) for step in (0, 500, 750, 999)
                ]
                if variant != "standard":
                    weight = error if variant == "temporallens" else 1 + 0.01 * rng.standard_normal(T)
                    curve(key, "position_weight", weight / weight[1:].mean())
                measures = {"zero_fraction": share, "hoyer": 0.5, "gini": 0.4, "treves_rolls": 0.3} | sparsity
                measures |= {"max_decoder_norm_error": 2e-7, "weight_sum_error": 1e-5}
                measures |= {"tau_first": 5.0, "tau_last": 0.1, "tau_loglinearity_error": 1e-7} | invariants
                rows["summary"] += [(*key, "text", metric, value, 1, "") for metric, value in measures.items()]
    label = ["study", "model", "layer", "variant", "seed"]
    columns = {
        "positions": [*label, "position", "metric", "value", "n", "unit"],
        "summary": [*label, "positions", "metric", "value", "n", "unit"],
        "blocks": [*label, "block", "bucket", "metric", "value", "n", "unit"],
        "history": [*label, "step", "metric", "value"],
    }
    return Measured(layers, seeds, T, **{name: pd.DataFrame(rows[name], columns=columns[name]) for name in columns})


def without(data: Measured, **where) -> Measured:
    """The same tables without the rows where every column has the value given."""

    def keep(table: pd.DataFrame) -> pd.DataFrame:
        drop = pd.Series(True, index=table.index)
        for column, value in where.items():
            drop &= (table[column] == value) if column in table else False
        return table[~drop]

    names = ("positions", "summary", "blocks", "history")
    return dataclasses.replace(data, **{name: keep(getattr(data, name)) for name in names})


def judged(data: Measured, claim_id: str, **how) -> dict:
    """The entry of one claim."""
    registry = [claim for claim in REGISTRY if claim["id"] == claim_id]
    return claims.judge_all(registry, data, on_paper_model=how.pop("on_paper_model", False))[0]


def reading(entry: dict, name: str, kind: str = "readings") -> dict:
    return next(r for r in entry[kind] if r["name"] == name)


# The registry


def test_registry_holds_every_claim_once_and_measures_only_registered_ones():
    ids = [claim["id"] for claim in REGISTRY]
    numbers = [f"C{i:02d}" for i in range(1, 38)]
    assert ids == [*numbers[:8], "C09a", "C09b", *numbers[9:]]
    assert set(MEASURES) <= set(ids)


def test_every_quote_is_in_the_paper():
    paper = ROOT.parent / "shared" / "paper" / "temporallens.txt"
    if not paper.exists():
        pytest.skip("the paper's text is not part of the package")
    text = " ".join(paper.read_text(encoding="utf-8").split())
    assert [claim["id"] for claim in REGISTRY if " ".join(claim["quote"].split()) not in text] == []


def test_evidence_names_real_notebooks_and_figures():
    for claim in REGISTRY:
        assert claim["evidence"]["notebook"] in {*NOTEBOOKS, "none"}, claim["id"]
        assert claim["evidence"]["figure"] in {*FIGURES, "none"}, claim["id"]


def test_registered_readings_and_controls_are_the_measured_ones():
    data = plant()
    for claim in REGISTRY:
        if claim["id"] not in MEASURES:
            continue
        evidence = MEASURES[claim["id"]](data)
        names = [r.name for r in evidence.readings]
        assert names[: len(claim["readings"])] == claim["readings"], claim["id"]
        how = claim["attribution"]
        if how == "none":
            continue
        if how["kind"] == "control":
            assert list(evidence.controls) == how["controls"], claim["id"]
        else:
            assert [f"temporallens - {c}" for c in how["controls"]] == list(evidence.differences)[:2], claim["id"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("rule"), r"claim C01: missing or unknown fields \['rule'\]"),
        (lambda c: c.update(verdict="reproduced"), r"unknown fields \['verdict'\]"),
        (lambda c: c.update(kind="vague"), "kind 'vague' is none of"),
        (lambda c: c.update(rule={"kind": "band", "low": 1}), "claim C01: rule .* is none of"),
    ],
)
def test_a_faulty_registry_is_refused_with_the_claim_named(tmp_path, change, message):
    claim = json.loads(json.dumps(REGISTRY[0]))
    change(claim)
    path = tmp_path / "claims.yaml"
    path.write_text(json.dumps({"claims": [claim]}))
    with pytest.raises(ConfigError, match=message):
        claims.load_registry(path)


# Rules


BAND = {"kind": "band", "low": 0.11, "high": 0.19, "no_effect": 0}
SHARE = {"kind": "band", "low": 0.68, "high": 0.78, "no_effect": "none"}
OPEN = {"kind": "band", "low": 0.77, "high": "none", "no_effect": 0}
CEILING = {"kind": "ceiling", "reproduced": 0.05, "partly": 0.15}


@pytest.mark.parametrize(
    ("rule", "estimate", "low", "high", "word"),
    [
        (BAND, 0.15, 0.13, 0.17, "reproduced"),
        (BAND, 0.15, 0.01, 0.29, "reproduced"),
        (BAND, 0.11, 0.10, 0.12, "reproduced"),
        (BAND, 0.30, 0.28, 0.32, "partly"),
        (BAND, 0.05, 0.04, 0.06, "partly"),
        (BAND, 0.01, -0.02, 0.04, "not reproduced"),
        (BAND, -0.20, -0.22, -0.18, "contradicted"),
        (BAND, 0.15, -0.05, 0.35, "inconclusive"),
        (BAND, 0.02, -0.20, 0.24, "inconclusive"),
        (BAND, 0.15, np.nan, np.nan, "inconclusive"),
        (SHARE, 0.73, 0.72, 0.74, "reproduced"),
        (SHARE, 0.90, 0.89, 0.91, "not reproduced"),
        (SHARE, 0.80, 0.77, 0.83, "inconclusive"),
        (OPEN, 0.95, 0.90, 0.98, "reproduced"),
        (OPEN, 0.40, 0.30, 0.50, "partly"),
        (CEILING, 0.02, 0.01, 0.03, "reproduced"),
        (CEILING, 0.02, -0.02, 0.06, "partly"),
        (CEILING, 0.20, 0.16, 0.24, "not reproduced"),
        (CEILING, 0.10, 0.03, 0.17, "inconclusive"),
        ({"kind": "tolerance", "target": 0, "max": 1e-4}, 9e-5, np.nan, np.nan, "implemented"),
        ({"kind": "tolerance", "target": 0, "max": 1e-4}, 2e-4, np.nan, np.nan, "not reproduced"),
        ({"kind": "tolerance", "target": 0, "max": 1e-4}, np.nan, np.nan, np.nan, "not reproduced"),
    ],
)
def test_rules(rule, estimate, low, high, word):
    assert judge(rule, estimate, low, high).word == word
    assert word in WORDS


def test_a_registered_test_has_to_agree_with_the_interval():
    assert judge(OPEN, 0.9, 0.5, 0.98, p=0.01).word == "reproduced"
    assert judge(OPEN, 0.9, 0.5, 0.98, p=0.2) == Verdict(
        "inconclusive", "the interval excludes 0, the registered test does not (p = 0.2)"
    )


def test_attribution_needs_every_control_to_fall_short():
    left = "shuffled_positions - standard"
    clear, none, unknown = (0.1, 0.2), (-0.01, 0.02), (np.nan, np.nan)
    assert attribute_by_contrast({"a - standard": clear, "a - shuffled": clear, left: none})[0] == "yes"
    assert attribute_by_contrast({"a - standard": none, "a - shuffled": clear, left: none})[0] == "no"
    assert attribute_by_contrast({"a - standard": clear, "a - shuffled": none, left: none})[0] == "no"
    assert attribute_by_contrast({"a - standard": clear, "a - shuffled": clear, left: clear})[0] == "no"
    assert attribute_by_contrast({"a - standard": clear, "a - shuffled": unknown, left: none})[0] == "not assessed"
    words = {word: Verdict(word, "") for word in WORDS}
    assert attribute_by_control({"standard": words["not reproduced"]})[0] == "yes"
    assert attribute_by_control({"standard": words["inconclusive"], "b": words["partly"]})[0] == "no"
    assert attribute_by_control({"standard": words["inconclusive"], "b": words["not reproduced"]})[0] == "not assessed"


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
    assert (entry["verdict"], entry["attributable"]) == ("reproduced", "no")
    assert "temporallens - standard" in entry["attributable_reason"]


def test_an_effect_without_position_information_is_not_attributed():
    entry = judged(plant(0.15, standard=0.0, shuffled=0.15), "C01")
    assert (entry["verdict"], entry["attributable"]) == ("reproduced", "no")
    half = judged(plant(0.15, standard=0.0, shuffled=0.07), "C01")
    assert half["attributable"] == "no" and "without position information" in half["attributable_reason"]


@pytest.mark.parametrize(
    ("delta", "noise", "word"),
    [(0.30, 0.003, "partly"), (0.0, 0.003, "not reproduced"), (-0.15, 0.003, "contradicted"), (0.1, 0.3, "inconclusive")],
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
    positions = data.positions
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
    data.blocks.loc[(data.blocks["variant"] == "temporallens") & (data.blocks["bucket"] == "1-3"), "value"] *= 2
    with pytest.raises(ValueError, match="`positions` and `blocks` disagree"):
        judged(data, "C01")


def test_a_row_given_twice_is_an_error():
    data = plant()
    with pytest.raises(ValueError, match="is there twice at"):
        judged(dataclasses.replace(data, positions=pd.concat([data.positions, data.positions])), "C01")


# C03, C04


def test_sparsity_in_the_band_is_reproduced_and_attributed_only_if_controls_miss_it():
    same = judged(plant(zeros=dict.fromkeys(MAIN, 0.73)), "C03")
    assert (same["verdict"], same["attributable"]) == ("reproduced", "no")
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
    assert judged(plant(), "C04")["verdict"] == "reproduced"
    tilted = judged(plant(zero_slope=0.10), "C04")
    assert (tilted["verdict"], reading(tilted, "range over training")["verdict"]) == ("partly", "reproduced")
    assert reading(tilted, "range over positions")["estimate"] == pytest.approx(0.10)  # 126 steps of 0.1 / 126
    drifting = judged(plant(zero_drift=0.30), "C04")
    assert (drifting["verdict"], reading(drifting, "range over positions")["verdict"]) == ("not reproduced", "reproduced")
    assert reading(drifting, "range over training")["estimate"] == pytest.approx(0.30)  # steps 500 to 999 only


# C09


def test_weights_against_their_own_error_hold_by_construction():
    entry = judged(plant(), "C09a")
    assert entry["verdict"] == "holds by construction"
    assert entry["readings"][0]["estimate"] > 0.999
    assert entry["attributable"] == "not applicable"


def test_independent_difficulty_uses_other_runs():
    shared = judged(plant(delta=0.0, own=0.02), "C09b")
    assert (shared["verdict"], shared["attributable"]) == ("reproduced", "yes")
    mixed = plant(delta=0.0, own=0.25)
    assert judged(mixed, "C09a")["readings"][0]["estimate"] > 0.999  # each run follows its own error exactly
    entry = judged(mixed, "C09b")
    assert entry["verdict"] == "partly" and 0.1 < entry["readings"][0]["estimate"] < 0.6


def test_independent_difficulty_by_hand():
    data = plant(layers=("3",), seeds=(0, 1, 2))
    pick = data.positions[data.positions["position"] >= 1]
    curves = pick.pivot_table(index="position", columns=["variant", "metric", "seed"], values="value")
    z = [
        np.arctanh(np.corrcoef(curves["temporallens", "position_weight", s], curves["standard", "mse", other])[0, 1])
        for s in range(3) for other in range(3) if other != s
    ]  # fmt: skip
    assert judged(data, "C09b")["readings"][0]["estimate"] == pytest.approx(np.tanh(np.mean(z)), rel=1e-5)


def test_weights_that_fall_with_the_error_contradict_even_what_holds_by_construction():
    data = plant()
    weights = data.positions["metric"] == "position_weight"
    data.positions.loc[weights, "value"] = 2 - data.positions.loc[weights, "value"]
    assert judged(data, "C09a")["verdict"] == "contradicted"
    assert judged(data, "C09b")["verdict"] == "contradicted"


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
    rows = (data.summary["metric"] == "max_decoder_norm_error") & (data.summary["variant"] == "standard")
    data.summary.loc[rows.idxmax(), "value"] = 0.5
    entry = judged(data, "C26")
    assert entry["verdict"] == "not reproduced"
    assert reading(entry, "temporallens")["verdict"] == "implemented"


# What is missing


def test_one_seed_is_inconclusive_with_the_reason():
    data = plant(seeds=(0,))
    for claim in ("C01", "C03", "C04", "C09a"):
        entry = judged(data, claim)
        assert (entry["verdict"], entry["readings"][0]["low"]) == ("inconclusive", None), claim
        assert "seed" in entry["reason"] and entry["readings"][0]["estimate"] is not None
        assert entry["attributable"] in ("not assessed", "not applicable")
    other = judged(data, "C09b")
    assert other["verdict"] == "not measured in this study" and "no other seed" in other["reason"]
    assert judged(data, "C26")["verdict"] == "implemented"
    assert judged(plant(seeds=(0, 1)), "C09b")["verdict"] == "inconclusive"  # two seeds: no pair is left to leave out


def test_a_missing_control_leaves_the_verdict_and_not_the_attribution():
    data = without(plant(0.15), variant="standard")
    entry = judged(data, "C01")
    assert (entry["verdict"], entry["attributable"]) == ("reproduced", "not assessed")
    assert "no 'mse' of variant 'standard'" in entry["attributable_reason"]
    assert judged(data, "C09b")["verdict"] == "not measured in this study"


def test_a_missing_method_is_said_and_nothing_is_dropped():
    entries = claims.judge_all(REGISTRY, without(plant(), variant="temporallens"), on_paper_model=False)
    assert [e["id"] for e in entries] == [c["id"] for c in REGISTRY]
    for entry in entries:
        expected = "not measured in this study" if entry["id"] in MEASURES else "not measured yet"
        assert (entry["verdict"], entry["status"]) == (expected, expected)
        assert entry["reason"] and entry["readings"] == []


def test_a_missing_definition_or_seed_or_table_of_documents_is_named():
    entry = judged(without(plant(), metric="hoyer"), "C03")
    assert reading(entry, "Hoyer") == {
        "name": "Hoyer", "estimate": None, "low": None, "high": None, "n_seeds": None, "n_blocks": None, "p": None,
        "detail": "no 'hoyer' of variant 'temporallens'", "verdict": "not measured in this study",
    }  # fmt: skip
    gap = judged(without(plant(), variant="temporallens", seed=3, metric="mse"), "C01")
    assert gap["reason"] == "no 'mse' of variant 'temporallens' at layer 3, seed 3, position 1"
    seeds_only = judged(without(plant(), metric="sq_error"), "C01")
    assert seeds_only["verdict"] == "reproduced" and seeds_only["readings"][0]["n_blocks"] is None
    assert "documents not resampled" in seeds_only["readings"][0]["detail"]
    single = judged(plant(n_blocks=1), "C01")
    assert "text is not replicated" in single["readings"][0]["detail"]


def test_short_windows_are_judged_by_their_own_quarter():
    data = plant()
    short = dataclasses.replace(data, length=16, positions=data.positions[data.positions["position"] < 16])
    entry = judged(short, "C01")
    assert reading(entry, "positions 8 to T/4")["verdict"] == "not measured in this study"
    assert "windows of 16 have no such positions" in reading(entry, "positions 8 to T/4")["detail"]


# The document


def test_p_values_of_the_family_are_adjusted_together():
    entries = {e["id"]: e for e in claims.judge_all(REGISTRY, plant(), on_paper_model=False)}
    first, second = entries["C01"]["p"], entries["C09b"]["p"]
    assert first < second == pytest.approx(1 / 127, rel=1e-5)
    assert entries["C01"]["p_holm"] == pytest.approx(2 * first, rel=1e-4)
    assert entries["C09b"]["p_holm"] == pytest.approx(second, rel=1e-4)
    assert entries["C09a"]["p_holm"] is None and entries["C03"]["p"] is None


def test_a_stand_in_never_judges_the_papers_model():
    entry = judged(plant(), "C01")
    assert (entry["verdict"], entry["verdict_on_paper_model"]) == ("reproduced", "not testable here")
    assert judged(plant(), "C01", on_paper_model=True)["verdict_on_paper_model"] == "reproduced"
    quick = Study.load("quick")
    assert not claims.is_paper_model(quick) and "No verdict here is one about Gemma-2-2B." in claims.scope(quick)
    real = dataclasses.replace(quick, model="google/gemma-2-2b", layers=(5, 12, 19))
    assert claims.is_paper_model(real) and claims.scope(real).startswith("The paper's model")
    assert not claims.is_paper_model(dataclasses.replace(real, layers=(4, 12, 19)))
    assert "with random weights" in claims.scope(dataclasses.replace(quick, model="random:google/gemma-2-2b"))


@pytest.fixture
def study(tmp_path, monkeypatch) -> Study:
    """A study in a folder of its own, with planted tables written as the pipeline writes them."""
    quick = Study.load("quick")
    monkeypatch.setattr(config, "ROOT", tmp_path)
    study = dataclasses.replace(quick, name="planted", model="stand-in", layers=(3,), seeds=(0, 1, 2), variants=MAIN)
    data = plant(layers=("3",), seeds=(0, 1, 2))
    named = {name: getattr(data, name) for name in ("positions", "summary", "blocks", "history")}
    tables.save(study, "measures", 3, {n: t.drop(columns=["study", "model", "layer"]) for n, t in named.items()})
    return study


def test_build_writes_every_claim_and_the_digest_of_the_registry(study):
    path = claims.build(study)
    assert path == study.results / "claims.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["claims_sha256"] == hashlib.sha256((ROOT / "claims.yaml").read_bytes()).hexdigest()
    assert (document["study"], document["model"], len(document["claims"])) == ("planted", "stand-in", 38)
    assert {c["verdict"] for c in document["claims"]} <= set(WORDS)
    entry = next(c for c in document["claims"] if c["id"] == "C01")
    assert entry["verdict"] == "reproduced"
    estimate = entry["readings"][0]["estimate"]
    assert estimate == float(f"{estimate:.6g}")


def test_build_is_deterministic_and_leaves_nothing_half_written(study):
    first = claims.build(study).read_bytes()
    assert claims.build(study).read_bytes() == first
    assert list(study.results.glob("*.partial")) == []
    assert first.decode("utf-8").endswith("}\n") and b"NaN" not in first
