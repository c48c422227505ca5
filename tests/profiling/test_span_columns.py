import numpy as np
import pandas as pd
import pytest

from lens.figures.looks import Looks
from lens.figures.spans import span_distributions
from lens.measure import synthetic
from lens.profiling.late_spans import COLUMNS, late_columns, late_measures

P = 127


@pytest.fixture(scope="module")
def firings():
    """Ten documents, and one without windows: features high at 40..49, 60..84, 103..127 and nowhere."""
    shapes = [synthetic.bump(P, 40, 10), synthetic.bump(P, 60, 25), synthetic.bump(P, 103, 25), np.ones(P)]
    counts = np.random.default_rng(0).binomial(200, 0.3 * np.stack(shapes, axis=1), size=(10, P, 4))
    return np.pad(counts, ((0, 1), (1, 0), (0, 0))).astype(np.uint32)


def test_measures_are_those_of_the_columns(firings):
    late = late_columns(firings)
    assert list(late) == COLUMNS and late["width"].tolist()[:3] == [10, 25, 25]
    found = {name: value for name, (value, _) in late_measures(late, np.full(4, 0.1)).items()}
    assert found["late_span_share"] == 0.75 and found["late_span_share_flat"] == 0
    assert found["late_width_q50"] == 25 and found["late_width_q05"] == pytest.approx(11.5)
    assert found["late_span_at_first"] == 0 and found["late_span_at_last"] == pytest.approx(1 / 3)
    assert found["late_span_single"] == 1 and 50 < found["late_width_ramp"] < 62
    assert not any(name.startswith("late_width_bin") for name in found)  # no bin of density has five widths
    none = late_measures(late_columns(firings[..., 3:]), np.full(1, 0.1))
    assert none["late_span_share"][0] == 0 and np.isnan(none["late_width_ramp"][0])


def test_short_windows_and_few_documents_have_no_columns(firings):
    for counts in (firings[:, :40], firings[3:]):
        late = late_columns(counts)
        assert late.empty and len(late) == 4 and late_measures(late, np.full(4, 0.1)) == {}


def test_the_figure_tells_of_every_layer_what_was_found(firings):
    late = late_columns(firings)
    parts = [late.assign(layer=layer, variant=variant) for layer in ("3", "8") for variant in ("a", "b")]
    parts[3] = parts[3].iloc[3:]
    plot = span_distributions(pd.concat(parts, ignore_index=True), Looks("a", "b"), P)
    assert "layer 3, a: 3 of 4 features tested have a span, median width 25" in plot.alt
    assert "layer 8, b: 0 of 1 features tested have a span." in plot.alt
    assert "0 of 13 have a span" in plot.caption and len(plot.figure.axes) == 4
