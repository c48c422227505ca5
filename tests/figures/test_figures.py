import functools
import json
import xml.etree.ElementTree as ElementTree

import matplotlib
import numpy as np
import pandas as pd
import pytest

from lens.errors import ConfigError
from lens.figures import FigureError, save
from lens.figures.by_layer import mask_agreement, positional_share, spans_by_layer
from lens.figures.data import main_layers, over_seeds, pick
from lens.figures.forest import ablation_effects, early_late, early_late_forest
from lens.figures.heat_maps import centre_of_mass, mask_heat_map, neighbour_correlation, profile_clusters
from lens.figures.looks import MEASURED, Looks
from lens.figures.norms import norms_by_position
from lens.figures.positions import per_position_error
from lens.figures.probing import probing_accuracy
from lens.figures.style import layers_in_order, signed
from lens.figures.training import training_curves
from lens.figures.weights import position_weight_evolution
from lens.study.params import Study
from lens.study.tables import NoTable
from paper import gallery
from paper.gallery import FIGURES, looks_of
from tests.paper import synthetic

LOOKS = Looks(
    "temporallens", "standard", "shuffled_positions", ablations=("uniform_weights", "frozen_masks"),
    labels={"temporallens": "TemporalLens"},
)  # fmt: skip


@functools.cache
def tables() -> dict[str, pd.DataFrame]:
    made = synthetic.tables(layers=("3", "8"), n_features=12, steps=100)
    ablations = synthetic.tables(layers=("8",), variants=LOOKS.ablations, n_features=12, steps=100)
    return {name: synthetic.join(table, ablations[name]) for name, table in made.items()} | synthetic.calibration()


def draw(name: str):
    return FIGURES[name](tables().__getitem__, LOOKS)


drawn = functools.cache(draw)


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_tells_its_numbers(name):
    plot = drawn(name)
    assert plot.figure.axes and plot.title
    assert "nan" not in plot.alt and "nan" not in plot.caption
    layers = {"ablation_effects": ["layer 8"], "calibration": []}.get(name, ["layer 3", "layer 8"])
    assert all(layer in plot.alt for layer in layers)


@pytest.mark.parametrize("name", ["per_position_l0", "mask_heat_map", "early_late_forest"])
def test_files_are_the_same_whatever_matplotlib_is_set_to_and_carry_their_words(name, tmp_path):
    plot = drawn(name)
    svg, png, words = first = save(plot, tmp_path / "a", name)
    with matplotlib.rc_context({"font.size": 20, "axes.grid": False, "savefig.dpi": 30}):
        before = dict(matplotlib.rcParams)
        second = save(draw(name), tmp_path / "b", name)
        assert dict(matplotlib.rcParams) == before
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert sorted(svg.parent.iterdir()) == sorted(first)
    assert json.loads(words.read_text()) == {"title": plot.title, "caption": plot.caption, "alt": plot.alt}
    text = svg.read_text()
    assert plot.alt in "".join(ElementTree.fromstring(text).itertext())
    assert "<text" not in text  # letters are paths: no font is needed to show it
    assert matplotlib.__version__ not in text.split("<g id=")[0] and b"Software" not in png.read_bytes()


def test_seed_interval_is_the_t_interval_and_absent_for_one_seed():
    rows = pd.DataFrame({"layer": ["3"] * 3, "seed": [0, 1, 2], "value": [1.0, 2.0, 3.0]})
    (found,) = over_seeds(rows, ["layer"]).itertuples()
    assert found.mean == 2 and found.seeds == 3
    assert found.high - found.mean == pytest.approx(4.302653 / 3**0.5, rel=1e-6)  # t(0.975, df 2) * sd / sqrt(3)
    (alone,) = over_seeds(rows[:1], ["layer"]).itertuples()
    assert np.isnan(alone.low) and np.isnan(alone.high)


def test_positions_without_bos_have_no_position_zero_and_with_bos_a_log_axis():
    without, with_bos = drawn("per_position_error"), drawn("per_position_error_bos")
    drawn_from = [line.get_xdata() for ax in without.figure.axes for line in ax.get_lines()]
    assert min(np.min(x) for x in drawn_from if len(x) > 2) == 1
    assert {ax.get_yscale() for ax in with_bos.figure.axes} == {"log"}
    assert "BOS" in with_bos.alt and "BOS" not in without.alt


