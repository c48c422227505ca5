"""The documentation: a page of the public API, built from its docstrings, and a front page that leads everywhere."""

from __future__ import annotations

import html
import inspect
import json
import re
from pathlib import Path

import lens
from lens import checkout
from paper.in_short import sentences
from paper.index import FRONT_STYLE

FOLDER = checkout.root() / "docs"

_FRONT = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>TemporalLens</title>
<style>
{style}
</style>
</head>
<body>
<main>
<h1>TemporalLens</h1>
<p>Position-aware sparse autoencoders: trained, measured and reported by one reproducible pipeline.</p>
<p>Its paper's claims were measured against controls on a language model that runs on a laptop, and the same instruments
profile any sparse autoencoder by position: <a href="../README.md">README</a>, <a href="lens.html">public API</a>.</p>
{studies}
<h2>What there is to call</h2>
<table>
<tbody>
{names}
</tbody>
</table>
</main>
</body>
</html>
"""


def build(folder: Path = FOLDER) -> list[Path]:
    """Write `lens.html` (the public names of `lens`) and `index.html` into `folder`; their paths.

    The executed notebooks of every study are HTML pages already (`results/<study>/html`); the front page leads to them
    through each study's own.
    """
    import pdoc  # needed for this alone

    for name in lens.__all__:  # pdoc looks at what is there, and these names are there when they are used
        setattr(lens, name, getattr(lens, name))
    pdoc.render.configure(docformat="google", search=False, show_source=False, footer_text="")
    folder.mkdir(parents=True, exist_ok=True)
    api, front = folder / "lens.html", folder / "index.html"
    module = pdoc.doc.Module(lens)
    page = pdoc.render.html_module(module, all_modules={"lens": module})
    api.write_text(page, encoding="utf-8", newline="\n")
    studies = sorted(path.parent for path in (checkout.root() / "results").glob("*/index.html"))
    style = (Path(__file__).parent / "pages.css").read_text(encoding="utf-8") + FRONT_STYLE
    parts = {"studies": "\n".join(map(_study, studies)), "names": "\n".join(map(_name, lens.__all__))}
    front.write_text(_FRONT.format(style=style, **parts), encoding="utf-8", newline="\n")
    return [front, api]


def _study(folder: Path) -> str:
    """A study's answer in a few sentences, and the ways into it."""
    document = json.loads((folder / "claims.json").read_text(encoding="utf-8"))
    answers = [re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", html.escape(line)) for line in sentences(document)]
    doors = {
        "all results": "index.html", "paper (PDF)": "paper.pdf", "explorer of features": "explorer.html",
        "overview": "html/00_overview.html",
    }  # fmt: skip
    there = {name: path for name, path in doors.items() if (folder / path).is_file()}
    links = [f'<a href="../results/{folder.name}/{path}">{name}</a>' for name, path in there.items()]
    title = html.escape(f"Study {folder.name}: {document['model']}")
    items = "\n".join(f"<li>{line}</li>" for line in answers)
    return f"<h2>{title}</h2>\n<p>{' · '.join(links)}</p>\n<ul>\n{items}\n</ul>"


def _name(name: str) -> str:
    """A public name with the first sentence of its docstring."""
    first = (inspect.getdoc(getattr(lens, name)) or "").split("\n\n")[0].replace("\n", " ")
    said = re.sub(r"`(.+?)`", r"<code>\1</code>", html.escape(first))
    return f'<tr><td><a href="lens.html#{name}"><code>lens.{name}</code></a></td><td>{said}</td></tr>'
