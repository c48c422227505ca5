"""Speed beside the peers' packages, in one run on this machine: `make bench`, or `python -m benchmarks.run`.

Prints the tables and writes results/benchmarks/<part>.json (every round) and speed.md. Takes about eight minutes, and
some more the first time, when it makes the peers' environment. `--only cost` renews one part and keeps the others.
"""

from __future__ import annotations

import argparse
import os

from benchmarks import cost, drawing, environment, extraction, machine, profiling, report, training
from benchmarks.setting import use_all_cores
from lens import checkout
from lens.activations import models

RESULTS = checkout.root() / "results" / "benchmarks"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=report.PARTS, help="measure this part alone (default: all of them)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the races (default: 5)")
    parser.add_argument("--seconds", type=float, default=3, help="of each contender per training round (default: 3)")
    arguments = parser.parse_args()

    parts = [arguments.only] if arguments.only else report.PARTS
    if "training" in parts:
        environment.prepare()
    threads = use_all_cores()
    this = machine.describe(threads)
    if this["load_before"] > 0.5 and "OMP_WAIT_POLICY" not in os.environ:
        print(f"the machine is busy (load {this['load_before']}): OMP_WAIT_POLICY=passive gives steadier numbers")
    with_model = {"extraction": extraction, "drawing": drawing, "profiling": profiling}
    model = models.load(extraction.MODEL, device="cpu") if set(with_model) & set(parts) else None
    for part in parts:
        print(f"{part}: {arguments.rounds} rounds", flush=True)
        peers = {}
        if part == "training":
            found, peers = training.measure(arguments.rounds, arguments.seconds)
        elif part == "cost":
            found = cost.measure(arguments.rounds, arguments.seconds)
        else:
            found = with_model[part].measure(model, arguments.rounds)
        report.write(RESULTS, part, this | {"versions": this["versions"] | peers}, found)
    print("\n" + report.text(RESULTS))
    print(f"written to {RESULTS.relative_to(checkout.root())}/")


if __name__ == "__main__":
    main()
