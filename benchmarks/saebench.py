"""What SAEBench computes of our dictionaries, and what we compute of them on the same windows.

    python -m benchmarks.saebench

Makes the environment with SAEBench on first use, and a folder with a small language model (random weights), two
dictionaries fitted to it, one with masks and one without a position term, and data sets with the columns of SAEBench's.
There SAEBench's own entry points run (`saebench_worker.py`); nothing is fetched. Writes results/benchmarks/saebench.md.
Two minutes of one core.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import tokenizers
import torch
import transformers
from torch import Tensor

import lens
from benchmarks import environment, machine, saebench_worker
from lens import checkout
from lens.activations import corpus
from lens.activations.language_model import LanguageModel
from lens.activations.models import load
from lens.dictionaries.dictionary import Dictionary
from lens.files import read_json
from lens.measure import fidelity, probing
from lens.measure.reconstruction import fvu, input_moments, reconstruct

MODEL, LAYER, LENGTH, WINDOWS = "random:gpt2-tiny", 2, 64, 32
TRAIN, TEST, K = 160, 80, (1, 2, 5)  # texts of a probe, half of them of its class
FITTED = {
    "mask": {"architecture": "relu", "position": "mask", "l1_coef": 0.002},
    "BatchTopK": {"architecture": "batch_topk", "position": "none", "k": 8, "position_weights": "uniform"},
}
CLASSES: tuple[Callable[[str], str], ...] = (
    str,
    str.upper,
    lambda text: text[::-1],
    lambda text: "".join(c for c in text if c not in "aeiou"),
    lambda text: text.replace(" ", "\n"),
)
ELSEWHERE = (
    ("SCR", "as TPP, with pairs of its classes"),
    ("absorption, the whole", "needs a model that spells; what it encodes is in the table above"),
    ("RAVEL, MDL", "encode vectors, and windows of one vector: with a position term as absorption does"),
    ("sae-probes", "fetches its data sets, and needs xgboost"),
    ("unlearning", "needs a gated data set (WMDP) and a model that was trained on its subject"),
    ("autointerp", "asks a model behind an API"),
)


def main() -> None:
    environment.prepare_saebench()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="saebench-") as name:
        folder = Path(name)
        model = load(MODEL, device="cpu", dtype=torch.float32)
        save_model(model, folder / saebench_worker.MODEL)
        text = "\n".join(corpus.load("tiny-shakespeare")["text"])
        data_sets(text[500_000:], folder)
        saes = {
            name: lens.fit(
                model, LAYER, [text[:300_000]], folder / "fit", name=name, windows=256, length=LENGTH, steps=300,
                expansion=4, **recipe,
            )
            for name, recipe in FITTED.items()
        }  # fmt: skip
        paths = {name: str(folder / "fit" / "dictionaries" / name / f"{name}-seed0") for name in saes}
        asked = {"dictionaries": paths, "windows": WINDOWS, "length": LENGTH, "train": TRAIN, "test": TEST, "k": K}
        (folder / "asked.json").write_text(json.dumps(asked))
        variables = {
            **os.environ, "PYTHONPATH": str(checkout.root()), "HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled",
            "JAXTYPING_DISABLE": "1",  # else its probes' sizes, checked by jaxtyping 0.3.11, contradict each other
        }  # fmt: skip
        command = [environment.python(environment.SAEBENCH), "-m", "benchmarks.saebench_worker", str(folder)]
        done = subprocess.run(command, cwd=checkout.root(), env=variables, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"SAEBench stopped:\n{done.stderr[-4000:]}")
        content = report(model, saes, folder)
    path = checkout.root() / "results" / "benchmarks" / "saebench.md"
    path.write_text(content)
    print(content)


def report(model: LanguageModel, saes: dict[str, Dictionary], folder: Path) -> str:
    """The table, of what SAEBench left in the folder and of what we compute of the same windows."""
    found = read_json(folder / "found.json", "run this again")
    windows, probes = torch.load(folder / "core.pt"), torch.load(folder / "probing.pt")
    rows = []
    for name, sae in saes.items():
        ours = core(model, sae, *windows[name])
        there = found["core"][name]
        rows += [("core", name, what, *compared(theirs(there, what), value)) for what, value in ours.items()]
        rows += [("sparse probing", name, what, *pair) for what, pair in probed(model, sae, probes[name]).items()]
    return table(rows, found)


def save_model(model: LanguageModel, folder: Path) -> None:
    """As transformers opens it; its tokenizer puts BOS first and pads with it, as GPT-2's does in TransformerLens."""
    model.model.save_pretrained(folder)
    config = read_json(folder / "config.json", "run this again")
    config["n_ctx"] = config["n_positions"]  # is in GPT-2's own file, and TransformerLens reads it
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer = cast(transformers.PreTrainedTokenizerFast, model.tokenizer)
    bos = tokenizer.bos_token
    cast(tokenizers.Tokenizer, tokenizer.backend_tokenizer).post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, model.bos_id)]
    )
    tokenizer.pad_token = tokenizer.eos_token = bos
    tokenizer.save_pretrained(folder)


