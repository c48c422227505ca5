"""SAEBench's own functions on a dictionary of ours: `<its python> tests/dictionaries/saebench_reads.py <folder>`.

Reads `<folder>/sae`, and windows x [n, T, d] from `<folder>/x.safetensors`; writes `<folder>/read.safetensors`.
"""

import json
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

from lens.dictionaries.dictionary import Dictionary
from lens.dictionaries.saebench import SAEBenchAdapter


def main(folder: Path) -> None:
    from sae_bench.evals.core.main import get_featurewise_weight_based_metrics
    from sae_bench.sae_bench_utils.activation_collection import get_sae_meaned_activations
    from sae_bench.sae_bench_utils.general_utils import load_and_format_sae

    _, sae, _ = load_and_format_sae("ours", SAEBenchAdapter(Dictionary.load(folder / "sae")), "cpu")  # type: ignore
    get_featurewise_weight_based_metrics(sae)
    json.dumps(sae.cfg.to_dict())
    x = load_file(folder / "x.safetensors")["x"]
    save_file({"pooled": get_sae_meaned_activations({"0": x}, sae, 2)["0"]}, folder / "read.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
