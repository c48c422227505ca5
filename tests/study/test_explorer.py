import dataclasses
import threading

import numpy as np
import pytest
import torch

from lens.activations import models
from lens.errors import ConfigError
from lens.profiling.features import feature_tables, labellings, measure_features
from lens.study import tables
from lens.study.explorer import build, collect, server_of
from lens.study.extraction import extract_for_trial
from lens.study.layer_data import load_dictionaries, load_dictionary, open_layer_data
from lens.study.params import Ablations, Corpus, Roles, Study
from lens.study.training import train
from tests.explorer.test_explorer_serve import asked

VARIANTS = ("temporallens", "standard", "few")
FEW = {"few": {"architecture": "topk", "k": 8, "position": "none"}}


def smallest(out, **changes) -> Study:
    """The study `smoke` with one layer and a handful of steps, everything it writes in a folder of its own."""
    study = Study.load("smoke", out=out)
    training = dataclasses.replace(study.training, steps=10)
    recipes = study.recipes | FEW
    small = {
        "recipes": recipes,
        "layers": (1,),
        "main_layers": (1,),
        "control_seeds": (),
        "variants": VARIANTS,
        "training": training,
        "ablations": Ablations(),
    }
    return dataclasses.replace(study, **small | changes)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Its features alone are measured, on texts of a few thousand random words."""
    folder = tmp_path_factory.mktemp("smallest")
    random = np.random.default_rng(0)
    for name in ("train", "test", "contrast"):
        words = ["".join(random.choice(list("abcdefgh"), 4)) for _ in range(4000)]
        (folder / f"{name}.txt").write_text(" ".join(words))
    texts = Corpus(*(str(folder / f"{name}.txt") for name in ("train", "test", "contrast")))
    windows = dataclasses.replace(Study.load("smoke").windows, contrast=8)
    study = smallest(folder / "out", corpus=texts, windows=windows)
    extract_for_trial(study, 1)
    data = open_layer_data(study, 1)
    train(study, data)
    x, T = data.test.activations, study.windows.length
    found = measure_features(
        load_dictionaries(study, 1), x, data.test.document, 1, labellings(len(x), T, {}), data.test.tokens,
        permutations=99,
    )  # fmt: skip
    tables.save(study, "measures", 1, feature_tables(found, x))
    return study


def test_build_of_the_smallest_study_is_repeatable(measured):
    path = build(measured)
    assert path == measured.results / "explorer.html"
    first = path.read_bytes()
    assert first == build([measured], measured.results / "again.html").read_bytes()
    assert len(first) < 300_000
    assert [p.name for p in measured.results.glob(".*")] == []


def test_what_is_collected_is_what_the_tables_say(measured):
    found = collect(measured)
    table = tables.read(measured, "features")
    rows = table[(table["variant"] == "temporallens") & (table["seed"] == 0)]
    shown = found.layers["1"].header["columns"]["density"]
    assert np.allclose(shown, rows["density"], rtol=1e-5)
    facts = found.study.header
    assert facts["T"] == 32 and facts["steps"] == 10 and "not the paper's" in facts["model_note"]
    assert found.layers["1"].header["lens"] is not None and len(found.layers["1"].header["twins"]) == 1
    text = "".join(facts["words"][i] for i in found.study.arrays["tokens"][0])
    assert text.startswith("<bos>")


def test_own_text_is_read_with_the_dictionary_that_is_shown(measured):
    with server_of([measured]) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        status, found = asked(server.server_address, {"study": measured.name, "layer": "1", "text": "abc"})
        server.shutdown()
    thread.join()
    sae, model = load_dictionary(measured, 1, "temporallens", 0), models.load(measured.model)
    tokens = torch.tensor([[model.bos_id, *model.tokenizer.encode("abc", add_special_tokens=False)]])
    expected = sae.encode(model.residual_stream(tokens, [1])[1].float()).dense()[0].detach().numpy()
    assert status == 200 and found["words"][1:] == ["a", "b", "c"]
    assert [on["features"] for on in found["on"][1:]] == [np.flatnonzero(row).tolist() for row in expected[1:]]
    assert (expected[1:] != 0).any()


@pytest.mark.parametrize("variant", ["standard", "few"])
def test_one_variant_of_any_architecture_and_one_seed_are_enough(tmp_path, measured, variant):
    alone = {"variants": (variant,), "roles": Roles(), "seeds": (0,), "ablations": Ablations()}
    study = dataclasses.replace(measured, out=tmp_path, **alone)
    (tmp_path / "dictionaries").symlink_to(measured.results / "dictionaries")
    (tmp_path / "activations").symlink_to(measured.results / "activations")
    found = {name: tables.read(measured, name) for name in ("features", "summary")}
    one = {name: t[(t["variant"] == variant) & (t["seed"] == 0)] for name, t in found.items()}
    tables.save(study, "measures", 1, one)
    found = collect(study)
    assert found.study.header["variant"] == variant and "mask" not in found.layers["1"].arrays
    assert found.layers["1"].header["twins"] == []


def test_no_tables(tmp_path):
    with pytest.raises(ConfigError, match=r"no tables to show.*dvc repro studies/smoke/dvc\.yaml"):
        collect(smallest(tmp_path))


def test_tables_but_no_dictionaries(tmp_path, measured):
    study = smallest(tmp_path)
    (tmp_path / "tables").symlink_to(measured.results / "tables")
    command = "lens run 02_train --study smoke --layer 1"
    with pytest.raises(ConfigError, match=f"needs the dictionaries of layer 1.*{command}"):
        collect(study)
    with pytest.raises(ConfigError):
        build(study)
    assert not (tmp_path / "explorer.html").exists()


def test_a_layer_without_tables_or_dictionaries(tmp_path, measured):
    study = dataclasses.replace(measured, out=tmp_path, layers=(1, 2))
    (tmp_path / "dictionaries").symlink_to(measured.results / "dictionaries")
    rows = {name: tables.read(measured, name) for name in ("features", "summary")}
    tables.save(study, "measures", 1, rows)
    with pytest.raises(ConfigError, match=r"lacks measures/layer_2\.parquet"):
        collect(study)
    tables.save(study, "measures", 2, rows)
    with pytest.raises(ConfigError, match="needs the dictionaries of layer 2"):
        collect(study)
