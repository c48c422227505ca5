"""Training speed on one GPU: `make bench-gpu`, or `python -m benchmarks.gpu`. No network; ends within six minutes.

The core needs PyTorch alone (2.11 or later). With `transformers` also the extraction of a random Gemma-2-2B is
measured, and with `--wheels DIR` the trainers of other libraries, whose wheels lie there. What cannot be measured is
printed as such, with the reason. Writes `gpu.md` and `gpu.json` into a folder named by the card.

Throughput is that of whole training steps on activations that are on the GPU; the clock stops when the GPU has. FLOP
are those of the five matrix products of a dense step, 10 d n for each vector, whatever a kind of step really forms:
with the few features that a vector keeps, a step may come out above what its GPU can multiply.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import statistics
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import gpu_peers
from benchmarks.gpu_setting import FULL, NOT_MEASURED, SMALL, K, Size, batches, measured, seconds_per_step, why
from lens import checkout
from lens.dictionaries.dictionary import Dictionary, Info
from lens.training.gradients import Workspace
from lens.training.recipe import build
from lens.training.run import Run

SECONDS = 330  # nothing is begun after them
CONTENDERS = {
    "ReLU": {"position": "none"},
    "ReLU, mask": {"position": "mask"},
    "TopK": {"architecture": "topk", "position": "none", "k": K},
    "BatchTopK": {"architecture": "batch_topk", "position": "none", "k": K},
    "Matryoshka": {"architecture": "matryoshka", "position": "none", "k": K},
    "JumpReLU": {"architecture": "jumprelu", "position": "none", "target_l0": float(K)},
    "T-SAE": {"architecture": "t_sae", "position": "none", "k": K},
}


class Steps:
    """Training steps of one contender on batches that lie on the device."""

    def __init__(self, size: Size, expansion: int, fields: dict, device: torch.device, **more):
        recipe = build({"position_weights": "uniform", "steps": 100_000, "expansion": expansion} | fields | more)
        info = Info(
            size.d, expansion * size.d, size.positions + 1, architecture=recipe.architecture,
            position=recipe.position, settings=recipe.settings, name=recipe.architecture,
        )  # fmt: skip
        dictionary = Dictionary.initialise(info, torch.zeros(size.d), seed=0).to(device)
        self.training = Run(recipe, dictionary, Workspace())
        self.data = cycle(batches(size, device))

    def __call__(self) -> None:
        self.training.step(next(self.data), None, log=False)


def products(size: Size, expansion: int, device: torch.device) -> Callable[[], None]:
    """The five bf16 matrix products of a dense step, into kept buffers."""
    n, N = expansion * size.d, size.tokens

    def low(*shape: int) -> Tensor:
        return torch.randn(shape, device=device).to(torch.bfloat16)

    x, residual, f, df = low(N, size.d), low(N, size.d), low(N, n), low(N, n)
    W_enc, W_dec, by_enc, by_dec = low(size.d, n), low(n, size.d), low(size.d, n), low(n, size.d)

    def step() -> None:
        torch.mm(x, W_enc, out=f)
        torch.mm(f, W_dec, out=residual)
        torch.mm(residual, W_dec.T, out=df)
        torch.mm(f.T, residual, out=by_dec)
        torch.mm(x.T, df, out=by_enc)

    return step


def matmul_rate(size: Size, device: torch.device) -> float:
    """FLOP/s of a square bf16 product."""
    a, b, out = (torch.randn(size.matmul, size.matmul, device=device).to(torch.bfloat16) for _ in range(3))
    taken = seconds_per_step(lambda: torch.mm(a, b, out=out), device, size.seconds, size.rounds)
    return 2 * size.matmul**3 / statistics.median(taken)


def equality(device: torch.device) -> dict[str, dict[str, float] | str]:
    """Largest relative difference of losses and of weights after 20 steps in fp32 from those on the CPU."""
    tiny, found = Size(32, (), 4, 16, 0, 0, ""), {}
    for name, fields in CONTENDERS.items():
        try:
            runs = []
            for place in (torch.device("cpu"), device):
                steps = Steps(tiny, 8, fields | ({"k": 4} if "k" in fields else {}), place, precision="fp32", steps=20)
                for _ in range(20):
                    steps()
                runs.append(steps.training)
            losses, weights = ([r.curves[0].cpu() for r in runs], [r.dictionary.W_dec.detach().cpu() for r in runs])
            found[name] = {"loss": _difference(*losses), "W_dec": _difference(*weights)}
        except Exception as error:  # the report names it, and the other parts go on
            found[name] = why(error)
    return found


def throughput(size: Size, expansion: int, device: torch.device, left: Callable[[], float]) -> dict[str, dict | str]:
    """Of each contender by its name: seconds per step of every round and, on a GPU, peak bytes; or why none."""
    makers: dict[str, Callable[[], Callable[[], None]]] = {
        "five bare products": lambda: products(size, expansion, device)
    }
    for name, fields in CONTENDERS.items():
        makers[name] = lambda fields=fields: Steps(size, expansion, fields, device)
    return {name: measured(make, size, device, left) for name, make in makers.items()}


def extraction(size: Size, device: torch.device) -> dict | str:
    """Tokens per second of the residual stream in the middle of a language model with random weights."""
    try:
        from lens.activations import models

        model = models.load(f"random:{size.model}", device=str(device), dtype=torch.bfloat16)
        tokens = torch.randint(model.vocab_size, (16, size.positions), generator=torch.Generator().manual_seed(0))
        layer = model.n_layers // 2 - 1
        taken = seconds_per_step(
            lambda: model.residual_stream(tokens, [layer]) and None, device, size.seconds, size.rounds
        )
        return {"model": f"random:{size.model}", "layer": layer, "tokens": tokens.numel(), "seconds": taken}
    except Exception as error:  # without transformers, or without the memory for the model
        return why(error)


def _difference(one: Tensor, other: Tensor) -> float:
    return float(f"{((one - other).abs().max() / one.abs().max()).item():.3g}")


def card(device: torch.device) -> str:
    """Name of what computes."""
    return torch.cuda.get_device_name() if device.type == "cuda" else f"CPU ({platform.machine()})"


def report(found: dict) -> str:
    """All that was measured, as Markdown."""
    size, rate = found["size"], found["matmul_rate"]
    lines = [
        f"Training on {found['card']}, PyTorch {found['torch']}, Python {found['python']}: d = {size['d']}, "
        f"{found['tokens']} vectors a step, L0 {K}, bf16 products. Made by `{found['command']}` in "
        f"{found['took']:.0f} s; every round is in gpu.json.",
        "",
        f"A square bf16 product: {rate / 1e12:.4g} TFLOP/s.",
        "",
        "| equality with the CPU, fp32, 20 steps | largest relative difference of losses | of decoders |",
        "|---|---|---|",
    ]
    for name, values in found["equality"].items():
        lines.append(f"| {name} | " + (f"{values} | |" if isinstance(values, str) else _row(values.values())))
    for expansion, contenders in found["throughput"].items():
        n = int(expansion) * size["d"]
        lines += [
            "",
            f"| d_sae = {expansion} d = {n:,} | tokens/s (lowest to highest round) | of the product's rate "
            "| peak memory, GB | over what it needs |",
            "|---|---|---|---|---|",
        ]
        for name, values in contenders.items():
            if isinstance(values, str):
                lines.append(f"| {name} | {values} | | | |")
                continue
            rates = sorted(found["tokens"] / s for s in values["seconds"])
            share = 10 * size["d"] * n * statistics.median(rates) / rate
            text = f"{statistics.median(rates):,.0f} ({rates[0]:,.0f} to {rates[-1]:,.0f})"
            lines.append(f"| {name} | {text} | {share:.2f} | {_memory(values['peak'], size['d'], n, found['tokens'])}")
    extracted = found["extraction"]
    if not isinstance(extracted, str):
        speed = extracted["tokens"] / statistics.median(extracted["seconds"])
        extracted = f"{speed:,.0f} tokens/s of {extracted['model']} up to block {extracted['layer']}, bf16"
    return "\n".join([*lines, "", f"Extraction: {extracted}.", ""])


def _memory(peak: int | None, d: int, n: int, tokens: int) -> str:
    """Peak, and its ratio to weights and moments in fp32 and, in bf16, a batch, its codes and their gradients."""
    if peak is None:
        return f"{NOT_MEASURED} | |"
    return f"{peak / 1e9:.3g} | {peak / (3 * 4 * 2 * d * n + 2 * tokens * (d + 2 * n)):.2f} |"


def _row(values) -> str:
    return " | ".join(map(str, values)) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"], help="default: cuda")
    parser.add_argument("--small", action="store_true", help="toy sizes, which try out the script in seconds")
    parser.add_argument("--wheels", type=Path, help="folder with wheels of other libraries, which run beside")
    parser.add_argument("--out", type=Path, help="folder for the results (default: results/benchmarks/<the card>)")
    asked = parser.parse_args()
    if asked.device == "cuda" and not torch.cuda.is_available():
        parser.error("PyTorch sees no CUDA device; --device cpu --small tries out the script on a CPU")
    start = time.perf_counter()
    device, size = torch.device(asked.device), SMALL if asked.small else FULL

    def left() -> float:
        return SECONDS - (time.perf_counter() - start)

    flags = f"{' --small' if asked.small else ''}{' --wheels DIR' if asked.wheels else ''}"
    found = {
        "card": card(device), "torch": torch.__version__, "python": platform.python_version(), "tokens": size.tokens,
        "size": vars(size), "command": f"python -m benchmarks.gpu --device {asked.device}{flags}",
        "matmul_rate": matmul_rate(size, device), "equality": equality(device), "throughput": {},
    }  # fmt: skip
    for expansion in size.expansions:
        print(f"d_sae = {expansion} d", flush=True)
        found["throughput"][expansion] = throughput(size, expansion, device, left)
    print("extraction", flush=True)
    found["extraction"] = extraction(size, device) if left() > 60 else f"{NOT_MEASURED}: the time is over"
    for expansion, contenders in found["throughput"].items():
        print(f"other libraries at {expansion} d", flush=True)
        contenders |= gpu_peers.measure(asked.wheels, size, expansion, device, left)
    found["took"] = time.perf_counter() - start
    slug = re.sub(r"[^a-z0-9]+", "-", found["card"].lower()).strip("-")
    out = asked.out or checkout.root() / "results" / "benchmarks" / slug
    out.mkdir(parents=True, exist_ok=True)
    (out / "gpu.json").write_text(json.dumps(found, indent=1) + "\n")
    (out / "gpu.md").write_text(report(found))
    print(report(found) + f"\nwritten to {out}")


if __name__ == "__main__":
    main()
