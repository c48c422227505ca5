"""The commands about claims and paper, which `lens` takes up when it runs in a checkout (pyproject.toml)."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from lens import checkout
from lens.study.params import Study


def register(command: Callable) -> None:
    """Add the commands with `lens.cli`'s own function."""
    command("claims", _claims, "decide every claim from the tables and write claims.json")
    command("paper", _paper, "typeset the paper from claims.json, tables and figures")
    command("index", _index, "write the front page of a study: paper, claims, explorer, notebooks, figures")
    command("readme", _readme, "renew README.md: the claims table from a study, the table across models from all")
    command("docs", _docs, "write the page of the public API and the front page of the documentation", study=False)


def _claims(arguments: argparse.Namespace) -> None:
    from lens.study.guard import unmoved
    from paper import claims

    study = Study.load(arguments.study)
    with unmoved("claims", study):
        claims.build(study)


def _paper(arguments: argparse.Namespace) -> None:
    from lens.study.guard import unmoved
    from paper import typeset as paper

    study = Study.load(arguments.study)
    with unmoved("paper", study):
        paper.build(study)


def _index(arguments: argparse.Namespace) -> None:
    from lens.study.guard import unmoved
    from paper import index

    study = Study.load(arguments.study)
    with unmoved("index", study):
        index.build(study)


def _readme(arguments: argparse.Namespace) -> None:
    from paper import across, readme

    readme.refresh(Study.load(arguments.study).name)
    across.refresh()


def _docs(arguments: argparse.Namespace) -> None:
    from paper import docs

    for path in docs.build():
        print(path.relative_to(checkout.root()))
