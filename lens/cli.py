"""Command line of the project; the pipeline calls it, and so can you: `python -m lens <command> --help`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from lens.config import ROOT, ConfigError, Study


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it succeeded, 1 after an error in what was asked, which is printed in one line."""
    arguments = _parser().parse_args(argv)
    try:
        return arguments.do(arguments) or 0
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "lens":
            raise
        print(f"error: {sys.executable} has no {error.name}: activate the project's environment", file=sys.stderr)
    except (ValueError, RuntimeError) as error:
        if not type(error).__module__.startswith("lens."):
            raise
        print(f"error: {error}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lens", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    def command(name: str, do, text: str, study: bool = True) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(do=do)
        if study:
            sub.add_argument("--study", default="params.yaml", help="study or parameter file (default: params.yaml)")
        return sub

    sub = command("run", _run, "execute a notebook of a study, strictly, and keep the canonical copy", study=False)
    sub.add_argument("notebook", help="for example 02_train")
    sub.add_argument(
        "parameters", nargs=argparse.REMAINDER, metavar="--name value",
        help="the notebook's parameters; `run 02_train --help` lists them",
    )  # fmt: skip
    command("digest", _digest, "write the semantic digests of the code that each stage runs")
    command("claims", _claims, "decide every claim from the tables and write claims.json")
    command("paper", _paper, "typeset the paper from claims.json, tables and figures")
    command("pages", _pages, "write the executed notebooks as HTML pages")
    command("readme", _readme, "renew the claims table in README.md from a study")
    command("verify", _verify, "compare committed results with dvc.lock and name the files that differ")
    command("times", _times, "show what each stage took and where the results are")
    return parser


def _run(arguments: argparse.Namespace) -> None:
    from lens.report import notebooks, runner

    if {"-h", "--help"} & set(arguments.parameters):
        path = notebooks.notebook_path(arguments.notebook)
        print(f"parameters of {path.relative_to(ROOT)}:")
        for p in notebooks.parameters(path).values():
            print(f"  --{p.name:<12}{p.annotation:<10}{p.help}  (in Jupyter: {p.default!r})")
        return
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


def _digest(arguments: argparse.Namespace) -> None:
    from lens import digests

    paths = digests.write(Study.load(arguments.study).results / "digests")
    print(f"{len(paths)} digests in {paths[0].parent.relative_to(ROOT)}")


def _claims(arguments: argparse.Namespace) -> None:
    from lens.report import claims
    from lens.report.guard import unmoved

    study = Study.load(arguments.study)
    with unmoved("claims", study):
        claims.build(study)


def _paper(arguments: argparse.Namespace) -> None:
    from lens.report import paper
    from lens.report.guard import unmoved

    study = Study.load(arguments.study)
    with unmoved("paper", study):
        paper.build(study)


def _pages(arguments: argparse.Namespace) -> None:
    from lens.report import pages
    from lens.report.guard import unmoved

    study = Study.load(arguments.study)
    with unmoved("pages", study):
        pages.build(study)


def _readme(arguments: argparse.Namespace) -> None:
    from lens.report import readme

    readme.refresh(Study.load(arguments.study).name)


def _verify(arguments: argparse.Namespace) -> int:
    from lens.report import verify

    report = verify.compare(Study.load(arguments.study))
    print(report.text())
    return 1 if report.differing else 0


def _times(arguments: argparse.Namespace) -> None:
    from lens.report import times

    print(times.text(Study.load(arguments.study)))
