"""SAEBench's own evaluations of our dictionaries: its entry points, unchanged, on a model and data sets in a folder.

    <SAEBench's python> -m benchmarks.saebench_worker <folder>

Runs in the folder, where `benchmarks.saebench` has put a language model, dictionaries and data sets under the names and
with the columns that SAEBench asks for: names of folders are opened before the hub is asked. What it reads is written
down beside what it finds: `core.pt` and `probing.pt` hold windows, rows of the probes and pooled features.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch

MODEL = "gpt2"  # a name that TransformerLens knows; the folder of that name is opened before the hub is asked
PACKAGES = ("sae-bench", "sae-lens", "transformer-lens", "transformers", "datasets", "numpy", "torch")


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.chdir(folder)
    asked = json.loads(Path("asked.json").read_text())
    from lens.dictionaries.dictionary import Dictionary
    from lens.dictionaries.saebench import SAEBenchAdapter

    saes = {}
    for name, path in asked["dictionaries"].items():
        sae = Dictionary.load(path)
        sae.info = replace(sae.info, model=MODEL)
        saes[name] = SAEBenchAdapter(sae)
    found = {
        "versions": {name: version(name) for name in PACKAGES},
        "core": core(saes, asked),
        "probing": probing(saes, asked),
        "tpp": tpp(saes, asked),
        "vectors": vectors(saes),
        "short texts": short_texts(saes, asked),
    }
    Path("found.json").write_text(json.dumps(found))


def core(saes: dict, asked: dict) -> dict:
    """Its metrics by dictionary, each read from its file of results; one batch for each kind of metric."""
    from sae_bench.evals.core import main as core
    from sae_lens.training.activations_store import ActivationsStore

    drawn, draw = [], ActivationsStore.get_batch_tokens

    def recorded(*arguments, **options):
        drawn.append(draw(*arguments, **options))
        return drawn[-1]

    ActivationsStore.get_batch_tokens = recorded
    core.multiple_evals(
        list(saes.items()), 1, 1, asked["windows"], True, True, exclude_special_tokens_from_reconstruction=True,
        dataset="openwebtext", context_size=asked["length"], output_folder="results/core", device="cpu",
    )  # fmt: skip
    ActivationsStore.get_batch_tokens = draw
    torch.save({name: drawn[2 * i : 2 * i + 2] for i, name in enumerate(saes)}, "core.pt")
    return {name: written("core", name) for name in saes}


def probing(saes: dict, asked: dict) -> dict:
    """Sparse probing of four classes of text, and beside it what each probe was given."""
    from sae_bench.evals.sparse_probing import main, probe_training
    from sae_bench.sae_bench_utils import activation_collection, dataset_utils

    tokens, pooled, probes = [], [], []
    tokenize, pool = dataset_utils.tokenize_data_dictionary, activation_collection.get_sae_meaned_activations
    train, prepare = probe_training.train_probe_on_activations, probe_training.prepare_probe_data

    def tokenized(*arguments):
        tokens.append(tokenize(*arguments))
        return tokens[-1]

    def mean(*arguments):
        pooled.append(pool(*arguments))
        return pooled[-1]

    def trained(train_activations, test_activations, select_top_k=None, **options):
        width = next(iter(train_activations.values())).shape[1]
        probes.append({"k": select_top_k, "width": width, "rows": []})
        probes[-1]["accuracy"] = train(train_activations, test_activations, select_top_k, **options)[1]
        return None, probes[-1]["accuracy"]

    def prepared(activations, name, *options):
        """The rows that it is about to draw, from the same state of the generator."""
        state, numbers, first = torch.get_rng_state(), {}, 0
        for c, x in activations.items():
            numbers[c] = torch.arange(first, first + len(x), dtype=torch.float32)[:, None]
            first += len(x)
        rows, y = prepare(numbers, name, *options)
        probes[-1]["rows"].append((rows[:, 0].long(), y.bool()))
        torch.set_rng_state(state)
        return prepare(activations, name, *options)

    dataset_utils.tokenize_data_dictionary, activation_collection.get_sae_meaned_activations = tokenized, mean
    probe_training.train_probe_on_activations, probe_training.prepare_probe_data = trained, prepared
    config = main.SparseProbingEvalConfig(
        dataset_names=["fancyzhx/ag_news"], probe_train_set_size=asked["train"], probe_test_set_size=asked["test"],
        context_length=asked["length"], sae_batch_size=32, llm_batch_size=32, llm_dtype="float32", model_name=MODEL,
        k_values=asked["k"],
    )  # fmt: skip
    read = {}
    for name, sae in saes.items():
        for kept in (tokens, pooled, probes):
            kept.clear()
        main.run_eval(config, [(name, sae)], "cpu", "results/probing", save_activations=False)
        read[name] = {"tokens": list(tokens), "pooled": list(pooled), "probes": list(probes)}
    dataset_utils.tokenize_data_dictionary, activation_collection.get_sae_meaned_activations = tokenize, pool
    probe_training.train_probe_on_activations, probe_training.prepare_probe_data = train, prepare
    torch.save(read, "probing.pt")
    return {name: written("probing", name) for name in saes}


def tpp(saes: dict, asked: dict) -> dict:
    """Targeted probe perturbation between professions."""
    from sae_bench.evals.scr_and_tpp import main

    config = main.ScrAndTppEvalConfig(
        dataset_names=["LabHC/bias_in_bios_class_set1"], perform_scr=False, n_values=[2, 10], model_name=MODEL,
        train_set_size=asked["train"], test_set_size=asked["test"], context_length=asked["length"],
        llm_batch_size=32, llm_dtype="float32", sae_batch_size=32,
    )  # fmt: skip
    for name, sae in saes.items():
        main.run_eval(config, [(name, sae)], "cpu", "results/tpp", save_activations=False)
    return {name: written("tpp", name) for name in saes}


def vectors(saes: dict) -> dict:
    """What absorption is answered where it encodes vectors [n, d] of single positions: a shape, or a refusal."""
    from sae_bench.evals.absorption.k_sparse_probing import _get_sae_acts

    return {name: attempt(lambda s=sae: _get_sae_acts(s, torch.randn(8, s.cfg.d_in))) for name, sae in saes.items()}


def short_texts(saes: dict, asked: dict) -> dict:
    """The same of sparse probing for texts that are padded, on the right and, as by Gemma's tokenizer, on the left."""
    from sae_bench.sae_bench_utils import activation_collection, dataset_utils
    from transformer_lens import HookedTransformer

    found = {}
    for side in ("right", "left"):
        model = HookedTransformer.from_pretrained_no_processing(MODEL, device="cpu", default_padding_side=side)
        tokens = dataset_utils.tokenize_data_dictionary(
            {"0": ["To be, or not to be", "Words, words, words."]}, model.tokenizer, asked["length"], "cpu"
        )
        for name, sae in saes.items():
            layer, hook = sae.cfg.hook_layer, sae.cfg.hook_name
            x = activation_collection.get_all_llm_activations(
                tokens, model, 32, layer, hook, mask_bos_pad_eos_tokens=True
            )
            found.setdefault(name, {})[side] = attempt(
                lambda s=sae, x=x: activation_collection.get_sae_meaned_activations(x, s, 32)["0"]
            )
    return found


def attempt(call) -> str:
    """The shape of what a call answers, or what it raises."""
    try:
        return str(tuple(call().shape))
    except ValueError as error:
        return f"{type(error).__name__}: {error}"


def written(evaluation: str, name: str) -> dict:
    """The metrics in a file of results; of TPP it is a folder further down."""
    [path] = Path("results", evaluation).rglob(f"{name}_custom_sae*.json")
    content = json.loads(path.read_text())
    assert content["sae_cfg_dict"]["model_name"] == MODEL
    return content["eval_result_metrics"]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
