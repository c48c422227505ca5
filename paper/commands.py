"""The commands about claims and paper, which `lens` takes up when it runs in a checkout (pyproject.toml)."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from lens.study.params import Study


def register(command: Callable) -> None:
    """Add the commands with `lens.cli`'s own function."""
    sub = command("claims", _claims, "decide every claim from the tables and write claims.json")
    sub.add_argument("--diff", metavar="REV", help="list instead what claims.json says now and did not in a commit")
    command("paper", _paper, "typeset the paper from claims.json, tables and figures")
    sub = command("trace", _trace, "show where a verdict, or a number of README or a table, comes from", study=False)
    sub.add_argument(
        "what", help="a claim's id, such as C20, or a number as README or a table shows it, such as '3.1 %%'"
    )
    sub.add_argument("--study", default="full", help="the study whose verdict it is (default: full)")
    command("readme", _readme, "renew the answer in README and the tables of docs/results")


def _claims(arguments: argparse.Namespace) -> None:
    study = Study.load(arguments.study)
    if arguments.diff is None:
        from paper import claims

        claims.build(study)
        return
    from paper import claims_file

    changed = claims_file.changes(claims_file.at(study, arguments.diff), claims_file.read(study))
    print(*changed, f"study {study.name}: {len(changed)} changes since {arguments.diff}", sep="\n")


def _paper(arguments: argparse.Namespace) -> None:
    from paper import typeset as paper

    paper.build(Study.load(arguments.study))


def _trace(arguments: argparse.Namespace) -> None:
    from paper.trace import trace

    print(trace(Study.load(arguments.study), arguments.what))


def _readme(arguments: argparse.Namespace) -> None:
    from paper import readme

    readme.refresh(Study.load(arguments.study))


def outdated() -> list[str]:
    """What of README, docs/results and the table across models is not what the verdicts say, for `lens verify`."""
    from paper import readme

    return [f"{what} is not what `lens readme` would write" for what in readme.stale()]
