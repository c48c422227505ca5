"""The commands about studies, which `lens` has where it runs in a checkout (see `lens.cli`)."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from lens import checkout
from lens.errors import ConfigError
from lens.study.params import Study


def register(command: Callable) -> None:
    """Add the commands with `lens.cli`'s own function."""
    sub = command("run", _run, "execute a notebook of a study, strictly, and keep the canonical copy", study=False)
    sub.add_argument("notebook", help="for example 02_train")
    sub.add_argument(
        "parameters", nargs=argparse.REMAINDER, metavar="--name value",
        help="the notebook's parameters; `run 02_train --help` lists them",
    )  # fmt: skip
    sub = command(
        "verify", _verify, "compare results with their records in dvc.lock and name the files that differ", study=False
    )
    sub.add_argument("--study", help="one study (default: every study that has a dvc.lock, and the pages about them)")
    sub.add_argument(
        "--stale", action="store_true", help="list the stages whose inputs changed since, and which, instead"
    )
    command("times", _times, "show what each stage took and where the results are")


def _run(arguments: argparse.Namespace) -> None:
    from lens.study import notebooks

    if {"-h", "--help"} & set(arguments.parameters):
        path = notebooks.notebook_path(arguments.notebook)
        print(f"parameters of {path.relative_to(checkout.root())}:")
        for p in notebooks.parameters(path).values():
            print(f"  --{p.name:<12}{p.annotation:<10}{p.help}  (in Jupyter: {p.default!r})")
        return
    # jsonschema, which papermill imports, would build a grammar of international web addresses: two seconds a start.
    sys.modules.setdefault("rfc3987_syntax", None)  # pyright: ignore[reportArgumentType]
    from lens.study import runner

    print(os.path.relpath(runner.run(runner.plan(arguments.notebook, _pairs(arguments.parameters)))))


def _pairs(words: Sequence[str]) -> dict[str, str]:
    """`--name value` and `--name=value` as a mapping."""
    pairs: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if not name.startswith("--"):
            raise ConfigError(f"expected --name value, found {word!r}")
        if not equals:
            value = next(rest, None)
        if value is None:
            raise ConfigError(f"{name} has no value")
        if name[2:] in pairs:
            raise ConfigError(f"{name} is given twice")
        pairs[name[2:]] = value
    return pairs


def _verify(arguments: argparse.Namespace) -> int:
    from lens.study import verify

    studies = [Study.load(arguments.study)] if arguments.study else verify.recorded()
    if arguments.stale:
        return _stale(studies)
    differs = False
    for study in studies:
        report = verify.compare(study)
        print(report.text(), flush=True)
        differs |= bool(report.differing)
    if not arguments.study:
        outdated = verify.outdated()
        print(*(f"DIFFERS  {line}" for line in outdated), f"pages: {len(outdated)} out of date", sep="\n")
        differs |= bool(outdated)
    return 1 if differs else 0


def _stale(studies: Sequence[Study]) -> int:
    from lens.study import verify

    any_stale = False
    for study in studies:
        lines = verify.stale(study)
        print(
            *(f"STALE  {line}" for line in lines),
            f"study {study.name}: {len(lines)} stages stale",
            sep="\n",
            flush=True,
        )
        any_stale |= bool(lines)
    return 1 if any_stale else 0


def _times(arguments: argparse.Namespace) -> None:
    from lens.study import times

    print(times.text(Study.load(arguments.study)))
