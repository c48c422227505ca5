"""One peer, driven over standard input: `{"steps": 20}` in, `{"seconds": 0.9}` out, one JSON object a line.

.venv-bench/bin/python -m benchmarks.worker sae-lens
"""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import version


def main(peer: str) -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)  # the peers print; only answers may reach standard output
    os.dup2(2, 1)
    from benchmarks.peers import PEERS
    from benchmarks.setting import use_all_cores

    use_all_cores()
    contender = PEERS[peer]()
    hello = {"versions": {name: version(name) for name in (peer, "torch")}}
    print(json.dumps(hello), file=answers)
    for line in sys.stdin:
        print(json.dumps({"seconds": contender.run(json.loads(line)["steps"])}), file=answers)


if __name__ == "__main__":
    main(sys.argv[1])