def test_variants_are_told_apart_without_colour():
    looks = Looks("m", "b", "n", variants=("m", "b", "n", "one", "batch_topk"), ablations=("two",))
    marks = [looks[v] for v in (*looks.side_by_side, *looks.ablations, *MEASURED)]
    assert len({look.marker for look in marks}) == len({look.label for look in marks}) == 15
    assert looks["batch_topk"].label == "batch topk"
    paper = looks_of(Study.load("smoke"))
    marks = [paper[v] for v in ("temporallens", "standard", "shuffled_positions", *paper.marks)]
    assert len({f"{look.color} {look.dashes} {look.marker}" for look in marks}) == len(marks)
    assert len({look.label for look in marks}) == len(marks)


def test_order_and_signs():
    order = LOOKS.in_order(["zeta", "activations", "temporallens", "frozen_masks", "alpha", "untrained", "standard"])
    assert order == ["standard", "temporallens", "untrained", "frozen_masks", "activations", "alpha", "zeta"]
    assert layers_in_order(["13", "embedding", "3"]) == ["embedding", "3", "13"]
    assert (signed(-0.004), signed(-0.5), signed(2)) == ("0.00", "−0.50", "2.00")


def test_a_study_without_roles_is_told_so_and_has_no_panels_relative_to_a_baseline():
    with pytest.raises(FigureError, match=r"mask_heat_map.*`roles`.*method"):
        mask_heat_map(tables()["masks"], Looks(baseline="standard"))
    assert len(per_position_error(tables()["positions"], Looks()).figure.axes) == 2


def test_one_seed_of_short_windows_draws_without_an_interval():
    short = synthetic.tables(layers=("embedding",), seeds=(0,), n_features=5, n_positions=32, steps=8)
    short["summary"] = short["summary"][~short["summary"]["metric"].str.startswith("seed_")]
    plots, left_out = gallery.drawn((short | synthetic.calibration()).__getitem__, short.__getitem__, LOOKS)
    assert left_out == {"ablation_effects": "ablation_effects: the study has no ablations"}
    assert not [name for name, plot in plots.items() if "nan" in plot.alt + plot.caption]


def test_what_a_table_lacks_is_named_with_what_it_has():
    table = pd.DataFrame({"metric": ["a", "b", "c"], "value": [1, 2, 3]})
    assert list(pick(table, "x", metric=["a", "c"])["value"]) == [1, 3]
    with pytest.raises(FigureError, match=r"no metric 'l0'.*it has:.*fvu_global"):
        per_position_error(tables()["positions"].query("metric != 'l0'"), LOOKS, metric="l0")
    with pytest.raises(FigureError, match="no variant 'temporallens'"):
        mask_heat_map(tables()["masks"].query("variant == 'frozen_masks'"), LOOKS)
    positions = tables()["positions"].query("variant != 'standard'")
    with pytest.raises(FigureError, match="no variant 'standard'"):
        position_weight_evolution(tables()["position_weights"], positions, LOOKS)


def test_early_late_pools_every_text_bucket_but_the_last_and_leaves_bos_out():
    error = {"0": 900.0, "1-3": 1.0, "4-7": 1.0, "8-32": 4.0, "33-127": 4.0}
    deviation = {"0": 900.0, "1-3": 4.0, "4-7": 4.0, "8-32": 4.0, "33-127": 8.0}
    rows = [  # two documents and two seeds of 10 tokens a bucket, with the same mean error everywhere
        ("3", variant, seed, block, bucket, metric, 10 * means[bucket], 10)
        for variant, seeds, metric, means in (
            ("standard", (0, 1), "sq_error", error), ("activations", (-1,), "sq_deviation", deviation)
        )
        for seed in seeds
        for block in ("a", "b")
        for bucket in means
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["layer", "variant", "seed", "block", "bucket", "metric", "value", "n"])
    found = early_late(table).set_index(["variant", "quantity"])
    assert found.loc[("standard", "error"), "estimate"] == pytest.approx(1 - 2 / 4)
    assert found.loc[("standard", "fvu"), "estimate"] == pytest.approx(1 - (2 / 4) / (4 / 8))
    assert found.loc[("activations", "error"), "estimate"] == pytest.approx(1 - 4 / 8)
    row = found.loc[("standard", "error")]
    assert row["low"] == pytest.approx(row["high"]) == pytest.approx(0.5)  # nothing varies
    assert list(row["seeds"]) == pytest.approx([0.5, 0.5])
    assert "1 to 32" in early_late_forest(table, LOOKS).caption


