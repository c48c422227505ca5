"""The documentation has every public name, and its commands can be typed. Its code cells run at each build."""

import inspect
import pydoc
import re
import shlex

import pytest

import lens
from lens import checkout, cli
from lens.study import notebooks

PAGES = [checkout.root() / "README.md", *sorted((checkout.root() / "docs").glob("[!_]*/*.md"))]
PAGES += sorted((checkout.root() / "docs").glob("*.md"))


@pytest.mark.parametrize("name", dir(lens))
def test_public_names_are_documented(name):
    page = (checkout.root() / "docs/reference/api.md").read_text(encoding="utf-8")
    assert f":: lens.{name}\n" in page and re.search(rf"\b{name}\b", lens.__doc__)
    thing = getattr(lens, name)
    text = inspect.getdoc(thing) or ""
    assert len(text.split()) > 5, name
    if inspect.isfunction(thing):
        for parameter in inspect.signature(thing).parameters.values():
            assert parameter.annotation is not inspect.Parameter.empty, f"{name}({parameter.name})"


def test_help_fits_a_screen():
    assert pydoc.plain(pydoc.render_doc(lens)).count("\n") <= 60


def test_readme_can_be_read_in_one_sitting():
    assert (checkout.root() / "README.md").stat().st_size <= 8000


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_commands_are_those_that_there_are(page):
    makefile = (checkout.root() / "Makefile").read_text(encoding="utf-8")
    commands = cli._commands().commands
    for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
        for line in block.replace("\\\n", " ").splitlines():
            match shlex.split(line, comments=True):
                case ["make", target, *_]:
                    assert re.search(rf"^{target}:", makefile, re.M), line
                case ["python", "-m", "lens", name, *words]:
                    commands[name].make_context(name, words)  # raises where it can't
                case ["papermill", notebook, _, *options]:
                    known = notebooks.parameters(checkout.root() / notebook)
                    assert options[::3] == ["-p"] * (len(options) // 3) and known.keys() >= set(options[1::3]), line
                case ["dvc" | "torchrun", *_] | []:
                    pass
                case _:
                    raise AssertionError(f"{page.name}: {line}")
