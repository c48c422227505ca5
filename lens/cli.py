"""Command line of TemporalLens: `lens <command> --help`."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lens import checkout
from lens.errors import ConfigError, suggest

if TYPE_CHECKING:
    from http.server import ThreadingHTTPServer

READS = ("profile", "fit", "audit")  # run on what a user gave, which can be wrong in ways that only a library knows


class Commands(click.Group):
    """Commands in the order in which they were added; a name that is none is answered with those that are close."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(self, ctx: click.Context, args: list[str]):
        if not args[0].startswith("-") and args[0] not in self.commands:
            raise click.ClickException(_no_command(args[0], list(self.commands)))
        return super().resolve_command(ctx, args)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it succeeded, 1 after an error in what was asked, which is printed in one line, and 2
    where the words could not be read."""
    words = (sys.argv[1:] if argv is None else list(argv)) or ["--help"]
    called_as = "python -m lens" if Path(sys.argv[0]).name == "__main__.py" else "lens"
    try:
        return _commands().main(words, prog_name=called_as, standalone_mode=False) or 0
    except click.ClickException as error:
        print(f"error: {error.format_message()}", file=sys.stderr)
        return error.exit_code
    except click.Abort:
        return 130  # Ctrl-C, as shells count it
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "lens":
            raise
        print(f"error: {_no_module(error)}", file=sys.stderr)
    except (ValueError, RuntimeError, OSError) as error:
        ours = any(kind.__module__.startswith("lens.") for kind in type(error).__mro__)
        if not ours and words[0] not in READS:
            raise  # a fault of ours
        print(f"error: {error}", file=sys.stderr)
    return 1


def _no_command(name: str, commands: Sequence[str]) -> str:
    close = suggest(name, commands)
    if close or checkout.inside():
        return f"no command {name!r}{close}; commands: {', '.join(commands)}"
    return (
        f"`{name}` is no command of the installed library (it has {', '.join(commands)}); those about studies, claims "
        f"and the paper belong to the project's checkout: clone the project and run `python -m lens {name}` there"
    )


def _no_module(error: ModuleNotFoundError) -> str:
    if error.name is None:  # raised by us, with what to install
        return str(error)
    install = "activate the project's environment" if checkout.inside() else "pip install 'temporallens[study]'"
    return f"{sys.executable} has no {error.name}: {install}"


def _commands() -> Commands:
    """The library's commands, and those of a checkout."""
    group = Commands(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
    more = [command for module in _of_checkout() for command in importlib.import_module(module).COMMANDS]
    for command in (profile, fit, audit, explore, *more):
        group.add_command(command)
    return group


def _of_checkout() -> list[str]:
    """Modules that add commands: those about studies, and what the checkout's pyproject.toml names."""
    return ["lens.study.commands", *checkout.settings()["commands"]] if checkout.inside() else []


def _trust(command: Callable) -> Callable:
    return click.option("--trust", is_flag=True, help="Run the code of its maker's own that a dictionary names.")(
        command
    )


@click.command()
@click.argument("dictionary")
@click.argument("model")
@click.argument("text")
@click.option("--out", required=True, help="Folder for the tables and figures.")
@click.option("--layer", help="The block after which it reads. By default what the dictionary says.")
@click.option("--windows", type=int, default=256, show_default=True, help="Windows of text.")
@click.option("--length", type=int, help="Tokens of a window, BOS included. By default 128, or the dictionary's.")
@click.option("--fidelity", type=int, default=16, show_default=True, help="Windows that it is spliced into; 0: none.")
@click.option(
    "--offsets", type=int, default=0, metavar="M",
    help="Read the text at M offsets too, and judge each feature: specialised, inherits (4, say).",
)  # fmt: skip
@click.option(
    "--contexts", type=int, default=0, metavar="N",
    help="Keep the N strongest windows of each feature and stretch of positions, for `lens explore` (3, say).",
)  # fmt: skip
@click.option(
    "--clock", "clocks", multiple=True, metavar="CLOCK",
    help="Test for tokens since this began, too: document, newline; may be repeated.",
)  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Draws windows and permutations.")
@_trust
def profile(dictionary: str, model: str, text: str, out: str, **options) -> None:
    """Profile any dictionary by position on a text.

    DICTIONARY is a folder, a file or a hub id, of any format that `lens.load` reads; MODEL a language model by name or
    folder; TEXT a UTF-8 text file, a corpus by name, or a `datasets` name.
    """
    from lens.profiling.position_profile import check_folder
    from lens.profiling.profile import profile

    check_folder(out)  # before the work
    found = profile(dictionary, model, text, **options)
    print(found)
    print(f"tables and figures in {found.save(out)}")


@click.command()
@click.argument("model")
@click.argument("text")
@click.option("--layer", required=True, help="The block after which activations are read, or embedding.")
@click.option("--out", required=True, help="Folder for activations, dictionaries, and what lets a second call go on.")
@click.option("--architecture", default="relu", show_default=True, help="How features are selected.")
@click.option("--position", default="mask", show_default=True, help="What position does; none: nothing.")
@click.option("--name", default="", help="Of the dictionary. By default <architecture>-<position>.")
@click.option("--windows", type=int, default=1024, show_default=True, help="Training windows.")
@click.option("--length", type=int, default=128, show_default=True, help="Tokens of a window, BOS included.")
@click.option("--steps", type=int, default=1000, show_default=True, help="Optimiser steps, each on 16 windows.")
@click.option("--seed", type=int, default=0, show_default=True, help="Draws windows and the start.")
@click.option("--set", "fields", multiple=True, metavar="FIELD=VALUE", help="Another field of the recipe: k=32, say.")
def fit(model: str, text: str, layer: str, out: str, fields: Sequence[str], **options) -> None:
    """Train a dictionary on the residual stream of one layer of MODEL on TEXT.

    Fields of a recipe are those of `lens.training.recipe.Recipe`, of the architecture and of the position term.
    """
    from ruamel.yaml import YAML

    from lens.training.fit import fit

    own: dict[str, Any] = {}
    for field in fields:
        name, equals, value = field.partition("=")
        if not equals or name in own:
            raise ConfigError(f"--set {field}: give each field once, as FIELD=VALUE")
        own[name] = YAML(typ="safe").load(value)
    if taken := [name for name in own if name in signature(fit).parameters]:
        raise ConfigError(f"--set {taken[0]}: it is no field of a recipe; `lens fit --help` lists the options")
    print(fit(model, layer, text, out, **options, **own))


@click.command()
@click.argument("model")
@click.argument("dictionary", required=False)
@click.option("--layer", help="The block after which activations are read. By default the dictionary's.")
@click.option(
    "--source",
    default="transformers",
    show_default=True,
    help="transformers, nnsight, transformer_lens or file.py:Name.",
)
@click.option("--text", default="shakespeare-held-out", show_default=True, help="As in `lens profile`.")
@click.option("--windows", type=int, default=32, show_default=True, help="Windows that the dictionary is read on.")
@click.option("--length", type=int, help="Tokens of a window. By default 128, or the dictionary's.")
@click.option("--json", "to", metavar="FILE", help="Write the findings there, too; `-`: print them instead.")
@click.option("--seed", type=int, default=0, show_default=True, help="Draws windows.")
@_trust
def audit(model: str, dictionary: str | None, to: str | None, **options) -> int:
    """Does a pipeline number positions as you think?

    With a DICTIONARY, as in `lens profile`: is it sound at each position? Exits with 1 if a check failed.
    """
    from lens import files
    from lens.auditing.audit import audit

    found = audit(model, dictionary, **options)
    print(found.to_json() if to == "-" else found)
    if to not in (None, "-"):
        files.write(Path(to), found.to_json().encode())
    return int(not found.ok)


def _serve(server: ThreadingHTTPServer) -> None:
    """Until Ctrl-C."""
    with server:
        print(f"http://127.0.0.1:{server.server_address[1]}/ until Ctrl-C", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


@click.command()
@click.argument("profiles", nargs=-1, metavar="[PROFILE]...")
@click.option("--out", help="The file. Of a study by default explorer.html among its results.")
@click.option("--study", help="In a checkout, instead of profiles: a study or parameter file (params.yaml).")
@click.option("--beside", multiple=True, metavar="STUDY", help="Another study in the same file; may be repeated.")
@click.option("--serve", is_flag=True, help="Instead of a file: a page of this machine alone, with text of your own.")
@click.option("--port", type=click.IntRange(0, 65535), help="Of the page that is served. By default one that is free.")
@_trust
def explore(
    profiles: Sequence[str], out: str | None, study: str | None, beside: Sequence[str], serve: bool, port: int | None,
    trust: bool,
) -> None:  # fmt: skip
    """Write every feature of one or more profiles to one HTML file, or serve them.

    A PROFILE is a folder that `lens profile --contexts 3` wrote.
    """
    if serve and out:
        raise ConfigError("--serve writes no file: leave out --out")
    if not serve and (port is not None or trust):
        raise ConfigError("--port and --trust go with --serve")
    if profiles:
        from lens.explorer.profiles import build
        from lens.explorer.serve import server_of

        if study or beside:
            raise ConfigError("profiles and a study: explore one or the other")
        if serve:
            _serve(server_of(profiles, port or 0, trust=trust))
            return
        if not out:
            raise ConfigError("name the file to write with --out")
        print(build(profiles, out))
        return
    if not checkout.inside():
        raise ConfigError("name the folders of profiles to explore, made with `lens profile --contexts 3`")
    from lens.study import explorer
    from lens.study.params import Study

    if beside and not out and not serve:
        raise ConfigError("several studies make a page of their own: name its file with --out")
    studies = [Study.load(name) for name in (study or "params.yaml", *beside)]
    if serve:
        _serve(explorer.server_of(studies, port or 0))
        return
    print(os.path.relpath(explorer.build(studies, Path(out) if out else None)))
