"""The page of the public API, built from its docstrings."""

from __future__ import annotations

from pathlib import Path

import lens


def build(folder: Path) -> Path:
    """Write `lens.html`, the public names of `lens`, into `folder`; its path."""
    import pdoc.doc  # needed for this alone
    import pdoc.render
    import pdoc.render_helpers

    for name in lens.__all__:  # pdoc looks at what is there, and these names are there when they are used
        setattr(lens, name, getattr(lens, name))
    pdoc.render.configure(docformat="google", search=False, show_source=False, footer_text="")
    module = pdoc.doc.Module(lens)
    path = folder / "lens.html"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(pdoc.render.html_module(module, all_modules={"lens": module}), encoding="utf-8", newline="\n")
    return path