def data_sets(text: str, folder: Path) -> None:
    """openwebtext, ag_news and bias_in_bios: their names and columns, and pieces of `text` written in other ways."""
    pieces = [text[at : at + 2 * LENGTH] for at in range(60_000, len(text), 2 * LENGTH)]
    rows = {"openwebtext/train": [{"text": text[:60_000]}]}
    for split, n in (("train", TRAIN), ("test", TEST)):
        news = [
            {"text": change(pieces.pop()), "label": label} for label, change in enumerate(CLASSES[:4]) for _ in range(n)
        ]
        biographies = [
            {"hard_text": change(pieces.pop()), "profession": profession, "gender": gender}
            for profession, change in zip((0, 1, 2, 6, 9), CLASSES, strict=True)
            for gender in (0, 1)
            for _ in range(n)
        ]
        rows |= {f"fancyzhx/ag_news/{split}": news, f"LabHC/bias_in_bios/{split}": biographies}
    for name, content in rows.items():
        path = folder / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in content))


def core(model: LanguageModel, sae: Dictionary, spliced: Tensor, encoded: Tensor) -> dict[str, float]:
    """Our numbers under SAEBench's names, on the windows [n, T] that it spliced and that it encoded.

    It leaves BOS as it is, ablates with zero everywhere, and counts what is predicted from text tokens; KL also at the
    last position, which predicts nothing that is in the window. One token more takes its place here.
    """
    T = spliced.shape[1]
    longer = torch.cat([spliced, spliced[:, -1:]], dim=1)
    text = fidelity.keep_bos(fidelity.dictionary(sae))

    def reconstructed(x: Tensor) -> Tensor:
        return torch.cat([text(x[:, :T]), x[:, T:]], dim=1)

    zero = fidelity.constant(torch.zeros(model.d_model))
    result = fidelity.splice(model, longer, LAYER, {"sae": reconstructed, "ablation": zero})
    ce = {name: float(v[:, 1 : T - 1].mean()) for name, v in (result.ce | {"clean": result.ce_clean}).items()}
    kl = {name: float(v[:, 1:].mean()) for name, v in result.kl.items()}
    x = model.residual_stream(encoded, [LAYER])[LAYER]
    block = torch.zeros(len(x), dtype=torch.int32)
    sums, moments = reconstruct(sae, x, block, 1, 1.0), input_moments(x, block, 1, 1.0)
    n = len(x) * (T - 1)
    return {
        "l0": sums.active[1:].sum() / n,
        "l1": sums.l1[1:].sum() / n / sae.info.input_scale,
        "mse": sums.sq_error[:, 1:].sum() / n / n,  # which it divides by the tokens twice
        "explained_variance": 1 - fvu(sums.sq_error[:, 1:], moments.sq_deviation[:, 1:]),
        "cossim": sums.per_token["cosine"] / n,
        "l2_ratio": sums.per_token["l2_ratio"] / n,
        "relative_reconstruction_bias": sums.per_token["sq_hat"] / sums.per_token["dot"],
        "ce_loss_without_sae": ce["clean"],
        "ce_loss_with_sae": ce["sae"],
        "ce_loss_with_ablation": ce["ablation"],
        "ce_loss_score": fidelity.ce_recovered(ce["clean"], ce["sae"], ce["ablation"]),
        "kl_div_with_sae": kl["sae"],
        "kl_div_with_ablation": kl["ablation"],
    }


def compared(theirs: float, ours: float) -> tuple[float, float, float]:
    """Both, and their difference over ours."""
    return theirs, ours, abs(theirs - ours) / abs(ours)


def theirs(metrics: dict, what: str) -> float:
    """One of its metrics, in whatever group it is."""
    [value] = [group[what] for group in metrics.values() if what in group]
    return value


