"""C05 to C08: spans that are planted, that equal their nulls, and that cannot be judged."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from tests.report.planted import MAIN, judged, made, reading, without

METHOD, THREE, SIX = "temporallens", ("3", "8", "13"), ("1", "3", "5", "8", "10", "13")
SPANS = np.array([[16], [40], [64]])
MASK = {"span_mask_run": 6, "span_effective_positions": 90, "span_dwell": 3}


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
    difference = reading(entry, f"{METHOD} - labels permuted", "differences")
    assert difference["estimate"] == pytest.approx(span - 30)
    assert reading(entry, "null: untrained", "context")["estimate"] == pytest.approx(29)


def test_the_interval_is_the_t_interval_over_seeds():
    data = spans()
    rows = data.tables["summary"]
    rows = rows[(rows["variant"] == METHOD) & (rows["metric"] == "span_fwhm") & (rows["layer"] == "3")]["value"]
    low, high = stats.t.interval(0.95, 4, rows.mean(), rows.std() / 5**0.5)
    first = judged(data, "C05")["readings"][0]
    assert (first["low"], first["high"]) == (pytest.approx(low, rel=1e-5), pytest.approx(high, rel=1e-5))


def test_spans_outside_the_band_are_partly_reproduced_if_they_differ_from_every_null():
    assert judged(spans(np.array([[50], [50], [50]])), "C05")["verdict"] == "partly"
    narrower = judged(spans(np.array([[5], [5], [5]])), "C06")
    assert narrower["verdict"] == "partly" and narrower["attributable"] == "yes"


def test_spans_that_equal_a_null_are_not_reproduced_even_inside_the_band():
    for equal in ({"null": SPANS}, {"untrained": SPANS}):
        entry = judged(spans(**equal), "C05")
        assert (entry["verdict"], entry["attributable"]) == ("not reproduced", "not applicable")
        assert "differs from nulls: no" in entry["reason"]


def test_an_untrained_dictionary_without_positional_features_is_no_null():
    entry = judged(without(spans(), variant="untrained"), "C05")
    assert entry["verdict"] == "reproduced"
    empty = reading(entry, f"{METHOD} - untrained", "differences")
    assert empty["estimate"] is None and empty["detail"] == "no 'span_fwhm' of variant 'untrained'"


def test_spans_of_a_control_that_differ_from_its_nulls_are_not_the_methods_own():
    data = spans()
    rows = data.tables["summary"]
    rows.loc[(rows["variant"] == "standard") & (rows["metric"] == "span_fwhm"), "value"] += 20
    entry = judged(data, "C05")
    assert (entry["verdict"], entry["attributable"]) == ("reproduced", "no")
    assert entry["attributable_reason"].startswith("standard shows it too")


def test_what_is_missing_is_named():
    two = dataclasses.replace(spans(), layers=("3", "8"))
    assert "three depths, the study has 2 main layer(s)" in judged(two, "C05")["reason"]
    for gap, reason in (
        ({"variant": METHOD}, "no 'span_fwhm' of variant 'temporallens'"),
        ({"metric": "span_fwhm_frequency"}, "no 'span_fwhm_frequency' of variant 'temporallens'"),
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
    values = {(v, m): controls for v in MAIN for m in ("span_fwhm", "span_fwhm_matched")}
    values |= {(METHOD, m): np.asarray(method, float) for m in ("span_fwhm", "span_fwhm_matched")}
    data = made(values, SIX, seeds, spread=0.001, main_layers=(3, 8, 13))
    return dataclasses.replace(data, layers=THREE)


RISING = np.array([[10], [16], [25], [40], [50], [64]])


def test_spans_that_widen_with_depth_are_reproduced():
    entry = judged(depth(RISING), "C08")
    assert (entry["verdict"], entry["attributable"]) == ("reproduced", "yes")
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


def test_three_layers_in_order_by_their_means_alone_are_partly_reproduced():
    method = np.tile([[60.0], [16], [10], [40], [5], [64]], (1, 3))
    method[5, 2] = 38  # one seed of three out of order
    entry = judged(depth(method), "C08")
    assert entry["verdict"] == "partly"
    assert entry["measures"]["share_of_seeds_in_order"]["estimate"] == pytest.approx(2 / 3)


def test_a_trend_needs_layers_and_seeds():
    assert "at least 6 layers, the study has 3" in judged(spans(), "C08")["reason"]
    assert "at least 2 seeds" in judged(depth(RISING, seeds=(0,)), "C08")["reason"]
    gap = judged(without(depth(RISING), variant=METHOD, layer="10"), "C08")
    assert gap["reason"] == "no 'span_fwhm_matched' of variant 'temporallens' at layer 10, seed 0"
    assert judged(without(depth(RISING), variant="standard"), "C08")["attributable"] == "not assessed"
