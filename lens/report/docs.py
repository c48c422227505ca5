"""The documentation: a page of the public API, built from its docstrings, and a front page that leads everywhere."""

from __future__ import annotations

import html
from pathlib import Path

import lens
from lens.config import ROOT

FOLDER = ROOT / "docs"

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
<h2>Studies</h2>
<ul>
{studies}
</ul>
<h2>Code</h2>
<ul>
<li><a href="lens.html">Public API</a></li>
<li><a href="../README.md">README</a></li>
</ul>
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
    studies = sorted(path.parent for path in (ROOT / "results").glob("*/index.html"))
    links = [f'<li><a href="../results/{s.name}/index.html">{html.escape(s.name)}</a></li>' for s in studies]
    style = (Path(__file__).parent / "pages.css").read_text(encoding="utf-8")
    front.write_text(_FRONT.format(style=style, studies="\n".join(links)), encoding="utf-8", newline="\n")
    return [front, api]
