"""How Sphinx builds these pages (`make docs`). Every code cell runs at each build, in a folder that is then removed."""

from __future__ import annotations

import re
import sys

sys.modules.setdefault("rfc3987_syntax", None)  # a grammar of web addresses, which takes seconds and isn't needed

from docutils import nodes  # noqa: E402
from docutils.utils.math.latex2mathml import tex2mathml  # noqa: E402
from myst_nb.core.render import NbElementRenderer  # noqa: E402

import lens  # noqa: E402

project = "TemporalLens, measured"
author = "The TemporalLens contributors"
release = version = lens.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = project
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_math_renderer = "mathml"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 900  # seconds a cell, on a machine that others keep busy
nb_output_stderr = "remove"  # progress
nb_mime_priority_overrides = [("html", "image/svg+xml", 0)]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
default_role = "literal"  # docstrings are read in an editor first: one backtick


def setup(app):
    app.add_html_math_renderer("mathml", (_formula, None), (_formula, None))
    NbElementRenderer.render_image = _with_alt(NbElementRenderer.render_image)
    app.connect("source-read", _files_of_the_project)
    app.connect("autodoc-process-docstring", _before_napoleon, priority=400)
    app.connect("autodoc-process-docstring", _after_napoleon, priority=600)


def _formula(writer, node):
    """Browsers draw MathML without a script, which would be fetched."""
    writer.body.append(tex2mathml(node.astext(), as_block=isinstance(node, nodes.math_block)))
    raise nodes.SkipNode


def _with_alt(render):
    """Pictures of cells keep the alt text that they are displayed with, which MyST-NB leaves out."""

    def rendered(self, data):
        found = render(self, data)
        if alt := data.output_metadata.get(data.mime_type, {}).get("alt"):
            for image in (image for node in found for image in node.findall(nodes.image)):
                image["alt"] = alt
        return found

    return rendered


def _files_of_the_project(app, docname, source):
    """Links out of docs/ lead to files where the project is browsed; the built pages bring these files with them."""
    out = r"\.\./" * (docname.count("/") + 1)
    source[0] = re.sub(rf"\]\(({out}[^)]+)\)", r"](<path:\1>)", source[0])


COLON = "\ue000"


def _before_napoleon(app, what, name, thing, options, lines):
    """What is under a field is no `type: description`, which napoleon takes it for; |x| is no substitution."""
    lines[:] = [re.sub(r"(`[^`]*`)|\|", lambda found: found[1] or r"\|", line) for line in lines]
    if what in ("attribute", "property"):
        lines[:] = [line.replace(":", COLON) for line in lines]


def _after_napoleon(app, what, name, thing, options, lines):
    lines[:] = [line.replace(COLON, ":") for line in lines]
