import functools
import json
import xml.etree.ElementTree as ElementTree

import matplotlib
import numpy as np
import pandas as pd
import pytest

from lens.report.figures import FIGURES, FigureError, save
from lens.report.figures.data import over_seeds, pick
from lens.report.figures.forest import changes, early_late, early_late_forest
from lens.report.figures.masks import centre_of_mass, mask_heat_map, neighbour_correlation
from lens.report.figures.positions import per_position_error
from lens.report.figures.style import LOOKS, in_order, layers_in_order, signed
from lens.report.figures.weights import position_weight_evolution
from tests.report import synthetic


@functools.cache
def tables() -> dict[str, pd.DataFrame]:
    made = synthetic.tables(layers=("3", "8"), n_features=12, steps=100)
    ablations = synthetic.tables(layers=("8",), variants=("uniform_weights", "frozen_masks"), n_features=12, steps=100)
    return {
        name: pd.concat([table, ablations[name][ablations[name]["variant"] != "activations"]])
        for name, table in made.items()
    }


@functools.cache
def drawn(name: str):
    return FIGURES[name](tables().__getitem__)


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_says_what_it_shows_in_words_and_numbers(name):
    plot = drawn(name)
    assert plot.figure.axes
    assert all(text.strip() for text in (plot.title, plot.caption, plot.alt))
    assert "nan" not in plot.alt and "nan" not in plot.caption
    assert "layer 3" in plot.alt and "layer 8" in plot.alt
    assert any(character.isdigit() for character in plot.alt)


@pytest.mark.parametrize("name", FIGURES)
def test_the_same_tables_give_the_same_bytes(name, tmp_path):
    small = {table: rows[rows["layer"] == "8"] for table, rows in tables().items()}
    first = save(FIGURES[name](small.__getitem__), tmp_path / "a", name)
    with matplotlib.rc_context({"font.size": 20, "axes.grid": False, "savefig.dpi": 30}):
        second = save(FIGURES[name](small.__getitem__), tmp_path / "b", name)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_saved_files_carry_the_alt_text_and_neither_date_nor_version(tmp_path):
    plot = drawn("per_position_l0")
    svg, png, words = save(plot, tmp_path / "figures", "per_position_l0")
    assert sorted(path.name for path in svg.parent.iterdir()) == sorted(path.name for path in (svg, png, words))
    assert json.loads(words.read_text()) == {"title": plot.title, "caption": plot.caption, "alt": plot.alt}
    text = svg.read_text()
    assert plot.alt in "".join(ElementTree.fromstring(text).itertext())
    assert "<text" not in text  # letters are paths: no font is needed to show it
    assert matplotlib.__version__ not in text.split("<g id=")[0]
    assert b"Software" not in png.read_bytes()


def test_drawing_leaves_no_trace_in_matplotlib():
    before = dict(matplotlib.rcParams)
    per_position_error(tables()["positions"])
    assert dict(matplotlib.rcParams) == before


def test_seed_interval_is_the_t_interval_and_absent_for_one_seed():
    rows = pd.DataFrame({"layer": ["3"] * 3, "seed": [0, 1, 2], "value": [1.0, 2.0, 3.0]})
    (found,) = over_seeds(rows, ["layer"]).itertuples()
    assert found.mean == 2 and found.seeds == 3
    assert found.high - found.mean == pytest.approx(4.302653 / 3**0.5, rel=1e-6)  # t(0.975, df 2) * sd / sqrt(3)
    (alone,) = over_seeds(rows[:1], ["layer"]).itertuples()
    assert np.isnan(alone.low) and np.isnan(alone.high)


def test_positions_without_bos_have_no_position_zero_and_with_bos_a_log_axis():
    without = per_position_error(tables()["positions"])
    with_bos = per_position_error(tables()["positions"], bos=True)
    drawn_from = [line.get_xdata() for ax in without.figure.axes for line in ax.get_lines()]
    assert min(np.min(x) for x in drawn_from if len(x) > 2) == 1
    assert {ax.get_yscale() for ax in with_bos.figure.axes} == {"log"}
    assert "BOS" in with_bos.alt and "BOS" not in without.alt


def test_variants_are_told_apart_without_colour():
    marks = [(look.dashes, look.marker) for look in LOOKS.values()]
    assert len({marker for _, marker in marks}) == len(marks)
    ax = per_position_error(tables()["positions"]).figure.axes[0]
    styles = {(line.get_marker(), line.get_linestyle()) for line in ax.get_lines()}
    assert len(styles) == 3


def test_a_variant_nobody_planned_for_is_drawn_too():
    positions = tables()["positions"].replace({"variant": {"shuffled_positions": "batch_topk"}})
    assert "batch topk" in per_position_error(positions).alt


def test_one_seed_and_one_layer_draw_without_an_interval():
    alone = {name: t[t["seed"].isin([0, -1]) & (t["layer"] == "3")] for name, t in tables().items()}
    for draw in FIGURES.values():
        plot = draw(alone.__getitem__)
        assert "nan" not in plot.alt
    assert "no interval" in per_position_error(alone["positions"]).caption


