import pandas as pd
import pytest

from lens.study.training import late_errors


def test_late_errors_are_means_over_the_last_tenth_of_each_run():
    """100 steps, each tenth logged and the last: steps 90 and 99 count; of a run of 20 steps 18 and 19."""
    long = [("a", seed, step, "mse", 1.0 * step + seed) for seed in (0, 1) for step in (*range(0, 100, 10), 99)]
    short = [("b", 0, step, "mse", float(step)) for step in (0, 6, 12, 18, 19)]
    other = [("a", seed, step, "loss", 1e6) for seed in (0, 1) for step in (90, 99)]
    history = pd.DataFrame(long + short + other, columns=["variant", "seed", "step", "metric", "value"])
    found = late_errors(history)
    assert set(found["metric"]) == {"late_mse"}
    by_run = found.set_index(["variant", "seed"])["value"].to_dict()
    assert by_run == pytest.approx({("a", 0): 94.5, ("a", 1): 95.5, ("b", 0): 18.5})
