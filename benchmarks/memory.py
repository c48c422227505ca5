"""Peak memory of tokenising and extracting a large text, above that of the model: `python -m benchmarks.memory`.

Writes a text of --megabytes and lets a process of its own look for leaks, cut windows and extract them with a tiny
random model; fails if that takes a gigabyte or more. A text of 1000 MB takes 20 minutes of one core, nearly all in the
tokenizer, and 6 GB of disk.
"""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

LIMIT = 1000  # MB above the model
MODEL, LAYERS, WINDOWS, LENGTH = "random:gemma-3-tiny", (1, 2), 2048, 128


def write_text(path: Path, megabytes: int, seed: int) -> None:
    """Lines of random words, with an empty line here and there."""
    rng = random.Random(seed)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(5000)]
    lines = [" ".join(rng.choices(words, k=12)) + rng.choice(["\n", "\n\n"]) for _ in range(20_000)]
    with path.open("w") as file:
        while file.tell() < megabytes * 1_000_000:
            file.write(f"{rng.random()} {rng.choice(lines)}")


def peak() -> int:
    """Megabytes that this process has held at once so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000


def extract_text(path: Path) -> None:
    """What a study does with a text, and the peak after each step."""
    from lens.activations import corpus, models
    from lens.activations.corpus import draw_windows
    from lens.activations.extract import extract

    model = models.load(MODEL, device="cpu")
    before = peak()
    print(f"imports and model: {before} MB", flush=True)
    train, test = corpus.load(str(path)), corpus.load(str(path.with_name("held-out.txt")))
    corpus.check_no_leak(train, test)
    print(f"looking for leaks: {peak() - before} MB more", flush=True)
    windows = {
        "train": draw_windows(train, model.tokenizer, WINDOWS, LENGTH, bos_id=model.bos_id),
        "test": draw_windows(test, model.tokenizer, WINDOWS, LENGTH, bos_id=model.bos_id, starts="disjoint"),
    }
    print(f"windows: {peak() - before} MB more", flush=True)
    extract(model, windows, LAYERS, path.with_name("store"), path.with_name("pool"), window_rule={})
    more = peak() - before
    print(f"activations: {more} MB more", flush=True)
    sys.exit(f"{more} MB above the model, {LIMIT} are the limit" if more >= LIMIT else 0)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=1000, help="size of the text (default: 1000)")
    parser.add_argument("--text", type=Path, help=argparse.SUPPRESS)  # the measured process
    arguments = parser.parse_args()
    if arguments.text:
        extract_text(arguments.text)
    with tempfile.TemporaryDirectory(prefix="memory-") as folder:
        path = Path(folder, "text.txt")
        write_text(path, arguments.megabytes, seed=0)
        write_text(path.with_name("held-out.txt"), 2, seed=1)
        # a process of its own: the peak of a process counts what its parent held when it began
        sys.exit(subprocess.run([sys.executable, "-m", "benchmarks.memory", "--text", path]).returncode)


if __name__ == "__main__":
    main()
