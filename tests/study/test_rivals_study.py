"""Dictionaries of all kinds at one L0: the search, and a small study of them that is stopped and goes on."""

import dataclasses
import json

import pytest
import torch

from lens import checkout
from lens.activations import models
from lens.activations.store import LayerStore
from lens.dictionaries.dictionary import Dictionary, Info
from lens.errors import ConfigError
from lens.measure import fidelity
from lens.measure.at_l0 import next_value
from lens.profiling.layer_data import LayerData
from lens.study import equal_l0, rivals
from lens.study.params import Study

T, D = 9, 16


def store(n: int, seed: int) -> LayerStore:
    x = torch.randn(n, T, D, generator=torch.Generator().manual_seed(seed)).bfloat16()
    start = torch.arange(n) * 4  # windows of 8 text tokens that overlap by half
    manifest = {"windows": n, "sha256": {"train.safetensors": f"planted {seed}"}}
    tokens, document = torch.zeros(n, T, dtype=torch.int32), torch.zeros(n, dtype=torch.long)
    return LayerStore(x, tokens, document, start, ("text",), manifest)


@pytest.fixture
def study(tmp_path, monkeypatch) -> Study:
    whole = Study.load("rivals", tmp_path / "out")
    small = {"k": 3, "target_l0": 3.0}
    kept = ("batch_topk", "relu", "tfa", "crosscoder_2", "crosscoder_2_shuffled")
    recipes = {name: {field: small.get(field, value) for field, value in whole.recipes[name].items()} for name in kept}
    training = dataclasses.replace(whole.training, steps=8)
    training.overrides.update(lr=1e-2, batch_windows=8, precision="fp32")
    windows = dataclasses.replace(whole.windows, fidelity=0)
    monkeypatch.setattr(Study, "pool", tmp_path / "pool")
    monkeypatch.setattr(equal_l0, "TRIES", 2)
    return dataclasses.replace(
        whole, recipes=recipes, variants=kept, seeds=(0,), training=training, windows=windows
    )  # fmt: skip


DATA = LayerData(8, lambda split: store(*{"train": (24, 0), "test": (16, 1)}[split]))


def test_every_recipe_of_the_study_is_one():
    Study.load("rivals").check_recipes()
    assert checkout.root().joinpath("studies/rivals/dvc.yaml").is_file()


def test_a_small_study_is_measured_and_goes_on_where_it_was_stopped(study, monkeypatch):
    measured, seen = rivals._measured, []

    def stops_at(variant):
        def wrapped(data, sae, x, target):
            if sae.info.name == variant:
                raise KeyboardInterrupt
            seen.append((sae.info.name, x is not data.test.activations))
            return measured(data, sae, x, target)

        monkeypatch.setattr(rivals, "_measured", wrapped)

    stops_at("tfa")
    with pytest.raises(KeyboardInterrupt):
        rivals.rivals_table(study, DATA, 3.0)
    assert {name for name, _ in seen} == {"batch_topk", "relu"}
    seen.clear()
    stops_at("")
    found = rivals.rivals_table(study, DATA, 3.0).set_index("variant")
    assert seen == [("tfa", False), ("crosscoder_2", False), ("crosscoder_2_shuffled", True)]  # nothing twice
    assert found["fvu"].between(0, 1.2).all()
    assert (found.loc[["tfa", "crosscoder_2"], "l0"] <= 3).all() and found.loc["crosscoder_2", "l0"] > 2
    assert found.loc["tfa", "parameters"] == D * D + D + 4 * (D * D + D)  # D, b, and the four products of attention
    assert found.loc["crosscoder_2", "parameters"] == 2 * (2 * D * D) + D + 2 * D
    assert (found["predicted"] > 0).tolist() == [False, False, True, False, False]
    assert found["tries"].max() <= 2 and (found.loc[["tfa", "crosscoder_2"], "tries"] == 1).all()
    assert (found["visits"] == found["tries"] * 8 * 8 * 8).all()
    assert (found["dwell"].dropna() >= 1).all() and found["delta_ce"].isna().all()  # no window is spliced


