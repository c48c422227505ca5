"""The headroom of knowing the position, by hand."""

import json

import numpy as np
import pandas as pd
import pytest

from lens.measure.at_l0 import Sums
from lens.measure.headroom import buckets, error_rows, error_sums, headroom, over_seeds, share_of


def rows(variant, arrangement, seed, by_bucket, n=10):
    starts = {"1-3": 1, "4-7": 4, "8-15": 8, "16-19": 16}
    return [
        {"variant": variant, "arrangement": arrangement, "seed": seed, "document": d, "bucket": b, "first": starts[b],
         "sq_error": e * part, "n": n}
        for b, e in by_bucket.items() for d, part in (("x", 0.25), ("y", 0.75))
    ]  # fmt: skip


BLIND = {"1-3": 8.0, "4-7": 4.0, "8-15": 4.0, "16-19": 2.0}


@pytest.fixture
def errors() -> pd.DataFrame:
    found = []
    for seed, better in enumerate((0.5, 0.75)):
        found += rows("blind", "text", seed, BLIND)
        found += rows("blind", "permuted", seed, dict.fromkeys(BLIND, 4.0))
        found += rows("arm", "text", seed, BLIND | {"16-19": 2.0 * better, "1-3": 4.0})
        found += rows("twin", "permuted", seed, dict.fromkeys(BLIND, 3.6))
    return pd.DataFrame(found)


def test_buckets_begin_after_bos_and_end_with_the_window():
    assert buckets(20) == {"1-3": slice(1, 4), "4-7": slice(4, 8), "8-15": slice(8, 16), "16-19": slice(16, 20)}
    assert list(buckets(128))[-2:] == ["32-63", "64-127"]


def test_sums_of_errors_by_document_and_bucket():
    sq, count = np.arange(40.0).reshape(2, 20), np.ones((2, 20))
    sq, count = (np.vstack([values, 0 * values[:1]]) for values in (sq, count))
    found = error_rows(json.loads(json.dumps(error_sums(Sums(sq, 2 * count), count, ("x", "y", "z")))))
    assert found["document"].unique().tolist() == ["x", "y"]  # z has no window
    first = found.iloc[0]
    assert first[["bucket", "first", "sq_error", "active", "n"]].tolist() == ["1-3", 1, 1 + 2 + 3, 6, 3]
    assert found["n"].sum() == 2 * 19


def test_what_the_twin_gains_is_taken_off(errors):
    found = headroom(errors, "blind", {"arm": "twin"}).set_index(["seed", "where"])
    assert found.loc[(0, "16-19"), "gain"] == pytest.approx(0.5) and found.loc[(1, "16-19"), "gain"] == pytest.approx(
        0.25
    )
    assert found["twin_gain"].to_numpy() == pytest.approx(np.full(len(found), 0.1))
    assert found.loc[(0, "late"), "headroom"] == pytest.approx(0.4)
    assert found.loc[(0, "early"), "gain"] == pytest.approx(1 - 12 / 16)  # a ratio of sums, not a mean of ratios
    assert found.loc[(0, "all"), "gain"] == pytest.approx(1 - 13 / 18)
    assert found.loc[(0, "late"), "first"] == 16


def test_errors_of_other_tokens_are_refused(errors):
    errors.loc[errors.index[-1], "n"] = 9
    with pytest.raises(ValueError, match=r"twin and blind were measured on different tokens \(permuted\)"):
        headroom(errors, "blind", {"arm": "twin"})


def test_intervals_are_over_seeds_and_a_share_is_one_of_means(errors):
    found = headroom(errors, "blind", {"arm": "twin"})
    late = over_seeds(found).set_index("where").loc["late"]
    half = 12.706 * np.std([0.4, 0.15], ddof=1) / np.sqrt(2)  # t of one degree of freedom
    assert (late["mean"], late["seeds"]) == (pytest.approx(0.275), 2)
    assert late["high"] - late["mean"] == pytest.approx(half, rel=1e-3)
    double = found.assign(variant="oracle", headroom=2 * found["headroom"])
    share = share_of(pd.concat([found, double]), "oracle").set_index("where").loc["late"]
    assert (share["mean"], share["low"]) == (pytest.approx(0.5), pytest.approx(0.5))
    none = share_of(pd.concat([found, double.assign(headroom=-1.0)]), "oracle")
    assert none["mean"].isna().all()
