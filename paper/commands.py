"""The commands about claims and paper, which `lens` takes up when it runs in a checkout (pyproject.toml)."""

from __future__ import annotations

import click

from lens.study.commands import of_study
from lens.study.params import Study


@click.command()
@of_study
@click.option("--diff", metavar="REV", help="List instead what claims.json says now and did not in a commit.")
def claims(study: str, diff: str | None) -> None:
    """Decide every claim from the tables and write claims.json."""
    opened = Study.load(study)
    if diff is None:
        from paper import claims

        claims.build(opened)
        return
    from paper import claims_file

    changed = claims_file.changes(claims_file.at(opened, diff), claims_file.read(opened))
    print(*changed, f"study {opened.name}: {len(changed)} changes since {diff}", sep="\n")


@click.command()
@of_study
def paper(study: str) -> None:
    """Typeset the paper from claims.json, tables and figures."""
    from paper import typeset

    typeset.build(Study.load(study))


@click.command()
@click.argument("what")
@click.option("--study", default="full", show_default=True, help="The study whose verdict it is.")
def trace(what: str, study: str) -> None:
    """Show where a verdict, or a number of README or a table, comes from.

    WHAT is a claim's id, such as C20, or a number as README or a table shows it, such as '3.1 %'.
    """
    from paper.trace import trace

    print(trace(Study.load(study), what))


@click.command()
@of_study
def readme(study: str) -> None:
    """Renew the answer in README and the tables of docs/results."""
    from paper import readme

    readme.refresh(Study.load(study))


@click.command()
def registered() -> None:
    """Show the registered questions of further studies, and what their tables answer so far."""
    from paper import dark_position, headroom
    from paper.registered import said

    for module in (headroom, dark_position):
        document = module.QUESTIONS.load()
        print(said(document, module.answers(document, module.QUESTIONS.tables(module.TABLE))))


COMMANDS = (claims, paper, trace, readme, registered)


def outdated() -> list[str]:
    """What of README, docs/results and the table across models is not what the verdicts say, for `lens verify`."""
    from paper import readme

    return [f"{what} is not what `lens readme` would write" for what in readme.stale()]
