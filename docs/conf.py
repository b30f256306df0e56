"""Sphinx's settings: nothing is fetched, no notebook is run, and `make docs` allows no warning."""

import logging
import sys
from pathlib import Path

import lvkam_pyro

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "_extensions"))

project = "lvkam_pyro"
version = release = lvkam_pyro.__version__
copyright = "the authors of lvkam_pyro"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "mathml",
    "notebooks",
    "public_names",
]
exclude_patterns = ["_build"]
templates_path: list[str] = []

html_theme = "furo"
html_title = f"lvkam_pyro {version}"
html_static_path = ["_static"]
html_css_files = ["lvkam.css"]
html_show_sphinx = False
html_math_renderer = "mathml"
pygments_style = "friendly"
pygments_dark_style = "native"

nb_execution_mode = "off"  # the notebooks are kept with their outputs
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

# Docstrings are in Google's form, with plain code between single backticks.
default_role = "code"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
autosummary_generate = False
autodoc_preserve_defaults = True
autodoc_default_options = {
    "members": True,
    # Of these, and of what is above them, nothing is repeated.
    "inherited-members": (
        "Estimator,Module,PyroModule,ELBO,TorchDistributionMixin,Distribution,tuple,int,str"
    ),
}
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 90
toc_object_entries_show_parents = "hide"

nitpicky = True

# arviz announces its parts at import.
logging.getLogger("arviz").setLevel(logging.WARNING)
