"""Dictionaries that trainers of other libraries make of a study's activations, each by its library's own recipe.

    python -m benchmarks.theirs --study studies/leak/params.yaml --layer 8

They are trained in the environment of the peers (`make peers`) on the windows and in the order of the study's first
seed, with its steps, width and k, and are left as dictionaries of this library in
`artifacts/<study>/theirs/layer_<l>/<name>`.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import torch
from safetensors.torch import save_file

from benchmarks import environment
from benchmarks.quality import peer
from lens.activations.layers import as_layer
from lens.dictionaries.dictionary import Dictionary
from lens.study.layer_data import open_layer_data
from lens.study.leak import theirs_in
from lens.study.params import Study
from lens.training.source import window_order

THEIRS = (("sae-lens", "batch_topk"), ("dictionary-learning", "batch_topk"))


def make(study: Study, layer: int | str, windows: int = 16) -> list[Path]:
    """The folders of all of them.

    Args:
        windows: of a step.
    """
    seed = study.seeds[0]
    data, folder = open_layer_data(study.of_seed(seed), layer), theirs_in(study, layer)
    train, steps = data.train.activations, study.training.steps
    unit, k = data.statistics.scale(centred=False), int(study.training.overrides["k"])
    order = torch.stack(list(window_order(len(train), windows, steps, study.windows.seed)))
    given = folder.parent / f"given-{layer}.safetensors"
    given.parent.mkdir(parents=True, exist_ok=True)
    made = []
    try:
        save_file({"windows": (train[:, 1:].float() * unit).bfloat16(), "order": order}, given)
        for library, architecture in THEIRS:
            sizes = {"steps": steps, "expansion": study.dictionary.expansion, "k": k}
            sae, own = peer(library, architecture, None, seed, given, sizes)
            name = f"{library}_{architecture}"
            about = {"input_scale": unit * own, "name": name, "model": study.model, "layer": str(layer), "seed": seed}
            sae = Dictionary(dataclasses.replace(sae.info, **about), sae.on_disk()[1])
            sae.save(folder / name)
            made.append(folder / name)
    finally:
        given.unlink(missing_ok=True)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.theirs", description=__doc__.splitlines()[0])
    parser.add_argument("--study", default="studies/leak/params.yaml", help="a study by name or its parameter file")
    parser.add_argument("--layer", default="8", help="block, or embedding")
    asked = parser.parse_args()
    environment.prepare()
    study = Study.load(asked.study)
    for folder in make(study, as_layer(asked.layer)):
        print(folder)


if __name__ == "__main__":
    main()