def test_early_late_interval_holds_the_estimate_and_the_paper_line_is_drawn():
    table = tables()["blocks"]
    found = early_late(table)
    assert ((found["low"] <= found["estimate"]) & (found["estimate"] <= found["high"])).all()
    texts = {text.get_text() for text in early_late_forest(table, LOOKS, paper_value=0.15).figure.axes[0].texts}
    assert "paper: 15 %" in texts
    with pytest.raises(FigureError, match="two buckets"):
        early_late(table[table["bucket"].isin(["0", "1-3"])])


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
    image = drawn("mask_heat_map").figure.axes[0].images[0].get_array()
    centres = centre_of_mass(np.asarray(image))
    assert (np.diff(centres) >= 0).all()


def test_main_layers_are_those_with_the_most_seeds_and_not_the_embedding():
    rows = [(layer, seed) for layer, n in (("embedding", 3), ("13", 3), ("5", 1), ("3", 3)) for seed in range(n)]
    table = pd.DataFrame(rows, columns=["layer", "seed"]).assign(variant="standard")
    assert main_layers(table) == ["3", "13"]
    assert main_layers(table[table["layer"] == "embedding"]) == ["embedding"]


def test_ablations_do_not_crowd_the_lines_of_the_main_variants():
    for plot in (drawn("training_curves"), drawn("per_position_error")):
        assert "frozen masks" not in plot.alt and "shuffled positions" in plot.alt
    only = tables()["history"].query("variant == 'frozen_masks'")
    assert "frozen masks" in training_curves(only, LOOKS).alt  # the notebook of the ablations shows them


def test_seven_layers_are_broken_into_two_lines_of_panels():
    layers = ("embedding", "3", "5", "8", "10", "13", "15")
    many = synthetic.tables(layers=layers, seeds=(0, 1), n_features=3, steps=40, n_blocks=2)
    axes = per_position_error(many["positions"], LOOKS).figure.axes
    assert len(axes) == 14
    rows = [ax.get_subplotspec().rowspan.start for ax in axes]
    assert max(ax.get_subplotspec().colspan.start for ax in axes) == 3 and max(rows) == 3
    assert len({ax.get_ylim() for ax, row in zip(axes, rows, strict=True) if row in (0, 2)}) == 1


def drawn_texts(plot) -> list[str]:
    return [text.get_text() for ax in plot.figure.axes for text in ax.texts]


def test_the_papers_spans_are_marked_only_at_three_main_layers():
    three = synthetic.tables(layers=("embedding", "3", "8", "13"), n_features=3, steps=20, n_blocks=2)["summary"]
    control = (three["layer"] == "embedding") & (three["seed"] > 0)
    plot = spans_by_layer(three[~control], LOOKS, paper_spans=(16, (32, 48), 64))
    assert [text for text in drawn_texts(plot) if text] == ["16", "32–48", "64"]
    assert "claims 16 at layer 3, 32 to 48 at layer 8, 64 at layer 13" in plot.alt
    two = spans_by_layer(tables()["summary"], LOOKS, paper_spans=(16, (32, 48), 64))
    assert not drawn_texts(two) and "claim" not in two.alt


def test_a_layer_without_positional_features_says_so():
    summary = tables()["summary"]
    none = (summary["layer"] == "3") & summary["metric"].str.startswith("span_fwhm")
    plot = spans_by_layer(summary[~none], LOOKS)
    assert drawn_texts(plot) == ["no positional\nfeature"] and "layer 3: nothing to measure" in plot.alt
    with pytest.raises(FigureError, match="no metric 'span_fwhm'"):
        spans_by_layer(summary[summary["metric"] != "span_fwhm"], LOOKS)


def test_windows_too_short_for_the_second_test_have_one_panel():
    summary = tables()["summary"]
    plot = positional_share(summary[~summary["metric"].str.startswith("positional_share_8")], LOOKS)
    assert len(plot.figure.axes) == 1 and "From position 8" not in plot.alt


def test_layers_with_too_few_pairs_are_named_in_the_agreement_of_masks():
    summary = tables()["summary"]
    few = (summary["layer"] == "3") & summary["metric"].str.startswith("seed_")
    plot = mask_agreement(summary[~few], LOOKS)
    assert drawn_texts(plot) == ["too few\nshared features"]
    neither = summary["metric"].str.startswith(("seed_", "fvu_rise"))
    with pytest.raises(FigureError, match="neither pairs of seeds nor changed masks"):
        mask_agreement(summary[~neither], LOOKS)


def test_profiles_are_drawn_in_the_order_of_the_leaves():
    plot = drawn("profile_clusters")
    image = np.asarray(plot.figure.axes[0].images[0].get_array())
    assert (np.diff(image.argmax(axis=1)) > 0).all()
    titles = [ax.get_title(loc="left") for ax in plot.figure.axes[:2]]
    assert titles[0].startswith("layer 3 · K = 1 · s = 0.") and titles[1].startswith("layer 8 · K = 2")
    with pytest.raises(FigureError, match="no feature of layer 3, layer 8"):
        profile_clusters(tables()["profiles"][:0], tables()["summary"], LOOKS)


