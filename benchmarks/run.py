"""Speed beside the peers' packages, in one run on this machine: `make bench`, or `python -m benchmarks.run`.

Prints the tables and writes results/benchmarks/speed.json (every round) and speed.md. Takes about five minutes, and
some more the first time, when it makes the peers' environment.
"""

from __future__ import annotations

import argparse
import os

from benchmarks import drawing, environment, extraction, machine, report, training
from benchmarks.setting import use_all_cores
from lens.activations import language_model
from lens.config import ROOT

RESULTS = ROOT / "results" / "benchmarks"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the races (default: 5)")
    parser.add_argument("--seconds", type=float, default=3, help="of each contender per training round (default: 3)")
    arguments = parser.parse_args()

    environment.prepare()
    threads = use_all_cores()
    this = machine.describe(threads)
    if this["load_before"] > 0.5 and "OMP_WAIT_POLICY" not in os.environ:
        print(f"the machine is busy (load {this['load_before']}): OMP_WAIT_POLICY=passive gives steadier numbers")
    print(f"training: {arguments.rounds} rounds of 7 contenders, {arguments.seconds:g} s each", flush=True)
    trained, versions = training.measure(arguments.rounds, arguments.seconds)
    this["versions"] |= versions
    print(f"extraction: {arguments.rounds} rounds of 3 contenders", flush=True)
    model = language_model.load(extraction.MODEL, device="cpu")
    extracted = extraction.measure(model, arguments.rounds)
    print("opening and drawing", flush=True)
    reading = drawing.measure(model, arguments.rounds)

    report.write(RESULTS, this, trained, extracted, reading)
    print("\n" + report.text(this, trained, extracted, reading))
    print(f"written to {RESULTS.relative_to(ROOT)}/")


if __name__ == "__main__":
    main()