def test_a_finished_row_is_used_on_another_machine_and_made_again_for_other_data(study, monkeypatch):
    one = dataclasses.replace(study, variants=("batch_topk",))
    made = rivals.rivals_table(one, DATA, 3.0)
    elsewhere = LayerData(8, lambda split: store(*{"train": (24, 5), "test": (16, 6)}[split]))  # rounded otherwise
    with monkeypatch.context() as patched:
        patched.setattr(equal_l0, "_searched", lambda *_: pytest.fail("made again"))
        assert rivals.rivals_table(one, elsewhere, 3.0).equals(made)
    fewer = LayerData(8, lambda split: store(*{"train": (20, 0), "test": (16, 1)}[split]))
    assert not rivals.rivals_table(one, fewer, 3.0).equals(made)


def test_what_the_model_loses_is_what_splicing_says(study):
    model = models.load("random:gemma-3-tiny")
    tokens = torch.randint(5, 200, (63, 20), generator=torch.Generator().manual_seed(0)).int()
    x = model.residual_stream(tokens, [1])[1]
    sae = Dictionary.initialise(Info(d_in=model.d_model, d_sae=8, n_positions=20), torch.zeros(model.d_model), 0)
    held_out = LayerStore(x, tokens, torch.zeros(63, dtype=torch.long), torch.arange(63), ("text",), {})
    data = LayerData(1, lambda split: held_out)
    windows = dataclasses.replace(study.windows, fidelity=3)
    finish = rivals._Finish(dataclasses.replace(study, model="random:gemma-3-tiny", windows=windows))
    found = finish(data, sae, x)
    right = fidelity.splice(model, tokens[[0, 21, 42]], 1, {"sae": fidelity.keep_bos(fidelity.dictionary(sae))})
    assert found["ce_clean"] == pytest.approx(right.ce_clean[:, 1:].mean(), rel=1e-6)
    assert found["delta_ce"] == pytest.approx((right.ce["sae"] - right.ce_clean)[:, 1:].mean(), rel=1e-3)
    assert -1 < found["information"] < 1 and found["positional_share_null"] <= 1
    assert finish(data, sae, equal_l0.permuted(x))["delta_ce"] is None  # its vectors are elsewhere than the model's


def test_an_altered_row_is_named(study):
    one = dataclasses.replace(study, variants=("batch_topk",))
    rivals.rivals_table(one, DATA, 3.0)
    path = one.results / "rows" / "layer_8" / "l0_3" / "batch_topk-seed0.json"
    value = json.loads(path.read_text())
    value["row"]["fvu"] /= 2
    path.write_text(json.dumps(value))
    with pytest.raises(ConfigError, match=rf"{path} .*altered.*delete .* and run again"):
        rivals.rivals_table(one, DATA, 3.0)


@pytest.mark.parametrize(("slope", "power"), [(-1, -1.7), (-1, -0.4), (1, 0.8)])
def test_the_search_finds_a_field_for_the_l0(slope, power):
    tried, value = [], 0.04
    for _ in range(equal_l0.TRIES):
        l0 = 7 * value**power + 3
        tried.append((value, l0))
        if abs(l0 / 32 - 1) <= equal_l0.TOLERANCE:
            return
        value = next_value(tried, 32, slope)
    pytest.fail(f"{tried}")


def test_a_step_of_the_search_is_bounded_and_a_line_that_turns_back_is_not_followed():
    assert next_value([(0.01, 3200.0)], 32, -1) == pytest.approx(0.04)
    assert next_value([(1.0, 64.0), (2.0, 70.0)], 32, -1) == pytest.approx(2.0)


def test_a_place_of_the_text_in_two_windows_is_one_token():
    assert rivals.distinct_tokens(store(3, 0)) == 8 + 4 + 4
