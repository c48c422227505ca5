"""Command line of TemporalLens: `lens <command> --help`."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lens import checkout
from lens.errors import ConfigError, suggest


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it succeeded, 1 after an error in what was asked, which is printed in one line."""
    words = sys.argv[1:] if argv is None else list(argv)
    parser, commands = _parser()
    if words and not words[0].startswith("-") and words[0] not in commands:
        print(f"error: {_no_command(words[0], list(commands))}", file=sys.stderr)
        return 1
    arguments = parser.parse_args(words)
    try:
        return arguments.do(arguments) or 0
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "lens":
            raise
        print(f"error: {_no_module(error)}", file=sys.stderr)
    except (ValueError, RuntimeError, OSError) as error:
        # What a user gave can be wrong in ways that only a library knows; elsewhere such an error is a fault of ours.
        ours = any(kind.__module__.startswith("lens.") for kind in type(error).__mro__)
        if not ours and arguments.do not in (_profile, _audit):
            raise
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


def _parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser, and that of each command by name."""
    called_as = "python -m lens" if Path(sys.argv[0]).name == "__main__.py" else "lens"
    parser = argparse.ArgumentParser(prog=called_as, description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    def command(name: str, do, text: str, study: bool = True) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(do=do)
        if study:
            sub.add_argument("--study", default="params.yaml", help="study or parameter file (default: params.yaml)")
        return sub

    sub = command("profile", _profile, "profile any dictionary by position on a text", study=False)
    sub.add_argument("dictionary", help="a folder, a file or a hub id, of any format that `lens.load` reads")
    sub.add_argument("model", help="a language model by name or folder")
    sub.add_argument("text", help="a UTF-8 text file, a corpus by name, or a `datasets` name")
    sub.add_argument("--out", required=True, help="folder for the tables and figures")
    sub.add_argument("--layer", help="the block after which it reads (default: what the dictionary says)")
    sub.add_argument("--windows", type=int, default=256, help="windows of text (default: 256)")
    sub.add_argument("--length", type=int, help="tokens of a window, BOS included (default: 128, or the dictionary's)")
    sub.add_argument("--fidelity", type=int, default=16, help="windows that it is spliced into (default: 16; 0: none)")
    contexts = "keep the N strongest windows of each feature and stretch of positions, for `lens explore` (3, say)"
    sub.add_argument("--contexts", type=int, default=0, metavar="N", help=contexts)
    offsets = "read the text at M offsets too, and judge each feature: specialised, inherits (4, say; default: don't)"
    sub.add_argument("--offsets", type=int, default=0, metavar="M", help=offsets)
    sub.add_argument("--seed", type=int, default=0, help="draws windows and permutations (default: 0)")
    sub.add_argument("--trust", action="store_true", help="run the code of its maker's own that a dictionary names")
    sub = command("audit", _audit, "does a pipeline number positions as you think?", study=False)
    sub.add_argument("model", help="a language model by name or folder")
    sub.add_argument("dictionary", nargs="?", help="as in `lens profile`: is it sound at each position?")
    sub.add_argument("--layer", help="the block after which activations are read (default: the dictionary's)")
    sub.add_argument("--source", default="transformers", help="transformers, nnsight, transformer_lens or file.py:Name")
    sub.add_argument("--text", default="shakespeare-held-out", help="as in `lens profile`")
    sub.add_argument("--windows", type=int, default=32, help="windows that the dictionary is read on (default: 32)")
    sub.add_argument("--length", type=int, help="tokens of a window (default: 128, or the dictionary's)")
    sub.add_argument("--json", metavar="FILE", help="write the findings there, too; `-`: print them instead")
    sub.add_argument("--seed", type=int, default=0, help="draws windows (default: 0)")
    sub.add_argument("--trust", action="store_true", help="run the code of its maker's own that a dictionary names")
    sub = command("explore", _explore, "write every feature of profiles, or of a study, to one HTML file", study=False)
    sub.add_argument("profiles", nargs="*", metavar="PROFILE", help="folders of `lens profile --contexts 3`")
    sub.add_argument("--out", help="the file (default, of a study: explorer.html among its results)")
    sub.add_argument("--study", help="in a checkout, instead of profiles: a study or parameter file (params.yaml)")
    sub.add_argument("--beside", nargs="+", default=[], metavar="STUDY", help="more studies in one file")
    for module in _of_checkout():
        importlib.import_module(module).register(command)
    return parser, commands.choices


def _of_checkout() -> list[str]:
    """Modules that add commands: those about studies, and what the checkout's pyproject.toml names."""
    if not checkout.inside():
        return []
    return ["lens.study.commands", *checkout.settings()["commands"]]


def _profile(arguments: argparse.Namespace) -> None:
    from lens.profiling.position_profile import ProfileError
    from lens.profiling.profile import profile

    if os.path.isfile(arguments.out):
        raise ProfileError(f"--out {arguments.out} is a file: name a folder")
    found = profile(
        arguments.dictionary,
        arguments.model,
        arguments.text,
        layer=arguments.layer,
        windows=arguments.windows,
        length=arguments.length,
        fidelity=arguments.fidelity,
        offsets=arguments.offsets,
        contexts=arguments.contexts,
        seed=arguments.seed,
        trust=arguments.trust,
    )
    print(found)
    print(f"tables and figures in {found.save(arguments.out)}")


def _explore(arguments: argparse.Namespace) -> None:
    if not arguments.profiles:
        if not checkout.inside():
            raise ConfigError("name the folders of profiles to explore, made with `lens profile --contexts 3`")
        from lens.study import explorer
        from lens.study.params import Study

        if arguments.beside and not arguments.out:
            raise ConfigError("several studies make a page of their own: name its file with --out")
        studies = [Study.load(name) for name in (arguments.study or "params.yaml", *arguments.beside)]
        print(os.path.relpath(explorer.build(studies, Path(arguments.out) if arguments.out else None)))
        return
    from lens.explorer import profiles

    if arguments.study or arguments.beside:
        raise ConfigError("profiles and a study: explore one or the other")
    if not arguments.out:
        raise ConfigError("name the file to write with --out")
    print(profiles.build(arguments.profiles, arguments.out))


def _audit(arguments: argparse.Namespace) -> int:
    """1 if a check failed."""
    from lens import files
    from lens.auditing.audit import audit

    names = ("layer", "source", "text", "windows", "length", "seed", "trust")
    found = audit(arguments.model, arguments.dictionary, **{name: getattr(arguments, name) for name in names})
    print(found.to_json() if arguments.json == "-" else found)
    if arguments.json not in (None, "-"):
        files.write(Path(arguments.json), found.to_json().encode())
    return int(not found.ok)
