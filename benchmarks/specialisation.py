"""What each test of position says of features whose truth is known, read through dictionaries that were trained.

    python -m benchmarks.specialisation [--worlds synthetic real longer paper] [--seeds 10 11]

Planted features fire by their text and, some of them, by position: in synthetic activations of more features than
dimensions, and in the residual stream of a language model. A dictionary is trained on them, and every recovered feature
(cosine of decoder and planted direction >= .9) is judged as `lens.profile(..., offsets=4)` judges. Writes
`results/benchmarks/specialisation.md` and `.csv`. Finished cases lie under `artifacts/specialisation`, and stay.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import planted_real, planted_synthetic
from benchmarks.planted_case import PERMUTATION, SHIFT, judged, trained
from benchmarks.specialisation_report import report, rows_of
from lens import files
from lens.measure.verdicts import HALF, MATERIAL

OUT, WORK = Path("results/benchmarks"), planted_real.WORK / "cases"
SPARSE = {"architecture": "batch_topk", "position": "none", "position_weights": "uniform", "lr": 1e-3}
SHARES = (0.0, 0.02, 0.1)
KEPT = ["kind", "truth", "depth", "persistence", "information", "recovered", "source_missed", "firings", "verdict"]
LONGER = 3000  # steps, where 1000 recover fewer than half of what is planted

TESTS: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    SHIFT: lambda t: t[SHIFT],
    PERMUTATION: lambda t: t[PERMUTATION],
    "E1": lambda t: t["moved"],
    "E2": lambda t: t["others_high"] < HALF,
    "E3": lambda t: t["alone"],
    "rule": lambda t: (
        t["moved"] & t["alone"] & (t["conditional_gain"] - t["conditional_se"] >= MATERIAL) & ~_by_term(t)
    ),
    "E1 E3": lambda t: t["moved"] & t["alone"] & ~_by_term(t),
    "own > .1": lambda t: t["moved"] & t["alone"] & (t["own_low"] > 0.1) & ~_by_term(t),
    "kept > .25": lambda t: t["moved"] & t["alone"] & (t["conditional_gain"] > t["position_gain"] / 4) & ~_by_term(t),
    "first rule": lambda t: t["moved"] & t["alone"] & (t["others_high"] < HALF) & ~_by_term(t),
}
"""what may be said of a feature, a column each; those below E3 are rules for "specialised" """


def _by_term(table: pd.DataFrame) -> pd.Series:
    return table["term_code"] > HALF


def synthetic(share: float, seed: int) -> pd.DataFrame:
    """Position's own part of the variance is `share`."""
    case = planted_synthetic.case(share, seed)
    width = {"steps": 800, "expansion": 4, "k": round(case.l0)}
    return judged(case, trained(case, SPARSE | width), seed)


def real(seed: int, steps: int = 1000) -> pd.DataFrame:
    """A BatchTopK dictionary, with a mask put on those features that are to be tuned by it alone."""
    case = planted_real.case(seed)
    recipe = {"input_centre": "mean", "lr_warmup": 0.1, "lr_decay": 0.2, "steps": steps, "k": 32}
    return judged(case, planted_real.masked(trained(case, SPARSE | recipe), case), seed)


def paper(seed: int) -> pd.DataFrame:
    """The paper's dictionary: ReLU, L1 penalty, masks."""
    case = planted_real.case(seed)
    return judged(case, trained(case, {"steps": 1000}), seed)


def cases(worlds: list[str], seeds: list[int]) -> Iterator[tuple[str, Callable[[], pd.DataFrame]]]:
    """Name of each case, and what makes its table."""
    for seed in seeds:
        if "synthetic" in worlds:
            for share in SHARES:
                yield f"synthetic {share:g}, seed {seed}", lambda share=share, seed=seed: synthetic(share, seed)
        if "real" in worlds:
            yield f"real, seed {seed}", lambda seed=seed: real(seed)
        if "longer" in worlds:
            yield f"longer, seed {seed + 2}", lambda seed=seed + 2: real(seed, LONGER)
    if "paper" in worlds:
        yield f"paper, seed {seeds[0]}", lambda: paper(seeds[0])


def finished(name: str, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """The table of a case, made once; anew if it was kept before all of `KEPT` was."""
    path = WORK / f"{name}.csv"
    if not path.is_file() or not {*KEPT} <= {*pd.read_csv(path, nrows=0)}:
        start, table = time.process_time(), make()
        said = pd.DataFrame({test: says(table).astype(bool) for test, says in TESTS.items()})
        table = pd.concat([table[KEPT], said], axis=1)
        table["cpu_seconds"] = round(time.process_time() - start)
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, table.to_csv(index=False).encode())
        print(f"{name}: {table['cpu_seconds'].iloc[0]} CPU s", flush=True)
    return pd.read_csv(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--worlds", nargs="+", default=["synthetic", "real", "longer", "paper"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 11])
    asked = parser.parse_args()
    found = {name: finished(name, make) for name, make in cases(asked.worlds, asked.seeds)}
    rows = pd.concat([table.assign(case=name, world=name.split(",")[0]) for name, table in found.items()])
    command = f"python -m benchmarks.specialisation --worlds {' '.join(asked.worlds)} --seeds "
    text = report(rows, list(TESTS), command + " ".join(map(str, asked.seeds)))
    files.write(OUT / "specialisation.md", text.encode())
    files.write(
        OUT / "specialisation.csv", rows_of(rows, list(TESTS)).to_csv(index=False, float_format="%.3g").encode()
    )
    print(text)


if __name__ == "__main__":
    np.seterr(invalid="ignore")
    main()
