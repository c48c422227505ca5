"""One HTML file from the data of one or several studies; needs nothing but a browser to be read.

The page is written without a framework or a build step. It is a list, a card and three static views, each rebuilt whole
from a small state; a library would replace one helper of twenty lines (01_dom.js) and bring code that a reader of the
paper would have to trust. The scripts are joined in the order of their names and share one module's scope.

Nothing from a corpus reaches HTML: all of it is in text of base 85 (see `pack`) and becomes text nodes. The content
security policy allows the page's own script and style by digest and nothing else: the file can load and send nothing.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html
import re
from collections.abc import Sequence
from pathlib import Path

from lens import files
from lens.errors import ConfigError
from lens.explorer.data import StudyData
from lens.explorer.pack import Part, pack, unpack

FOLDER = Path(__file__).parent
TITLE = "TemporalLens explorer"
_ELEMENT = re.compile('data-study="([^"]*)"(?: data-layer="([^"]*)")?>([^<]*)</script>')


def write(studies: Sequence[StudyData], path: Path) -> Path:
    """Write the page, complete or not at all; the same bytes for the same data. Raises as `check_place` does."""
    check_place(path)
    text = page(studies)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(path, text.encode())
    return path


def check_place(path: Path) -> None:
    """Whether a page may be written to a file, asked before the work that makes it.

    Raises:
        ConfigError: it is a folder, or another file than such a page.
        OSError: nothing can be written there.
    """
    if path.is_dir():
        raise ConfigError(f"{path} is a folder: name the file to write, {path / 'explorer.html'} for instance")
    if path.is_file() and TITLE.encode() not in path.read_bytes()[:4096]:
        raise ConfigError(f"{path} is no explorer, and would be replaced: name another file, or remove this one")
    files.check_can_hold(path.parent)


def read(path: Path) -> dict[str, StudyData]:
    """The studies of a page, by name; none where there is no page, or one that another version wrote."""
    found: dict[str, StudyData] = {}
    if not path.is_file():
        return found
    with contextlib.suppress(ValueError):
        for study, layer, data in _ELEMENT.findall(path.read_text(encoding="utf-8")):
            study, layer, part = html.unescape(study), html.unescape(layer), unpack(data)
            if layer:
                found[study].layers[layer] = part
            else:
                found[study] = StudyData(study, part, {})
        return found
    return {}


def page(studies: Sequence[StudyData], *, served: bool = False) -> str:
    """The whole page as text.

    Args:
        served: it may ask the server that it comes from, and no other, to read a text (see `lens.explorer.serve`).
    """
    style = (FOLDER / "explorer.css").read_text(encoding="utf-8")
    script = "".join(path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.js")))
    policy = f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; base-uri 'none'"
    title = f"{TITLE} ({', '.join(study.name for study in studies)})"
    parts = {
        "csp": policy + "; form-action 'none'" + ("; connect-src 'self'" if served else ""),
        "title": html.escape(title),
        "style": style,
        "script": script,
        "data": "\n".join(element for study in studies for element in _elements(study)),
    }
    text = (FOLDER / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], text)  # one pass: what is filled in stays


def _elements(study: StudyData) -> list[str]:
    return [_element(study.study, study.name)] + [
        _element(part, study.name, f' data-layer="{html.escape(layer)}"') for layer, part in study.layers.items()
    ]


def _element(part: Part, study: str, layer: str = "") -> str:
    """A block of data, which a browser keeps and never runs."""
    return f'<script type="application/octet-stream" data-study="{html.escape(study)}"{layer}>{pack(part)}</script>'


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
