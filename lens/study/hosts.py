"""Where a stage ran and what it took: kept beside the results, never inside them."""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from lens import files

LIBRARIES = ("torch", "transformers", "numpy")


def write_record(path: Path, stage: str, parameters: Mapping[str, object], seconds: float) -> None:
    """Write the run record of a stage: parameters, wall time [s], peak memory of its kernel, host and versions."""
    record = {
        "stage": stage,
        "parameters": dict(parameters),
        "wall_seconds": round(seconds, 1),
        "peak_memory_mib": _peak_memory_mib(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "gpu": _gpu(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
    }
    files.write(path, (json.dumps(files.with_digest(record), indent=1, sort_keys=True) + "\n").encode())


def read_record(path: Path) -> dict:
    """The run record of a stage.

    Raises:
        ConfigError: it is missing, damaged or altered.
    """
    remedy = "`git checkout` brings it back if it is in git; else delete it, and the next run of its stage writes it"
    return files.read_json(path, remedy, {"stage": str, "parameters": dict, "wall_seconds": float, "cpus": int})


def _peak_memory_mib() -> int:
    """Largest resident size among the finished child processes."""
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10))  # bytes on macOS, KiB on Linux


def _gpu() -> str | None:
    """Name of the GPU that PyTorch uses; asked only where there is a driver: importing torch takes seconds."""
    if not shutil.which("nvidia-smi"):
        return None
    code = "import torch; print(torch.cuda.get_device_name(0) if torch.cuda.is_available() else '')"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None
