"""Settings of the documentation site; `make docs` builds it without network."""

import importlib
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
exclude_patterns = ["_build", "reference_curves/README.md"]  # the latter is read beside the files
source_suffix = {".md": "markdown"}

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # signatures stay short; Args describe shapes and units
autodoc_default_options = {"members": True, "show-inheritance": False}
napoleon_use_ivar = True
napoleon_use_rtype = False
nitpicky = True  # a reference to nothing fails
nitpick_ignore_regex = [
    ("py:.*", r"(?!bam_mm\.).*"),  # the documentation of other packages is not linked
    ("py:.*", r"bam_mm\..*\._.*"),  # private bases are not documented
]

html_theme = "furo"
html_title = f"bam-mm {version}"
html_show_sphinx = False


def resolve_exported(app, env, node, contnode):
    """Link a name that a package exports, such as ``bam_mm.losses.bam_loss``, to its module."""
    package, _, name = node.get("reftarget", "").rpartition(".")
    if node.get("refdomain") != "py" or not package.startswith("bam_mm"):
        return None
    try:
        member = getattr(importlib.import_module(package), name)
        target = f"{member.__module__}.{member.__qualname__}"
    except (ImportError, AttributeError):
        return None
    domain = env.get_domain("py")
    return domain.resolve_xref(
        env, node["refdoc"], app.builder, node["reftype"], target, node, contnode
    )


def setup(app):
    """Register the resolver with Sphinx."""
    app.connect("missing-reference", resolve_exported)
