"""Every number of a study's tables in short: what a golden test compares.

    python -m tests.golden.numbers smoke amd      # renew tests/golden/smoke/amd.json.gz from the `smoke` run here

There is one file for each kind of processor: sums round differently on others, and training in bf16 carries that on.
A table counts by the number, sum and sum of squares of each numeric column, by variant and metric; a dictionary by the
digest of its weights. Renew only together with a raised version of the stage whose numbers changed (`versions.yaml`).
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from ruamel.yaml import YAML
from safetensors.numpy import load_file

from benchmarks.machine import processor
from lens.study import table_files

GOLDEN = Path(__file__).parent
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")  # decide how bf16 products are summed
GROUPS = ("variant", "metric")
STAGES = {"training": "train", "ablations": "ablate", "measures": "analyse", "calibration": "calibrate"}
LEFT_OUT = {"study", "model", "layer", "seconds", "unit"}
NEWER = (
    "/late_mse/", "/alive_share/", "/dense_share/", "/mask_drift_common/", "/mask_drift_own/", "/mean/",
    "/position_mean/", "/pca_64/", "/pca_l0/", "/delta_ce/",
)  # fmt: skip
"""Rows that stand beside the numbers of golden files, and of committed tables, made before there were such; no number
that was there changed. `analyse` is raised when the tables are renewed, and this emptied when the files are."""
NOT_OF_A_STUDY = {"C21", "C22", "C30", "C32"}  # claims about timings of `make bench`, and about the project itself


def known(study: str) -> list[dict]:
    """The golden documents of a study."""
    return [json.loads(gzip.decompress(path.read_bytes())) for path in sorted((GOLDEN / study).glob("*.json.gz"))]


def of_table(table: pd.DataFrame) -> dict[str, list[float]]:
    """`variant/metric/column` -> [count, sum, sum of squares] of the finite values."""
    found: dict[str, list[float]] = {}
    groups = [g for g in GROUPS if g in table]
    parts = table.groupby(groups, observed=True, sort=True) if groups else [((), table)]
    for key, part in parts:
        for column in part.columns.difference([*groups, *LEFT_OUT]):
            if pd.api.types.is_numeric_dtype(part[column]):
                x = part[column].to_numpy(float)
                x = x[np.isfinite(x)]
                found["/".join([*map(str, key), column])] = [len(x), _short(x.sum()), _short(np.square(x).sum())]
    return found


def of_dictionaries(folder: Path) -> dict[str, str]:
    """Place under `folder` -> digest of the tensors in each file there, whatever the file's metadata."""
    found = {}
    for path in sorted(folder.rglob("*.safetensors")):
        digest = hashlib.sha256()
        for name, tensor in sorted(_tensors(path).items()):
            digest.update(name.encode())
            digest.update(tensor)
        place = path.parent if path.stem == "sae" else path.with_suffix("")
        found[place.relative_to(folder).as_posix()] = digest.hexdigest()[:16]
    return found


def differences(golden: dict, found: dict, relative: float, absolute: float) -> list[str]:
    """Names of the numbers of one stage that differ from the golden ones, are missing, or are new and not `NEWER`."""
    wrong = [f"{name}: missing" for name in golden.keys() - found.keys()]
    new = [name for name in found.keys() - golden.keys() if not any(part in name for part in NEWER)]
    wrong += [f"{name}: not among the golden numbers" for name in new]
    for name in golden.keys() & found.keys():
        (n, *old), (m, *new) = golden[name], found[name]
        close = all(math.isclose(a, b, rel_tol=relative, abs_tol=absolute) for a, b in zip(old, new, strict=True))
        if n != m or not close:
            wrong.append(f"{name}: {golden[name]} became {found[name]}")
    return sorted(wrong)


def _short(x: float) -> float:
    return float(f"{x:.9g}")


def _tensors(path: Path) -> dict[str, bytes]:
    try:
        return {name: tensor.tobytes() for name, tensor in load_file(path).items()}
    except TypeError:  # bf16, which numpy has not
        from safetensors.torch import load_file as load_torch

        return {name: tensor.float().numpy().tobytes() for name, tensor in load_torch(path).items()}


def read(name: str, root: Path) -> dict:
    """The golden document of a study that was run in the checkout `root`."""
    tables: dict[str, dict] = {}
    folder = root / "results" / name / "tables"
    for path in sorted(folder.rglob("*.parquet")):
        kind, *layer = path.relative_to(folder).with_suffix("").parts
        stage = tables.setdefault(STAGES[kind], {})
        for table in table_files.names(path):
            found = of_table(table_files.read(path, table))
            stage |= {"/".join([*layer, table, k]): v for k, v in found.items()}
    artifacts = root / "artifacts" / name
    kinds = ("dictionaries", "ablations")
    dictionaries = {f"{k}/{name}": digest for k in kinds for name, digest in of_dictionaries(artifacts / k).items()}
    return {
        "machine": machine(),
        "versions": YAML(typ="safe").load((root / "lens" / "versions.yaml").read_text(encoding="utf-8")),
        "dictionaries": dictionaries,
        "activations": of_dictionaries(artifacts / "activations"),
        "tables": tables,
        "claims": _claims(root / "results" / name / "claims.json"),
    }


def machine() -> dict[str, object]:
    """What two machines must have in common to make the same bytes."""
    info = Path("/proc/cpuinfo")
    flags = info.read_text().split() if info.is_file() else []
    has = [name for name in INSTRUCTIONS if name in flags]
    return {"processor": processor(), "instructions": has, "torch": version("torch")}


def _claims(path: Path) -> dict[str, list]:
    claims = json.loads(path.read_text(encoding="utf-8"))["claims"]
    return {
        c["id"]: [c["verdict"], c["attributable"], *[r["estimate"] for r in c["readings"]]]
        for c in claims
        if c["id"] not in NOT_OF_A_STUDY
    }


if __name__ == "__main__":
    study, kind, *where = sys.argv[1:]
    document = read(study, Path(where[0]) if where else Path.cwd())
    text = json.dumps(document, indent=0, sort_keys=True) + "\n"
    (GOLDEN / study / f"{kind}.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
