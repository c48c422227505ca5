"""The paper: `paper/paper.typ` typeset with the numbers and figures of one study, and nothing typed by hand."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from pathlib import Path

import typst

from lens import files
from lens.figures.plot import svg
from lens.study.params import Study
from paper.gallery import FIGURES, OVER_DEPTH, looks_of, reader
from paper.paper_data import ABOUT, PaperError, contents

SOURCE = Path(__file__).parent


def build(study: Study) -> Path:
    """Typeset the paper to `results/<study>/paper.pdf` (PDF/UA-1, tagged); the same tables give the same bytes.

    The paper is about the study `full`, whose committed tables and claims.json it reads. Built for another study, it
    ends with an appendix that sets that study's claims beside those of `full`.

    Raises:
        PaperError: the paper asks for a number or a figure that `full` does not hold, says what its claims no longer
            bear out, or Typst refuses the source.
    """
    about, beside = (study, None) if study.name == ABOUT else (Study.load(ABOUT), study)
    content = contents(about, beside)
    with tempfile.TemporaryDirectory(prefix="paper-") as name:
        folder = Path(name)
        for source in (*SOURCE.glob("*.typ"), *SOURCE.glob("*.bib")):
            shutil.copy(source, folder)
        content["figures"] = draw(about, folder / "figures")
        text = json.dumps(content, ensure_ascii=False, allow_nan=False)
        (folder / "data.json").write_text(text, encoding="utf-8")
        pdf = typeset(folder)
    target = study.results / "paper.pdf"
    files.write(target, pdf)
    return target


def draw(study: Study, folder: Path) -> dict:
    """Draw the figures that the paper shows from the tables of a study; title, caption and alt text by name."""
    shown = re.findall(r'^#plot\("(\w+)"\)', (SOURCE / "paper.typ").read_text(encoding="utf-8"), flags=re.MULTILINE)
    read, over_depth, looks = reader(study), reader(study, over_depth=True), looks_of(study)
    words = {}
    folder.mkdir()
    for name in shown:
        plot = FIGURES[name](over_depth if name in OVER_DEPTH else read, looks)
        (folder / f"{name}.svg").write_bytes(svg(plot))
        words[name] = {"title": plot.title, "caption": plot.caption, "alt": plot.alt}
    return words


def typeset(folder: Path) -> bytes:
    """The PDF of `paper.typ` in a folder that holds all it reads.

    Fonts are those inside Typst and nothing is fetched, so a PDF is the same on every machine.

    Raises:
        PaperError: Typst's own message, with the line of the source.
    """
    compiler = typst.Compiler(folder / "paper.typ", root=folder, font_paths=typst.Fonts(include_system_fonts=False))
    try:
        made, warnings = compiler.compile_with_warnings(format="pdf", pdf_standards=["ua-1"], timestamp=0)
    except typst.TypstError as error:
        reason = " ".join([error.message, *error.hints])
        raise PaperError(f"paper.typ: {reason}\n{error.diagnostic}") from None
    if warnings:
        raise PaperError("paper.typ: " + "; ".join(warning.message for warning in warnings))
    assert isinstance(made, bytes)  # a list holds pages of pictures
    return made
