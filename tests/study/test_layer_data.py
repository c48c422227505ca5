"""The dictionaries of a study are those that their folders say."""

import dataclasses

import pytest
import torch

from lens.dictionaries.dictionary import Dictionary
from lens.errors import DictionaryError
from lens.study.layer_data import load_dictionaries
from lens.study.params import Study
from tests.making import info


@pytest.fixture
def study(tmp_path):
    """`smoke` with a dictionary of each of its runs at layer 1."""
    study = dataclasses.replace(Study.load("smoke"), out=tmp_path)
    for variant in study.variants:
        for seed in study.seeds:
            about = info(4, 8, 3, masked=False, name=variant, seed=seed, layer="1")
            folder = study.dictionaries("dictionaries", 1) / f"{variant}-seed{seed}"
            Dictionary.initialise(about, torch.zeros(4), seed).save(folder)
    return study


def test_dictionaries_are_found_by_variant_and_seed(study):
    found = load_dictionaries(study, 1)
    assert {key: (sae.info.name, sae.info.seed) for key, sae in found.items()} == {key: key for key in found}
    assert len(found) == len(study.variants) * len(study.seeds)


@pytest.mark.parametrize("part", ["variant", "seed", "layer"])
def test_a_whole_folder_of_another_run_is_refused_by_name(study, part):
    folder = study.dictionaries("dictionaries", 1)
    if part == "layer":
        folder.rename(folder.with_name("layer_2"))
        layer, wrong = 2, folder.with_name("layer_2") / "standard-seed0"
    else:
        layer, wrong = 1, folder / "standard-seed0"
        other = folder / ("temporallens-seed0" if part == "variant" else "standard-seed1")
        for file in ("cfg.json", "sae.safetensors"):
            (wrong / file).write_bytes((other / file).read_bytes())
    with pytest.raises(DictionaryError, match=f"{wrong} holds .*, seed .*, of layer 1; delete {wrong} and train"):
        load_dictionaries(study, layer)
