"""BAM pretraining for mmpretrain, and the suite that evaluates any vision backbone.

``import bam_mm`` registers every component under the scope ``bam_mm`` and stays light: the
registries know which packages hold their members and import them at the first lookup.
``bam_mm.BAM`` and the other public names of these packages are resolved at first use for the same
reason.
"""

import ast as _ast
from importlib import import_module as _import_module
from pathlib import Path as _Path

from bam_mm.errors import InputError
from bam_mm.ops import install as _install_operators
from bam_mm.registry import PACKAGES as _PACKAGES
from bam_mm.version import __version__
from bam_mm.views import ViewLayout

_install_operators()


def _exported(package: str) -> list[str]:
    """Read ``__all__`` of a package without importing it."""
    text = (_Path(__file__).parent / package / "__init__.py").read_text()
    for statement in _ast.parse(text).body:
        if isinstance(statement, _ast.Assign) and _ast.unparse(statement.targets[0]) == "__all__":
            return _ast.literal_eval(statement.value)
    return []


_LAZY = {name: package for package in _PACKAGES for name in _exported(package)}

__all__ = ["InputError", "ViewLayout", "__version__", *_LAZY]


def __getattr__(name: str):
    if name in _LAZY:
        return getattr(_import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'bam_mm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
