"""C05 to C08 as they were registered: spans that are planted, that equal their nulls, and that cannot be judged."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from paper import claims
from paper.registry import as_before
from tests.paper.planted import MAIN, REGISTRY, made, reading, without

METHOD, THREE, SIX = "temporallens", ("3", "8", "13"), ("1", "3", "5", "8", "10", "13")
SPANS = np.array([[16], [40], [64]])
MASK = {"span_mask_run": 6, "span_effective_positions": 90, "span_dwell": 3}


def judged(data, name):
    """The entry of a claim as it was before its amendment."""
    (claim,) = (as_before(claim) | {"id": "as it was"} for claim in REGISTRY if claim["id"] == name)
    return claims.judge_all([claim], data, on_paper_model=False)[0]


def spans(method=SPANS, *, null=30.0, controls=30.0, untrained=29.0, seeds=(0, 1, 2, 3, 4), **how):
    """Spans at three layers: the method's, its nulls', those of the controls, whose nulls they equal."""
    values = {(METHOD, "span_fwhm"): method, (METHOD, "span_fwhm_permuted"): null}
    values |= {(METHOD, "span_fwhm_frequency"): null, ("untrained", "span_fwhm"): untrained}
    for variant in MAIN[::2]:
        values |= {(variant, metric): controls for metric in ("span_fwhm", "span_fwhm_permuted", "span_fwhm_frequency")}
    return made(values | {(METHOD, name): value for name, value in MASK.items()}, THREE, seeds, **how)


@pytest.mark.parametrize(("claim", "span"), [("C05", 16), ("C06", 40), ("C07", 64)])
def test_planted_spans_are_reproduced_and_attributed(claim, span):
    entry = judged(spans(), claim)
    assert (entry["verdict"], entry["attributable"]) == ("reproduced", "yes")
    assert entry["readings"][0]["estimate"] == pytest.approx(span)
    assert reading(entry, "longest run of the mask")["estimate"] == pytest.approx(6)
    difference = reading(entry, f"{METHOD} - labels shifted", "differences")
    assert difference["estimate"] == pytest.approx(span - 30)
    assert reading(entry, "null: untrained", "context")["estimate"] == pytest.approx(29)


def test_the_interval_is_the_t_interval_over_seeds():
    data = spans()
    rows = data.tables["summary"]
    rows = rows[(rows["variant"] == METHOD) & (rows["metric"] == "span_fwhm") & (rows["layer"] == "3")]["value"]
    low, high = stats.t.interval(0.95, 4, rows.mean(), rows.std() / 5**0.5)
    first = judged(data, "C05")["readings"][0]
    assert (first["low"], first["high"]) == (pytest.approx(low, rel=1e-5), pytest.approx(high, rel=1e-5))


def test_spans_within_half_to_double_are_partly_reproduced_if_they_differ_from_every_null():
    for claim, span, word in (
        ("C05", 9, "partly"), ("C05", 24, "partly"), ("C05", 50, "not reproduced"), ("C06", 18, "partly"),
        ("C06", 90, "partly"), ("C06", 5, "not reproduced"), ("C07", 120, "partly"), ("C07", 160, "not reproduced"),
    ):  # fmt: skip
        entry = judged(spans(np.full((3, 1), span)), claim)
        assert (entry["verdict"], entry["attributable"]) == (word, "yes" if word == "partly" else "not applicable")


@pytest.mark.parametrize(("claim", "span", "margin"), [("C05", 16, 4), ("C06", 40, 8), ("C07", 64, 16)])
def test_spans_have_to_differ_from_nulls_by_a_quarter_of_the_claimed_value(claim, span, margin):
    """Half the margin is significant and not enough; on its edge it is open; beyond it, on either side, it is shown."""
    near, edge = (spans(null=span - part * margin, untrained=span - 2 * margin) for part in (0.5, 1))
    assert reading(judged(near, claim), f"{METHOD} - labels shifted", "differences")["low"] > 0
    assert "differs from nulls: no" in judged(near, claim)["reason"]
    assert judged(near, claim)["verdict"] == "not reproduced"
    assert "differs from nulls: unknown" in judged(edge, claim)["reason"]
    assert judged(edge, claim)["verdict"] == "inconclusive"
    for sign in (-1, 1):
        assert judged(spans(null=span + 1.5 * sign * margin, untrained=1.0), claim)["verdict"] == "reproduced"


def test_spans_that_equal_a_null_are_not_reproduced_even_inside_the_band():
    for equal in ({"null": SPANS}, {"untrained": SPANS}):
        entry = judged(spans(**equal), "C05")
        assert (entry["verdict"], entry["attributable"]) == ("not reproduced", "not applicable")
        assert "differs from nulls: no" in entry["reason"]


def test_a_null_that_is_missing_leaves_the_difference_open():
    for gap in ({"metric": "span_fwhm_frequency"}, {"variant": "untrained"}):
        entry = judged(without(spans(), **gap), "C05")
        assert entry["verdict"] == "inconclusive" and "differs from nulls: unknown" in entry["reason"]
        assert judged(without(spans(null=16.0), **gap), "C05")["verdict"] == "not reproduced"  # another one is too near
    empty = reading(entry, f"{METHOD} - untrained", "differences")
    assert empty["estimate"] is None and empty["detail"] == "no 'span_fwhm' of variant 'untrained'"


def test_spans_of_a_control_that_differ_from_its_nulls_are_not_the_methods_own():
    data = spans()
    rows = data.tables["summary"]
    rows.loc[(rows["variant"] == "standard") & (rows["metric"] == "span_fwhm"), "value"] -= 14
    entry = judged(data, "C05")
    assert (entry["verdict"], entry["attributable"]) == ("present without the method", "no")
    assert entry["attributable_reason"].startswith("standard shows it too")


def test_what_is_missing_is_named():
    two = dataclasses.replace(spans(), layers=("3", "8"))
    assert "three depths, the study has 2 main layer(s)" in judged(two, "C05")["reason"]
    for gap, reason in (
        ({"variant": METHOD}, "no 'span_fwhm' of variant 'temporallens'"),
        ({"variant": METHOD, "seed": 3, "layer": "8"}, "no 'span_fwhm' of variant 'temporallens' at layer 8, seed 3"),
    ):
        entry = judged(without(spans(), **gap), "C06")
        assert (entry["verdict"], entry["reason"]) == ("not measured in this study", reason)
    entry = judged(without(spans(), variant="standard"), "C05")
    assert (entry["verdict"], entry["attributable"]) == ("reproduced", "not assessed")
    assert "standard" in entry["attributable_reason"]
    no_runs = reading(judged(without(spans(), metric="span_mask_run"), "C05"), "longest run of the mask")
    assert no_runs["verdict"] == "not measured in this study"


def test_one_seed_leaves_everything_open():
    entry = judged(spans(seeds=(0,)), "C05")
    assert entry["verdict"] == "inconclusive" and "differs from nulls: unknown" in entry["reason"]
    assert entry["readings"][0]["estimate"] == pytest.approx(16)


# C08


def depth(method, controls=30.0, seeds=(0, 1, 2)):
    """Spans at six layers, of which three are main layers."""
    metrics = ("span_fwhm", "span_fwhm_bin_2", "span_fwhm_bin_4")
    values = {(v, m): controls for v in MAIN for m in metrics}
    values |= {(METHOD, m): np.asarray(method, float) for m in metrics}
    data = made(values, SIX, seeds, spread=0.001, main_layers=(3, 8, 13))
    return dataclasses.replace(data, layers=THREE)


RISING = np.array([[10], [16], [25], [40], [50], [64]])


def test_spans_that_widen_with_depth_are_reproduced():
    entry = judged(depth(RISING, controls=RISING[::-1]), "C08")
    assert (entry["verdict"], entry["attributable"]) == ("reproduced", "yes")
    assert reading(entry, f"{METHOD} - standard", "differences")["estimate"] == pytest.approx(2)
    assert judged(depth(RISING, controls=RISING), "C08")["attributable"] == "no"
    assert judged(depth(RISING), "C08")["attributable"] == "not assessed"  # by chance any order, with three seeds
    exact = stats.page_trend_test(np.tile(np.arange(6), (3, 1)), method="exact").pvalue
    assert entry["readings"][0]["estimate"] == pytest.approx(1) and entry["p"] == pytest.approx(exact, rel=1e-5)
    assert entry["measures"]["share_of_seeds_in_order"]["estimate"] == 1


def test_spans_that_narrow_or_stay_are_not():
    for method in (RISING[::-1], np.full((6, 1), 30)):
        entry = judged(depth(method), "C08")
        assert (entry["verdict"], entry["p"] > 0.5) == ("not reproduced", True)


def test_equal_spans_are_no_trend():
    data = depth(RISING)
    data.tables["summary"]["value"] = 30.0
    entry = judged(data, "C08")
    assert entry["readings"][0]["estimate"] == 0 and entry["verdict"] == "not reproduced"


def test_a_trend_with_a_seed_out_of_order_is_partly_reproduced():
    method = np.tile(RISING.astype(float), (1, 3))
    method[5, 2] = 38  # one seed of three, at the last main layer
    entry = judged(depth(method), "C08")
    assert entry["verdict"] == "partly" and entry["measures"]["trend_p"]["estimate"] < 0.001
    assert entry["measures"]["share_of_seeds_in_order"]["estimate"] == pytest.approx(2 / 3)


def test_main_layers_in_order_without_a_trend_are_not_enough():
    entry = judged(depth(np.array([[60.0], [16], [10], [40], [5], [64]])), "C08")
    assert (entry["verdict"], entry["measures"]["share_of_seeds_in_order"]["estimate"]) == ("not reproduced", 1)


def test_spans_are_compared_at_densities_that_every_layer_and_seed_has():
    """Features of bin 4 narrow with depth, those of bin 2 widen; one run lacks bin 4."""
    data = depth(RISING)
    rows = data.tables["summary"]
    rows.loc[(rows["metric"] == "span_fwhm_bin_4") & (rows["variant"] == METHOD), "value"] = np.repeat(
        3 * RISING[::-1].ravel(), 3
    )
    assert judged(data, "C08")["readings"][0]["estimate"] < 0  # the mean of both
    gap = judged(without(data, metric="span_fwhm_bin_4", variant=METHOD, layer="10", seed=1), "C08")
    assert gap["readings"][0]["estimate"] == pytest.approx(1) and gap["verdict"] == "reproduced"
    none = without(data, metric="span_fwhm_bin_4", variant=METHOD, layer="10", seed=1)
    none = judged(without(none, metric="span_fwhm_bin_2", variant=METHOD, layer="1", seed=0), "C08")
    assert none["reason"].startswith("temporallens: no half-decade of density holds enough features at every layer")


def test_a_trend_needs_layers_and_seeds():
    assert "at least 6 layers, the study has 3" in judged(spans(), "C08")["reason"]
    assert "at least 2 seeds" in judged(depth(RISING, seeds=(0,)), "C08")["reason"]
    gap = judged(without(depth(RISING), variant=METHOD, layer="10"), "C08")
    assert gap["reason"] == "no 'span_fwhm' of variant 'temporallens' at layer 10, seed 0"
    assert judged(without(depth(RISING), variant="standard"), "C08")["attributable"] == "not assessed"