def test_short_windows_draw():
    short = synthetic.tables(layers=("embedding",), n_features=5, n_positions=32, steps=8)
    for draw in FIGURES.values():
        assert "embedding" in draw(short.__getitem__).alt


def test_a_metric_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(FigureError, match=r"no metric 'l0'.*it has:.*fvu_global"):
        per_position_error(tables()["positions"].query("metric != 'l0'"), metric="l0")
    with pytest.raises(FigureError, match="no variant 'temporallens'"):
        mask_heat_map(tables()["masks"].query("variant == 'frozen_masks'"))
    with pytest.raises(FigureError, match="no variant 'standard'"):
        position_weight_evolution(tables()["position_weights"], tables()["positions"].query("variant != 'standard'"))


def blocks(errors: dict[str, float], deviations: dict[str, float]) -> pd.DataFrame:
    """Two documents and two seeds of 10 tokens a bucket, with the same mean error everywhere."""
    rows = []
    for bucket in errors:
        for block in ("a", "b"):
            common = {"layer": "3", "block": block, "bucket": bucket, "n": 10}
            rows += [
                {**common, "variant": "standard", "seed": seed, "metric": "sq_error", "value": 10 * errors[bucket]}
                for seed in (0, 1)
            ]
            deviation = {"variant": "activations", "seed": -1, "metric": "sq_deviation"}
            rows.append({**common, **deviation, "value": 10 * deviations[bucket]})
    return pd.DataFrame(rows)


def test_early_late_pools_every_text_bucket_but_the_last_and_leaves_bos_out():
    table = blocks(
        {"0": 900.0, "1-3": 1.0, "4-7": 1.0, "8-32": 4.0, "33-127": 4.0},
        {"0": 900.0, "1-3": 4.0, "4-7": 4.0, "8-32": 4.0, "33-127": 8.0},
    )
    found = early_late(table).set_index(["variant", "quantity"])
    assert found.loc[("standard", "error"), "estimate"] == pytest.approx(1 - 2 / 4)
    assert found.loc[("standard", "fvu"), "estimate"] == pytest.approx(1 - (2 / 4) / (4 / 8))
    assert found.loc[("activations", "error"), "estimate"] == pytest.approx(1 - 4 / 8)
    row = found.loc[("standard", "error")]
    assert row["low"] == pytest.approx(row["high"]) == pytest.approx(0.5)  # nothing varies
    assert list(row["seeds"]) == pytest.approx([0.5, 0.5])
    assert "1 to 32" in early_late_forest(table).caption


def test_early_late_interval_holds_the_estimate_and_the_paper_line_is_drawn():
    table = tables()["blocks"]
    found = early_late(table)
    assert ((found["low"] <= found["estimate"]) & (found["estimate"] <= found["high"])).all()
    texts = {text.get_text() for text in early_late_forest(table, paper_value=0.15).figure.axes[0].texts}
    assert "paper: 15 %" in texts
    with pytest.raises(FigureError, match="two buckets"):
        early_late(table[table["bucket"].isin(["0", "1-3"])])


def test_changes_are_paired_by_seed():
    rows = [
        {"layer": "3", "variant": v, "seed": s, "positions": "text", "metric": "fvu", "value": base * factor}
        for s, base in enumerate((1.0, 10.0, 100.0))
        for v, factor in (("standard", 1.0), ("temporallens", 0.9))
    ]
    (found,) = changes(pd.DataFrame(rows)).itertuples()
    assert (found.estimate, found.low, found.high) == pytest.approx((-0.1, -0.1, -0.1))


def test_masks_are_sorted_by_centre_of_mass_and_their_smoothness_is_measured():
    mask = np.zeros((3, 8))
    mask[0, 6], mask[1, 0], mask[2, 3:5] = 1, 1, 1
    assert centre_of_mass(mask) == pytest.approx([7, 1, 4.5])
    assert neighbour_correlation(np.full((2, 50), 0.5)) != neighbour_correlation(np.full((2, 50), 0.5))  # NaN
    window = np.zeros((1, 400))
    window[0, 100:300] = 1
    assert neighbour_correlation(window) > 0.98
    noise = np.random.default_rng(0).random((200, 400))
    assert abs(neighbour_correlation(noise)) < 0.02
    image = mask_heat_map(tables()["masks"]).figure.axes[0].images[0].get_array()
    centres = centre_of_mass(np.asarray(image))
    assert (np.diff(centres) >= 0).all()


def test_order_and_signs():
    assert layers_in_order(["13", "embedding", "3"]) == ["embedding", "3", "13"]
    assert in_order(["zeta", "temporallens", "alpha", "standard"]) == ["standard", "temporallens", "alpha", "zeta"]
    assert (signed(-0.004), signed(-0.5), signed(2)) == ("0.00", "−0.50", "2.00")


def test_pick_takes_one_value_or_a_list():
    table = pd.DataFrame({"metric": ["a", "b", "c"], "value": [1, 2, 3]})
    assert list(pick(table, "x", metric="b")["value"]) == [2]
    assert list(pick(table, "x", metric=["a", "c"])["value"]) == [1, 3]
