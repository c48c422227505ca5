import dataclasses

import numpy as np
import pytest
import torch

from lens.dictionaries.by_name import names
from lens.dictionaries.dictionary import Dictionary, Info
from lens.errors import ConfigError
from lens.explorer.layer import LayerSource, describe
from lens.explorer.pack import Part
from lens.profiling.features import feature_tables, labellings, measure_features
from tests.explorer.synthetic import D, N, T, activations, dictionaries, judged, source, tokens


def part_of(source, passages) -> Part:
    header, reading = describe(source, passages)
    return Part(header, reading.arrays)


@pytest.fixture(scope="module")
def planted() -> Part:
    return part_of(source("1"), [0, 5])


def test_numbers_are_those_of_the_table(planted):
    part = planted
    table = source("1").features
    for name, values in part.header["columns"].items():
        found = np.array([np.nan if v is None else v for v in values], float)
        assert np.allclose(found, table[name].astype(float), rtol=1e-5, equal_nan=True), name


def test_verdicts_stand_beside_the_numbers_where_a_profile_gives_them(planted):
    part = planted
    assert part.header["verdicts"] is None
    found = part_of(judged(), [0]).header["verdicts"]
    assert found["of"][:3] == ["specialised", "inherits", "specialised"] and found["from"][:2] == ["", "0 2"]


def test_firings_and_band(planted):
    part = planted
    on = dictionaries()[0].encode(activations(True).float()).fired()
    assert (part.arrays["firings"] == on[:, 1:].sum(0).T.numpy()).all()
    low, high = part.arrays["band"] / part.header["band_scale"]
    expected = on[:, 1:].sum((0, 1)).numpy() / (T - 1)
    assert ((low <= expected + 0.05) & (expected - 0.05 <= high)).all()  # what firing without position gives
    assert part.arrays["firings"][0, 0] > high[0, 0]  # and feature 0, which fires early, leaves it


def test_masks_twins_and_clusters(planted):
    part = planted
    assert (part.arrays["mask"].max(1) == 255).all()  # relative to the largest of each
    (twin,) = part.header["twins"]  # the dictionaries are equal
    assert twin["name"] == "1" and twin["feature"] == list(range(D)) and set(twin["shared"]) == {1}
    assert set(twin["decoder"]) == {1.0} and len(twin["mask"]) == D
    tree = part.header["clusters"]
    assert tree["members"] == [k for k, c in enumerate(part.header["columns"]["cluster"]) if c >= 0]
    n = len(tree["members"])
    assert n >= 10 and len(tree["merges"]) == n - 1 and sorted(tree["leaves"]) == list(range(n))


@pytest.mark.parametrize(
    "position", [*sorted({*names("lens.dictionaries.positions")} - {"none", "mask"}), "centred+mask", "centred+gain"]
)
def test_any_position_term_is_measured_and_shown(position):
    """Its interventions are measured; where it multiplies features it is drawn as a mask, and nowhere else."""
    settings = {"edges": [T // 2]} if position == "buckets" else {}
    sae = Dictionary.initialise(Info(D, D, T, position=position, settings=settings), torch.zeros(D), 0)
    sae.W_enc.data, sae.W_dec.data = torch.eye(D), torch.eye(D)
    x, document = activations(True), torch.arange(N) % 2
    measured = measure_features({("v", 0): sae}, x, document, 2, labellings(N, T, {}), tokens(), permutations=40)
    tables = feature_tables(measured, x)
    numbers = tables["summary"].set_index("metric")["value"]
    assert {f"fvu_rise_{kind}" for kind in sae.position_term.interventions()} <= set(numbers.index)
    part = part_of(LayerSource("1", {0: sae}, x, document, tables["features"], {}, None), [0])
    assert ("mask" in part.arrays) == (position.rpartition("+")[2] in ("gain", "score_mask", "mask"))
    fires = sae.encode(x.float()).fired()[:, 1:].sum(0).T
    assert (part.arrays["firings"] == fires.numpy()).all()


def test_what_there_is_not_is_left_out(planted):
    silent = planted
    assert silent.arrays["context_count"][D - 1].sum() == 0 and silent.arrays["highest"][D - 1] == 0
    part = part_of(source("2", planted=False, seeds=(0,), masked=False, lens=False), [0])
    assert part.header["twins"] == [] and part.header["clusters"] is None and "mask" not in part.arrays
    assert part.arrays["context_window"].max() < N


def test_tables_of_other_dictionaries_are_refused():
    right = source("1")
    wrong = right.features.assign(density=right.features["density"] + 0.1)
    with pytest.raises(ConfigError, match="other dictionaries"):
        describe(dataclasses.replace(right, features=wrong), [0])
