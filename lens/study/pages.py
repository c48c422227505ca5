"""The executed notebooks as HTML pages that need no network and run no script."""

from __future__ import annotations

import html
import os
import shutil
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter
from pygments.formatters import HtmlFormatter

from lens.study import stages
from lens.study.params import Study

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
<nav aria-label="Notebooks of this study">{links}</nav>
<main>
{body}
</main>
</body>
</html>
"""


def build(study: Study) -> list[Path]:
    """Write `html/<notebook>.html` for every executed notebook of the study, in place of what was there."""
    sources = [study.results / "notebooks" / f"{name}.ipynb" for name in stages.names(study)]
    folder = study.results / "html"
    temporary = folder.with_name(f".html.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    exporter = HTMLExporter(template_name="basic")
    style = (Path(__file__).parent / "pages.css").read_text(encoding="utf-8")
    style += HtmlFormatter(style="default").get_style_defs(".highlight")
    for source in sources:
        body, _ = exporter.from_notebook_node(nbformat.read(source, as_version=4))
        for other in sources:  # a link to another notebook leads to its page
            body = body.replace(f'href="{other.name}"', f'href="{other.stem}.html"')
        links = " ".join(_link(page.stem, current=page == source) for page in sources)
        page = _PAGE.format(title=html.escape(f"{source.stem} ({study.name})"), style=style, links=links, body=body)
        (temporary / f"{source.stem}.html").write_text(page, encoding="utf-8", newline="\n")
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
    return sorted(folder.glob("*.html"))


def _link(name: str, current: bool) -> str:
    return f'<a href="{html.escape(name)}.html"{" aria-current=page" if current else ""}>{html.escape(name)}</a>'
