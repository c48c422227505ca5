"""The GPU benchmark, at toy size on the CPU, in a process that has PyTorch and nothing else."""

import json
import os
import subprocess
import sys

from benchmarks.gpu import CONTENDERS
from lens import checkout
from lens.dictionaries import by_name

ALONE = """
import sys
from importlib.machinery import PathFinder

absent, out = sys.argv[1].split(","), sys.argv[2]

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] in absent else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
from benchmarks import gpu
sys.argv = ["gpu", "--device", "cpu", "--small", "--out", out]
gpu.main()
"""
ABSENT = "numpy,scipy,pandas,safetensors,transformers,ruamel,tqdm,filelock,sklearn,matplotlib"


def test_it_measures_with_pytorch_alone_and_names_what_it_cannot_measure(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(checkout.root()), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", ALONE, ABSENT, str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found, report = json.loads((tmp_path / "gpu.json").read_text()), (tmp_path / "gpu.md").read_text()
    known = by_name.names("lens.dictionaries.architectures")
    ours = {name for name, fields in CONTENDERS.items() if fields.get("architecture", "relu") in known}
    [contenders] = found["throughput"].values()
    measured = {name for name, values in contenders.items() if isinstance(values, dict)}
    assert measured == ours | {"five bare products"}
    assert all(found["equality"][name] == {"loss": 0.0, "W_dec": 0.0} for name in ours)  # the CPU with itself
    assert "Extraction: not measured: ModuleNotFoundError: No module named 'transformers'." in report
    assert all(f"| {name} | not measured: " in report for name in contenders.keys() - measured)
