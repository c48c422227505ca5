"""Simulated error rates: tests known to be exact, and tests known to fail."""

import numpy as np
import pytest
from scipy.stats import page_trend_test

from lens.measure import error_rates
from lens.measure.error_rates import curve_errors, page_p, replicate_errors, trend_rate, window_error

DRAWS = 300
SLACK = 4 * (0.05 * 0.95 / DRAWS) ** 0.5  # four standard errors of a rate of 5 %


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_intervals_keep_their_level_and_the_bootstrap_of_few_seeds_does_not(rng):
    rates = replicate_errors(3, 20, DRAWS, rng)
    assert rates[error_rates.SEEDS_ALONE] == pytest.approx(0.05, abs=SLACK)
    assert rates["t interval over seeds and documents"] <= 0.05 + SLACK
    assert rates["percentile bootstrap of seeds and documents"] > 0.12


def test_windows_of_one_document_are_not_independent(rng):
    assert window_error(20, DRAWS, rng) > 0.4


def test_only_circular_shifts_allow_for_autocorrelation(rng):
    rates = curve_errors(DRAWS, rng)
    assert rates["circular shifts of a correlation over positions"] == pytest.approx(0.05, abs=SLACK)
    assert rates["circular shifts of an overlap of 16 positions"] <= 0.05 + SLACK
    assert rates["t test of a correlation over positions"] > 0.15
    assert rates["hypergeometric overlap of 16 positions"] > 0.08


def test_without_autocorrelation_the_plain_tests_hold(rng, monkeypatch):
    monkeypatch.setattr(error_rates, "SMOOTHNESS", 0.0)
    rates = curve_errors(DRAWS, rng)
    assert max(rates.values()) <= 0.05 + SLACK


def test_page_p_is_scipys_table_by_table(rng):
    values = rng.normal(size=(6, 3, 4))
    values[2] = np.arange(4)  # perfectly ordered
    values[3] = 1  # all tied
    assert page_p(values) == pytest.approx([page_trend_test(v).pvalue for v in values])


def test_trends_are_found_when_they_are_there(rng):
    sd = np.full(3, 5.0)
    assert trend_rate(np.array([16.0, 40, 64]), sd, 20, 3, 100, rng) == 1
    assert trend_rate(np.array([64.0, 40, 16]), sd, 20, 3, 100, rng) == 0  # one-sided
    assert trend_rate(np.full(3, 16.0), sd, 20, 3, DRAWS, rng) <= 0.05 + SLACK
