"""C05 to C08: spans from position 16 on planted, of ramps, of few features, and in no table."""

import dataclasses

import numpy as np
import pytest

from tests.paper.planted import MAIN, judged, made, reading, without

METHOD, THREE, SIX = "temporallens", ("3", "8", "13"), ("1", "3", "5", "8", "10", "13")
CLAIMED = {"C05": 16, "C06": 40, "C07": 64}
RAMPS = {"share": 0.3, "first": 0.45, "last": 0.5, "width": 56}


def spans(width, *, spread=1.4, share=0.3, first=0.1, last=0.1):
    """What the summary holds of a dictionary; quartiles lie a factor `spread` around the median."""
    return {
        "late_span_share": share, "late_span_share_flat": 0.001, "late_span_at_first": first, "late_span_at_last": last,
        "late_width_q50": width, "late_width_q25": width / spread, "late_width_q75": width * spread,
        "late_width_ramp": 56, "span_fwhm": 30, "span_mask_run": 6,
    }  # fmt: skip


def study(method, controls=None, seeds=(0, 1, 2, 3, 4), **how):
    """At three layers; controls have ramps."""
    variants = {METHOD: method} | dict.fromkeys(MAIN[::2], controls or spans(**RAMPS))
    return made({(v, m): x for v, values in variants.items() for m, x in values.items()}, THREE, seeds, **how)


@pytest.mark.parametrize("claim", CLAIMED)
def test_planted_spans_are_reproduced_and_attributed(claim):
    entry = judged(study(spans(CLAIMED[claim])), claim)
    assert (entry["verdict"], entry["attributable"]) == ("reproduced", "yes")
    assert entry["readings"][0]["estimate"] == pytest.approx(CLAIMED[claim], rel=0.02)
    assert reading(entry, "null: ramps as deep", "context")["estimate"] == pytest.approx(56, rel=0.02)
    assert reading(entry, "full width at half maximum of the whole window", "context")["estimate"] > 29


@pytest.mark.parametrize("claim", CLAIMED)
def test_ramps_starts_of_the_window_and_spans_of_few_features_are_not_what_is_claimed(claim):
    width = CLAIMED[claim]
    for wrong in (spans(**RAMPS), spans(width, first=0.9), spans(width, share=0.02)):
        assert judged(study(wrong), claim)["verdict"] == "not reproduced"


def test_the_whole_distribution_has_to_be_there_and_not_its_median_alone():
    assert judged(study(spans(16, spread=2.5)), "C05")["verdict"] == "partly"
    assert judged(study(spans(25)), "C05")["verdict"] == "partly"
    assert judged(study(spans(34)), "C05")["verdict"] == "not reproduced"
    assert judged(study(spans(34)), "C06")["verdict"] == "reproduced"


def test_a_layer_without_spans_does_not_show_them_and_one_seed_leaves_all_open():
    share = {m: v for m, v in spans(16, share=0.001).items() if "width" not in m and "_at_" not in m}
    entry = judged(study(share), "C05")
    assert entry["verdict"] == "not reproduced" and "median width: unknown" in entry["reason"]
    assert entry["readings"][0]["estimate"] is None
    assert judged(study(spans(16), seeds=(0,)), "C05")["verdict"] == "inconclusive"


def test_tables_from_before_await_renewed_ones():
    old = study({m: v for m, v in spans(16).items() if m.startswith("span")}, {"span_fwhm": 30})
    for claim in CLAIMED:
        entry = judged(old, claim)
        assert entry["verdict"] == "not measured in this study" and entry["reason"].startswith("awaits renewed tables")
    assert "3 main layer" not in judged(dataclasses.replace(old, layers=("3",)), "C05")["reason"]
    gone = judged(without(study(spans(16)), variant=METHOD), "C05")
    assert gone["reason"] == "no 'late_span_share' of variant 'temporallens'"


def test_a_trend_is_that_of_widths_from_position_16_on():
    rising = np.array([[10], [16], [25], [40], [50], [64]])
    metrics = ("late_width_q50", "late_width_bin_2", "late_width_bin_4")
    values = {(v, m): 30.0 for v in MAIN for m in metrics} | {(METHOD, m): rising for m in metrics}
    values |= {(METHOD, "late_span_share"): 0.3, (METHOD, "span_fwhm"): rising[::-1]}
    data = made(values, SIX, (0, 1, 2), spread=0.001, main_layers=(3, 8, 13))
    entry = judged(dataclasses.replace(data, layers=THREE), "C08")
    assert entry["verdict"] == "reproduced" and entry["readings"][0]["estimate"] == pytest.approx(1)
    late = judged(dataclasses.replace(without(data, metric="late_span_share"), layers=THREE), "C08")
    assert late["reason"].startswith("awaits renewed tables")
