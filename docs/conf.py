"""How Sphinx builds these pages (`make docs`). Every code cell runs at each build, in a folder that is then removed."""

from __future__ import annotations

import lens

project = "TemporalLens, measured"
author = "The TemporalLens contributors"
release = version = lens.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = project
html_copy_source = False
html_show_sphinx = False

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
nb_mime_priority_overrides = [("html", "image/svg+xml", 0)]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
default_role = "literal"  # docstrings are read in an editor first: one backtick
