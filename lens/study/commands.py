"""The commands about studies, which `lens` has where it runs in a checkout (see `lens.cli`)."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from lens import checkout
from lens.errors import ConfigError
from lens.study.params import Study

of_study = click.option("--study", default="params.yaml", show_default=True, help="Study or parameter file.")


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("notebook")
@click.argument("parameters", nargs=-1, type=click.UNPROCESSED, metavar="[--name value]...")
def run(notebook: str, parameters: Sequence[str]) -> None:
    """Execute a NOTEBOOK of a study, for example 02_train, strictly, and keep the canonical copy.

    `run 02_train --help` lists the notebook's parameters.
    """
    from lens.study import notebooks

    if {"-h", "--help"} & set(parameters):
        path = notebooks.notebook_path(notebook)
        print(f"parameters of {path.relative_to(checkout.root())}:")
        for p in notebooks.parameters(path).values():
            print(f"  --{p.name:<12}{p.annotation:<10}{p.help}  (in Jupyter: {p.default!r})")
        return
    # jsonschema, which papermill imports, would build a grammar of international web addresses: two seconds a start.
    sys.modules.setdefault("rfc3987_syntax", None)  # pyright: ignore[reportArgumentType]
    from lens.study import runner

    print(os.path.relpath(runner.run(runner.plan(notebook, _pairs(parameters)))))


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


@click.command()
@click.option("--study", help="One study. By default every study that has a dvc.lock, and the pages about them.")
@click.option("--stale", is_flag=True, help="List the stages whose inputs changed since, and which, instead.")
def verify(study: str | None, stale: bool) -> int:
    """Compare results with their records in dvc.lock and name the files that differ."""
    from lens.study import verify

    studies = [Study.load(study)] if study else verify.recorded()
    if stale:
        return _stale(studies)
    differs = False
    for one in studies:
        report = verify.compare(one)
        print(report.text(), flush=True)
        differs |= bool(report.differing)
    if not study:
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


@click.command()
@of_study
@click.option("--list", "only_list", is_flag=True, help="Say which layers are missing, and why; make nothing.")
def missing(study: str, only_list: bool) -> None:
    """Make the layers of a study whose tables are missing or out of date, and no others, without the large files of
    those that are finished."""
    from lens.study import missing

    one = Study.load(study)
    for layer, why in (found := missing.missing(one)).items():
        print(f"layer {layer}: {'; '.join(why[:2])}" + (f" and {len(why) - 2} more" if len(why) > 2 else ""))
    print(f"study {one.name}: {len(found)} of {len(one.layers)} layers to make", flush=True)
    if not only_list:
        missing.make(one)


@click.command()
@of_study
def times(study: str) -> None:
    """Show what each stage took and where the results are."""
    from lens.study import times

    print(times.text(Study.load(study)))


@click.command()
@of_study
@click.option("--model", help="Whose shapes: random:<config>. By default those of the study's model.")
@click.option("--depth", type=int, default=2, show_default=True, help="Blocks of the model that is made.")
@click.option("--out", default="scratch/rehearsal", show_default=True, help="Folder for all that it makes.")
def rehearse(study: str, model: str | None, depth: int, out: str) -> None:
    """Run every stage of a study once, small, on random weights of its model's shapes, and project what it takes."""
    from lens.errors import whole
    from lens.study import rehearsal

    print(rehearsal.rehearse(Study.load(study, out), whole("--depth", depth, 1), model))


COMMANDS = (run, verify, missing, times, rehearse)
