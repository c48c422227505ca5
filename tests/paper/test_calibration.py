"""Tables of the calibration: what they hold, that they see what is planted, and that they are the same every time."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from lens.errors import ConfigError
from lens.measure.spans import WIDTHS
from lens.study.params import Study
from paper import calibration, calibration_tables

WINDOWS, LENGTH = 60, 128


@pytest.fixture(scope="module")
def truths():
    return calibration.truths(WINDOWS, LENGTH, n_features=64)


@pytest.fixture(scope="module")
def estimators(truths):
    return calibration.estimator_table(truths)


def test_width_is_found_where_firings_are_many_and_biased_where_they_are_few(estimators):
    fwhm = estimators[(estimators["estimator"] == "fwhm_untested") & (estimators["persistence"] == 0)]
    for width in map(str, WIDTHS):
        rows = fwhm[fwhm["width"] == width].set_index("firings_low")
        assert abs(rows.loc[300, "bias"]) < 3
        assert abs(rows.loc[50, "bias"]) >= abs(rows.loc[300, "bias"])
    gated = estimators[estimators["estimator"] == "fwhm"]
    assert gated["firings_low"].min() == 100  # fewer firings are not tested
    assert (estimators["firings_high"] > estimators["firings_low"]).all()


def test_ratios_are_one_and_dwell_is_unbiased_for_flat_features(estimators):
    flat = estimators[estimators["width"] == "flat"].set_index("estimator")
    for name in ("effective_positions_ratio", "participation_ratio"):
        assert flat.loc[name, "mean"].to_numpy() == pytest.approx(1, abs=0.08)
    enough = flat[flat["firings_low"] >= 300]
    assert enough.loc["dwell", "bias"].abs().max() < 0.1
    assert flat.loc["fwhm_untested", "bias"].isna().all()  # a flat feature has no true width


def test_position_test_finds_windows_and_spares_flat_features(truths):
    table = calibration.positional_table(truths)
    windowed = table[table["width"].isin(list(map(str, WIDTHS)))]
    assert windowed.loc[windowed["metric"].isin(["share_fdr", "auroc"]), "value"].min() > 0.9
    alone = table[(table["width"] == "only_flat") & (table["metric"] == "share_p")]
    assert (alone["value"] <= 0.05 + 3 * (0.05 * 0.95 / alone["n"]) ** 0.5).all()
    assert set(table.loc[table["width"] == "all", "metric"]) == {"false_discoveries"}


def test_shuffling_the_measured_widths_changes_the_bias(truths):
    """A mutant: truths that belong to other features must show."""
    measured = truths.mixed[0.0]
    planted = dataclasses.replace(measured.planted, width_K=np.roll(measured.planted.width_K, 1))
    wrong = dataclasses.replace(truths, mixed={0.0: dataclasses.replace(measured, planted=planted)})
    table = calibration.estimator_table(wrong)
    rows = table[(table["estimator"] == "fwhm_untested") & (table["firings_low"] == 300)].dropna()
    assert rows["bias"].abs().max() > 10


def test_power_grows_with_the_trend(estimators):
    table = calibration.trend_power_table(estimators, draws=60)
    rate = table.groupby("width_last")["rate"].mean()
    assert rate[64] > 0.95 and rate[16] < 0.06 and rate.is_monotonic_increasing
    with pytest.raises(ValueError, match="more windows"):
        calibration.trend_power_table(estimators[:0], draws=2)


def test_error_rates_name_seeds_and_documents_where_they_count(truths):
    table = calibration.error_rate_table(truths, draws=40).set_index("test")
    assert table.loc["t interval over seeds", "n_documents"].isna().all()
    assert table.loc["t interval over seeds and documents", "n_seeds"].tolist() == [3, 5]
    assert table.loc["t test over windows of one seed", "n_seeds"] == 1
    assert table["rate"].between(0, 1).all() and (table["nominal"] == 0.05).all()
    kept, shuffled = (table.loc[f"position test by {null}, firing persists by 0.5", "rate"]
                      for null in ("circular shifts", "free permutations"))  # fmt: skip
    assert shuffled > 2 * kept


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return tmp_path_factory.mktemp("pool")


def test_training_reports_recovery_of_every_variant_and_is_repeatable(pool, tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "MATCHED", 0.3)  # a few steps turn no decoder row far
    monkeypatch.setattr(calibration, "PERMUTATIONS", 49)
    tables = [calibration.training_table(16, 66, (2,), (0,), p) for p in (pool, tmp_path)]
    pd.testing.assert_frame_equal(*tables)
    table = tables[0].set_index(["variant", "metric"])["value"]
    assert set(tables[0]["variant"]) == set(calibration.VARIANTS)
    assert 0 < table["temporallens", "recovered_windowed"] <= 1
    assert abs(table["temporallens", "mask_correlation"]) < 0.2  # masks still where they began
    assert "mask_correlation" not in table["standard"]
    left = [p.name for p in pool.iterdir() if not p.name.startswith("trained-") and p.suffix != ".lock"]
    assert left == []


def test_tables_are_saved_and_read_back(tmp_path, estimators):
    study = dataclasses.replace(Study.load("quick"), out=tmp_path)
    written = calibration_tables.save_tables(study, {"estimators": estimators})["estimators"]
    assert written.columns[0] == "study"
    read = calibration_tables.read_table(study, "estimators")
    assert read["width"].tolist() == written["width"].tolist()  # `16` stays a name beside `flat`
    assert read["mean"].to_numpy() == pytest.approx(written["mean"].to_numpy(), rel=1e-5)
    with pytest.raises(ConfigError, match="run 07_calibration of study 'quick'"):
        calibration_tables.read_table(study, "trend_power")
    with pytest.raises(ConfigError, match=r"holds study \['quick'\], expected 'other'"):
        calibration_tables.read_table(dataclasses.replace(study, name="other"), "estimators")


def test_wide_tables_leave_cells_without_a_value_empty(estimators):
    shown = calibration_tables.wide(estimators, ["width", "firings_low"], ["estimator"], "mean")
    assert shown.loc[("16", 50), "fwhm"] == "" and float(shown.loc[("16", 300), "fwhm"]) == pytest.approx(16, abs=2)
