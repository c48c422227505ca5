"""The headroom of knowing the position, by hand."""

import json

import numpy as np
import pandas as pd
import pytest

from lens.measure.at_l0 import Sums
from lens.measure.headroom import added, buckets, crossed, error_rows, error_sums, estimates, headroom, share_of


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


def test_the_variance_is_that_over_seeds_and_that_over_documents():
    values, left_out = np.array([0.1, 0.3]), np.array([0.15, 0.2, 0.25])
    found = crossed(values, left_out)  # pseudo-values of documents .3, .2, .1
    seeds, documents = 0.02 / 2, 0.01 / 3
    assert (found.estimate, found.df) == (pytest.approx(0.2), 1)
    assert found.se**2 == pytest.approx(seeds + documents)
    assert found.high - found.low == pytest.approx(2 * 12.706 * found.se, rel=1e-3)


def test_a_document_is_left_out_of_all_seeds_that_held_it_out(errors):
    found = estimates(errors, "blind", {"arm": "twin"}).set_index("where").loc["late"]
    assert (found["estimate"], found["seeds"], found["documents"]) == (pytest.approx(0.275), 2, 2)
    assert found["se"] ** 2 == pytest.approx(np.var([0.4, 0.15], ddof=1) / 2)  # documents gain the same
    errors.loc[errors.eval("variant == 'arm' and document == 'x' and seed == 0 and bucket == '16-19'"), "sq_error"] = (
        0.0
    )
    moved = estimates(errors, "blind", {"arm": "twin"}).set_index("where").loc["late"]
    x, y = 1 - 0.0 / 0.5 - 0.1, 1 - 0.75 / 1.5 - 0.1  # of seed 0, what each document alone gains
    both = 1 - 0.75 / 2 - 0.1
    pseudo = [2 * (both + 0.15) / 2 - (without + 0.15) / 2 for without in (y, x)]
    assert moved["se"] ** 2 == pytest.approx(np.var([both, 0.15], ddof=1) / 2 + np.var(pseudo, ddof=1) / 2)


def test_seeds_that_held_out_other_documents_are_taken_together():
    def of(seed, document, text, twin):
        told = {"seed": seed, "document": document, "bucket": "16-19", "first": 16, "n": 5}
        return [
            {"variant": v, "arrangement": a, "sq_error": e, **told}
            for v, a, e in (("blind", "text", 4.0), ("blind", "permuted", 4.0), ("arm", "text", text),
                            ("twin", "permuted", twin))
        ]  # fmt: skip

    found = pd.DataFrame(of(0, "x", 3, 4) + of(0, "y", 2, 4) + of(1, "y", 2, 4) + of(1, "z", 1, 4))
    late = estimates(found, "blind", {"arm": "twin"}).query("where == 'late'").iloc[0]
    seeds = [1 - 5 / 8, 1 - 3 / 8]
    without = [(1 / 2 + seeds[1]) / 2, (1 / 4 + 3 / 4) / 2, (seeds[0] + 1 / 2) / 2]  # x, y, z
    pseudo = [3 * np.mean(seeds) - 2 * value for value in without]
    assert (late["estimate"], late["documents"]) == (pytest.approx(0.5), 3)
    assert late["se"] ** 2 == pytest.approx(np.var(seeds, ddof=1) / 2 + np.var(pseudo, ddof=1) / 3)


def test_a_share_is_one_of_means(errors):
    double = errors[errors["variant"] == "arm"].assign(variant="oracle")
    blind = errors.query("variant == 'blind' and arrangement == 'text'")["sq_error"].to_numpy()
    double["sq_error"] = blind - 2 * (blind - double["sq_error"].to_numpy()) + 0.1 * blind  # 2 H + twin's .1
    twins = {"arm": "twin", "oracle": "twin"}
    both = pd.concat([errors, double])
    share = share_of(both, "blind", twins, "oracle").set_index("where").loc["late"]
    assert share["estimate"] == pytest.approx(0.5) and share["low"] == pytest.approx(0.5)
    worse = pd.concat([errors, double.assign(sq_error=9.0)])
    assert share_of(worse, "blind", twins, "oracle")["estimate"].isna().all()


def test_what_is_added_is_the_difference_of_seeds_and_documents(errors):
    better = errors.copy()
    better.loc[better["variant"] == "arm", "sq_error"] *= 0.5
    found = added(better, errors, "blind", {"arm": "twin"}).set_index("where").loc["late"]
    rises = [0.5 * 0.5, 0.5 * 0.75]
    assert found["estimate"] == pytest.approx(np.mean(rises))
    assert found["se"] ** 2 == pytest.approx(np.var(rises, ddof=1) / 2)
