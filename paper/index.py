"""The front page of a study: one HTML file that leads to its paper, claims, explorer, notebooks and figures."""

from __future__ import annotations

import html
import json
import os
from collections import Counter
from pathlib import Path

from matplotlib.image import imread

from lens.study import stages
from lens.study.params import Study
from paper.overview import contents
from paper.readme import estimate_text
from paper.verdicts import WORDS

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
<main>
<h1>{title}</h1>
<p>{scope}</p>
<ul class="doors">
{doors}
</ul>
<h2 id="claims">Claims</h2>
<p>{tally}</p>
<table class="claims">
<thead><tr><th>claim</th><th>the paper says</th><th>verdict</th><th>due to the method?</th><th>ours [95 % interval]</th></tr></thead>
<tbody>
{claims}
</tbody>
</table>
<h2 id="notebooks">Notebooks</h2>
<ul>
{notebooks}
</ul>
<h2 id="figures">Figures</h2>
{figures}
</main>
</body>
</html>
"""  # noqa: E501

FRONT_STYLE = """
:root { color-scheme: light dark; }
@media (prefers-color-scheme: dark) {
  body { color: #e6e6e3; background: #16181b; }
  a { color: #8ab8f0; }
  th, td { border-color: #3a3d42; }
  img { background: #fff; }
}
"""
_STYLE = (
    FRONT_STYLE
    + """
.doors { display: flex; flex-wrap: wrap; gap: .75rem; padding: 0; list-style: none; }
.doors a { display: block; padding: .5rem 1rem; border: 1px solid #0b57a4; border-radius: .375rem; }
figure { margin: 0 0 2rem; }
figcaption { font-size: .9rem; }
@media (max-width: 40rem) {
  table.claims, .claims tbody, .claims tr, .claims td { display: block; }
  .claims thead { display: none; }
  .claims tr { border-bottom: 1px solid; padding: .5rem 0; }
  .claims td { border: 0; padding: .1rem 0; }
  .claims td[data-label]::before { content: attr(data-label) ": "; font-weight: 600; }
}
"""
)


def build(study: Study) -> Path:
    """Write `results/<study>/index.html` from what the study has made, and return its path.

    Every figure is shown with its caption; what a study does not have, such as an explorer, gets no link.
    """
    folder = study.results
    document = json.loads((folder / "claims.json").read_text(encoding="utf-8"))
    counts = Counter(claim["verdict"] for claim in document["claims"])
    doors = {"Paper (PDF)": "paper.pdf", "Explorer of features": "explorer.html", "Overview": "html/00_overview.html"}
    page = _PAGE.format(
        title=html.escape(f"TemporalLens, study {study.name}"),
        style=(Path(__file__).parent / "pages.css").read_text(encoding="utf-8") + _STYLE,
        scope=html.escape(document["scope"]),
        doors="\n".join(f"<li>{_link(name, path)}</li>" for name, path in doors.items() if (folder / path).is_file()),
        tally=html.escape(", ".join(f"{counts[word]} {word}" for word in WORDS if counts[word]) + "."),
        claims="\n".join(_claim(claim) for claim in document["claims"]),
        notebooks="\n".join(_notebooks(study)),
        figures="\n".join(_figure(path) for path in sorted((folder / "figures").glob("*.json"))),
    )
    temporary = folder / f".index.{os.getpid()}"
    temporary.write_text(page, encoding="utf-8", newline="\n")
    os.replace(temporary, folder / "index.html")
    return folder / "index.html"


def _link(text: str, path: str) -> str:
    return f'<a href="{html.escape(path)}">{html.escape(text)}</a>'


def _claim(claim: dict) -> str:
    notebook, figure = (claim["evidence"][name] for name in ("notebook_file", "figure_file"))
    page = notebook and f"html/{Path(notebook).stem}.html"
    name = _link(claim["id"], page) if page else html.escape(claim["id"])
    verdict = _link(claim["verdict"], figure) if figure else html.escape(claim["verdict"])
    ours = estimate_text(claim) or claim["reason"] or ""
    said = f"{html.escape(claim['title'])}<br><small>{html.escape(claim['quantity'])}</small>"
    due = html.escape(claim["attributable"] or "")
    cells = {"verdict": verdict, "due to the method?": due, "ours": html.escape(ours)}
    labelled = "".join(f'<td data-label="{label}">{cell}</td>' for label, cell in cells.items())
    return f"<tr><td>{name}</td><td>{said}</td>{labelled}</tr>"


def _notebooks(study: Study) -> list[str]:
    questions = contents(study)["question"]
    made = [name for name in stages.names(study) if (study.results / "html" / f"{name}.html").is_file()]
    question = {name: next((q for start, q in questions.items() if name.startswith(start)), "") for name in made}
    return [f"<li>{_link(name, f'html/{name}.html')} {html.escape(question[name])}</li>" for name in made]


def _figure(path: Path) -> str:
    words = json.loads(path.read_text(encoding="utf-8"))
    name = f"figures/{path.stem}.png"
    title, caption, alt = (html.escape(words[part]) for part in ("title", "caption", "alt"))
    height, width = imread(path.with_suffix(".png")).shape[:2]  # told, so that nothing moves when a figure comes
    return (
        f'<figure id="{path.stem}"><a href="figures/{path.stem}.svg"><img loading="lazy" src="{name}" alt="{alt}" '
        f'width="{width}" height="{height}"></a>'
        f"<figcaption><strong>{title}.</strong> {caption}</figcaption></figure>"
    )
