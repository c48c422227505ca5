"""Command line of the project; the pipeline calls it, and so can you: `python -m lens <command> --help`."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from lens import checkout
from lens.errors import ConfigError
from lens.study.params import Study


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it succeeded, 1 after an error in what was asked, which is printed in one line."""
    arguments = _parser().parse_args(argv)
    try:
        return arguments.do(arguments) or 0
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "lens":
            raise
        print(f"error: {sys.executable} has no {error.name}: activate the project's environment", file=sys.stderr)
    except (ValueError, RuntimeError, OSError) as error:
        # What a user gave can be wrong in ways that only a library knows; elsewhere such an error is a fault of ours.
        if not type(error).__module__.startswith("lens.") and arguments.do is not _profile:
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
    command("pages", _pages, "write the executed notebooks as HTML pages")
    sub = command("explore", _explore, "write the explorer: every feature of a study in one HTML file")
    sub.add_argument("--beside", nargs="+", default=[], metavar="STUDY", help="more studies in one file; needs --out")
    sub.add_argument("--out", help="the file (default: explorer.html among the study's results)")
    command("verify", _verify, "compare committed results with dvc.lock and name the files that differ")
    command("times", _times, "show what each stage took and where the results are")
    sub = command("profile", _profile, "profile any dictionary by position on a text", study=False)
    sub.add_argument("dictionary", help="a folder, a file or a hub id, of any format that `lens.load` reads")
    sub.add_argument("model", help="a language model by name or folder")
    sub.add_argument("text", help="a UTF-8 text file, a corpus by name, or a `datasets` name")
    sub.add_argument("--out", required=True, help="folder for the tables and figures")
    sub.add_argument("--layer", help="the block after which it reads (default: what the dictionary says)")
    sub.add_argument("--windows", type=int, default=256, help="windows of text (default: 256)")
    sub.add_argument("--length", type=int, help="tokens of a window, BOS included (default: 128, or the dictionary's)")
    sub.add_argument("--fidelity", type=int, default=16, help="windows that it is spliced into (default: 16; 0: none)")
    sub.add_argument("--seed", type=int, default=0, help="draws windows and permutations (default: 0)")
    for module in _contributed():
        module.register(command)
    return parser


def _contributed() -> list:
    """Modules of the checkout that add commands, as its pyproject.toml names them; none in an installed library."""
    if not checkout.inside():
        return []
    settings = tomllib.loads((checkout.root() / "pyproject.toml").read_text(encoding="utf-8"))
    return [importlib.import_module(name) for name in settings["tool"]["temporallens"]["commands"]]


def _run(arguments: argparse.Namespace) -> None:
    from lens.study import notebooks, runner

    if {"-h", "--help"} & set(arguments.parameters):
        path = notebooks.notebook_path(arguments.notebook)
        print(f"parameters of {path.relative_to(checkout.root())}:")
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
    from lens.study import digests

    paths = digests.write(Study.load(arguments.study).results / "digests")
    print(f"{len(paths)} digests in {paths[0].parent.relative_to(checkout.root())}")


def _pages(arguments: argparse.Namespace) -> None:
    from lens.study import pages
    from lens.study.guard import unmoved

    study = Study.load(arguments.study)
    with unmoved("pages", study):
        pages.build(study)


def _explore(arguments: argparse.Namespace) -> None:
    from lens.explorer import page
    from lens.study.guard import unmoved

    if arguments.beside and not arguments.out:
        raise ConfigError("several studies make a page of their own: name its file with --out")
    study, *others = map(Study.load, (arguments.study, *arguments.beside))
    if arguments.out:
        print(os.path.relpath(page.build([study, *others], Path(arguments.out))))
        return
    with unmoved("explorer", study):
        print(os.path.relpath(page.build(study)))


def _verify(arguments: argparse.Namespace) -> int:
    from lens.study import verify

    report = verify.compare(Study.load(arguments.study))
    print(report.text())
    return 1 if report.differing else 0


def _times(arguments: argparse.Namespace) -> None:
    from lens.study import times

    print(times.text(Study.load(arguments.study)))


def _profile(arguments: argparse.Namespace) -> None:
    from lens.profiling.position_profile import ProfileError, profile

    if os.path.isfile(arguments.out):
        raise ProfileError(f"--out {arguments.out} is a file: name a folder")
    layer = arguments.layer
    found = profile(
        arguments.dictionary,
        arguments.model,
        arguments.text,
        layer=int(layer) if layer is not None and layer.isdigit() else layer,
        windows=arguments.windows,
        length=arguments.length,
        fidelity=arguments.fidelity,
        seed=arguments.seed,
    )
    print(found)
    print(f"tables and figures in {found.save(arguments.out)}")
