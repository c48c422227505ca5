"""A small study of dark position: rows, tables, figure."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from lens.figures.dark_position import LEFT, READ, dark_position
from lens.measure.dark_position import arms_of_model, estimates
from lens.study import extraction
from lens.study.dark_position import dark_position_tables
from lens.study.dark_position_toy import toy
from lens.study.params import EqualL0, Study


@pytest.fixture
def study(tmp_path, monkeypatch) -> Study:
    whole = Study.load("dark_position", tmp_path / "out")
    monkeypatch.setattr(Study, "pool", tmp_path / "pool")
    monkeypatch.setattr(Study, "artifacts", tmp_path / "artifacts")
    training = dataclasses.replace(whole.training, steps=8)
    training.overrides.update(batch_windows=8, precision="fp32")
    return dataclasses.replace(
        whole,
        model="random:gemma-3-tiny",
        layers=(1,),
        windows=dataclasses.replace(whole.windows, length=40, train=24, test=44, fidelity=6),
        training=training,
        seeds=(0, 1),
        equal_l0=(EqualL0(8, ("blind",)), EqualL0(16, ("blind", "wide"))),
    )


def test_a_small_study_is_measured_and_drawn(study, monkeypatch):
    for part in study.parts:
        extraction.extract_for_trial(part, 1)
    without, real = [], arms_of_model
    monkeypatch.setattr("lens.study.dark_position.arms_of_model", lambda *a: without.append(a) or real(*a))
    tables = dark_position_tables(study, 1)
    assert len(without) == 2  # what no dictionary changes, once for each seed
    made = tables["dictionaries"].set_index(["variant", "target", "seed"]).sort_index()
    assert len(made) == 6 and (made.loc["wide", "width"] == 4 * made.loc["blind", "width"].iloc[0]).all()
    assert np.isfinite(tables["measures"]["value"]).all()
    wholes = tables["measures"].query("document == ''").set_index("measure")["value"]
    assert (wholes["fvu"] > 0).all()
    assert set(wholes.index) >= {"path left", "path share", "r2 error 0.4 late", "delta_ce another given late"}
    again = dark_position_tables(study, 1)
    assert again["measures"].equals(tables["measures"])

    def of(names, form):
        return [estimates(tables["measures"], lambda m, n=n: m[form.format(n)]).assign(of=n) for n in names]

    read, left = of(READ, "r2 {} 0.4 all"), of(LEFT, "{}")
    read, left = (pd.concat(part).query("variant == 'blind'") for part in (read, left))
    drawn = dark_position(read, left, 2)
    assert "Means over 2 seeds" in drawn.caption and "at L0 16" in drawn.alt


def test_the_toy_leaves_the_path_that_it_loses_and_no_other():
    kept, lost = toy(2), toy(13)
    assert abs(kept["path left"]) < 0.05 and lost["path left"] > 0.8
    assert abs(kept["R2 of the error"]) < 0.02 and lost["R2 of the error"] > 0.2 > lost["R2 of the activations"]