def test_the_splice_matrix_prints_its_numbers():
    plot = drawn("splice_matrix")
    assert drawn_texts(plot)[:8] == ["0.40", "0.08", "0.02", "0.00", "0", "0.40", "0.08", "0.02"]


def test_probes_are_averaged_over_tasks_and_those_on_all_features_stand_at_the_right():
    rows = [
        {"layer": "3", "variant": "standard", "seed": 0, "task": task, "k": k, "value": value, "n": 10}
        for task, at_k in (("a", {0: 0.9, 1: 0.5, 2: 0.7}), ("b", {0: 0.7, 1: 0.7, 2: 0.7}))
        for k, value in at_k.items()
    ]
    plot = probing_accuracy(pd.DataFrame(rows), LOOKS, paper_baseline=0.5)
    assert "standard: k = 1 0.60, k = 2 0.70, all 0.80" in plot.alt
    labels = plot.figure.axes[0].xaxis.get_major_formatter()
    assert labels.seq == ["1", "2", "all"]
    assert "2 balanced tasks" in plot.caption


def test_ablations_are_compared_with_the_method_of_the_same_seed_at_their_layer_alone():
    rows = [
        {"layer": layer, "variant": v, "seed": s, "positions": "text", "metric": metric, "value": base * factor}
        for layer in ("3", "8")
        for metric, base in (("fvu", 0.5), ("l0", 30.0))
        for s in (0, 1)
        for v, factor in (("temporallens", 1.0 + s), ("frozen_masks", 1.2 * (1 + s)))
        if layer == "8" or v == "temporallens"
    ]
    plot = ablation_effects(pd.DataFrame(rows), LOOKS)
    assert "frozen masks: FVU 20.0 % (20.0 to 20.0); L0 20.0 %" in plot.alt and "layer 3" not in plot.alt
    assert [ax.get_title(loc="left") for ax in plot.figure.axes] == ["FVU", "L0"]  # no gradient in this table
    with pytest.raises(FigureError, match="no ablations"):
        ablation_effects(pd.DataFrame(rows).query("variant == 'temporallens'"), LOOKS)


def test_a_study_without_a_table_is_told_which_figures_are_left_out_and_why(monkeypatch):
    def read(name: str) -> pd.DataFrame:
        if name not in few:
            raise NoTable(f"no table {name!r}")
        if name == damaged:
            raise ConfigError("layer_1.parquet cannot be read")
        return few[name]

    damaged = ""

    few = {k: t for k, t in tables().items() if k not in ("splice", "masks") and not k.startswith("calibration")}
    names = ("per_position_l0", "splice_matrix", "mask_heat_map", "calibration", "probing_accuracy")
    monkeypatch.setattr(gallery, "FIGURES", {name: FIGURES[name] for name in names})
    plots, left_out = gallery.drawn(read, read, LOOKS)
    assert list(plots) == ["per_position_l0", "probing_accuracy"]
    assert list(left_out) == ["splice_matrix", "mask_heat_map", "calibration"]
    assert left_out["mask_heat_map"] == "no table 'masks': no variant has masks"
    damaged = "probing"
    with pytest.raises(ConfigError, match="layer_1.parquet cannot be read"):
        gallery.drawn(read, read, LOOKS)
    few.pop("positions")
    with pytest.raises(ConfigError, match="no table 'positions'"):  # what every study has is never passed over
        gallery.drawn(read, read, LOOKS)


def test_norms_of_many_layers_are_multiples_of_each_layers_own_and_take_two_lines():
    sizes = {"embedding": 26.0, **{k: 1e4 * k for k in range(1, 7)}}
    norms = {layer: np.full((5, 16), size) for layer, size in sizes.items()}
    for norm in norms.values():
        norm[:, 0] *= 12
    plot = norms_by_position(norms)
    axes = plot.figure.axes
    assert len(axes) == 7 and len({round(ax.get_position().y0, 2) for ax in axes}) == 2
    assert all(ax.lines[0].get_ydata() == pytest.approx(np.ones(15)) for ax in axes)
    assert all(ax.lines[1].get_ydata() == pytest.approx([12]) for ax in axes)
    assert {ax.get_yscale() for ax in axes} == {"log"}
    assert "embedding: 26.0, BOS 12 times that" in plot.caption and "layer 6: 60,000" in plot.caption
