"""Settings of the documentation site; `make docs` builds it without network."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bam_mm import __version__

project = "bam-mm"
copyright = "bam-mm contributors"
version = release = __version__

extensions = [
    "myst_parser",  # the documents are Markdown
    "sphinx.ext.autodoc",  # the API reference comes from the docstrings
    "sphinx.ext.napoleon",  # which are in Google style
]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # signatures stay short; Args describe shapes and units
autodoc_default_options = {"members": True, "show-inheritance": False}
napoleon_use_ivar = True
napoleon_use_rtype = False
nitpicky = False

html_theme = "furo"
html_title = f"bam-mm {version}"
html_show_sphinx = False
