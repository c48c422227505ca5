"""The paper of a study: `paper/paper.typ` typeset with the study's numbers and figures, and nothing typed by hand."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import typst

from lens.study.params import Study
from paper.paper_data import PaperError, contents

SOURCE = Path(__file__).parent


def build(study: Study) -> Path:
    """Typeset the paper of a study to `results/<study>/paper.pdf` (PDF/UA-1, tagged); the same inputs, the same bytes.

    Raises:
        PaperError: the paper asks for a number or a figure that the study does not hold, or Typst refuses the source.
    """
    content = contents(study)
    with tempfile.TemporaryDirectory(prefix="paper-") as name:
        folder = Path(name)
        for source in filter(Path.is_file, SOURCE.iterdir()):
            shutil.copy(source, folder)
        shutil.copytree(study.results / "figures", folder / "figures")
        text = json.dumps(content, ensure_ascii=False, allow_nan=False)
        (folder / "data.json").write_text(text, encoding="utf-8")
        pdf = typeset(folder)
    target = study.results / "paper.pdf"
    partial = target.with_suffix(".pdf.partial")
    partial.write_bytes(pdf)
    os.replace(partial, target)
    return target


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
    return made