def probed(model: LanguageModel, sae: Dictionary, read: dict) -> dict[str, tuple[float, float, float]]:
    """SAEBench's numbers, ours and their difference over ours, of pooled features and of probes on the rows it drew.

    Args:
        read: for the texts of training and of testing, `tokens` and `pooled` features by class; `probes` with the rows
            of each class's training and test set, among those of all classes in their order.
    """
    own = [{c: pooled(model, sae, tokens["input_ids"]) for c, tokens in classes.items()} for classes in read["tokens"]]
    mine = np.concatenate([x.ravel() for classes in own for x in classes.values()])
    read_there = np.concatenate([x.numpy().ravel() for classes in read["pooled"] for x in classes.values()])
    size = [float(np.linalg.norm(x) / len(x) ** 0.5) for x in (read_there, mine, read_there - mine)]
    numbers = {"pooled features, root mean square": (size[0], size[1], size[2] / size[1])}
    train, test = (np.concatenate(list(classes.values())) for classes in own)
    X = np.concatenate([train, test])
    for probe in read["probes"]:
        if probe["k"] is None or probe["width"] != sae.info.d_sae:
            continue
        accuracy, name = [], f"sae_top_{probe['k']}_test_accuracy"
        for (rows, y), (test_rows, test_y) in zip(probe["rows"][::2], probe["rows"][1::2], strict=True):
            task = probing.Task("", rows.numpy(), y.numpy(), test_rows.numpy() + len(train), test_y.numpy())
            accuracy.append(probing.probe(X, task, "sae", [probe["k"]])[name])
        numbers[name] = compared(float(np.mean(list(probe["accuracy"].values()))), float(np.mean(accuracy)))
    return numbers


def pooled(model: LanguageModel, sae: Dictionary, tokens: Tensor) -> np.ndarray:
    """Mean features [n, d_sae] of the texts, in raw units as SAEBench has them."""
    x = model.residual_stream(tokens, [LAYER])[LAYER]
    return probing.pooled(lambda x: sae.encode(x).dense(), x) / sae.info.input_scale


def table(rows: list[tuple[str, str, str, float, float, float]], found: dict) -> str:
    """As Markdown: numbers side by side, what ran beside them, what was not run and why."""
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    lines = [
        "# What SAEBench says of our dictionaries, and what we say", "",
        f"`python -m benchmarks.saebench`, {machine.processor()}, one thread, Python {platform.python_version()}; "
        f"{versions}. {MODEL.removeprefix('random:')} with random weights, layer {LAYER}, windows of {LENGTH}; 128 "
        "features each, with masks (ReLU) and without a position term (BatchTopK), 300 steps. SAEBench's own entry "
        "points through `lens.SAEBenchAdapter`, from local data sets with its columns; ours with "
        "`lens.measure` on the windows and rows that it drew.", "",
        "| evaluation | dictionary | metric | SAEBench | ours | difference / ours |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for *words, there, here, difference in rows:
        lines.append(f"| {' | '.join(words)} | {there:.6g} | {here:.6g} | {difference:.0e} |")
    lines += [
        "", "`explained_variance` differs by its definition: SAEBench takes the square of the mean of all squared "
        "entries from the mean squared norm, which is no variance; ours is 1 - FVU. Its `mse` is divided by the number "
        "of tokens twice, and so is ours here. Its probes are fitted in float32, ours in float64: that moves a text or "
        "two of the test. With random weights no feature means anything, and activations are so small that TPP's "
        "probes learn nothing: the equality is what counts.", "",
        "| evaluation | mask | BatchTopK |", "|---|---|---|",
    ]  # fmt: skip
    shown = {"TPP, `tpp_threshold_2_total_metric`": {n: f"{tpp_of(m):.4f}" for n, m in found["tpp"].items()}}
    shown["absorption's encoding of vectors [8, d]"] = found["vectors"]
    for side in ("right", "left"):
        shown[f"sparse probing, two short texts padded on the {side}"] = {
            name: sides[side] for name, sides in found["short texts"].items()
        }
    for what, by in shown.items():
        short = [": ".join(by[name].split(": ")[:2]) for name in FITTED]  # of an error, what is wrong
        lines.append(f"| {what} | {' | '.join(short)} |")
    lines += ["", "| not run | why |", "|---|---|", *(f"| {what} | {why} |" for what, why in ELSEWHERE)]
    return "\n".join(lines) + "\n"


def tpp_of(metrics: dict) -> float:
    return theirs(metrics, "tpp_threshold_2_total_metric")


if __name__ == "__main__":
    main()
