"""The finder that decides, at the import of ``mmcv._ext``, whose operators are used."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from types import ModuleType

EXTENSION = "mmcv._ext"
NOT_BUILT = "mmcv was installed without compiled operators"
OTHER_TORCH = "mmcv's operators were built for another torch ({})"
WITHOUT_CUDA = "mmcv's operators were compiled without CUDA, and this machine has a GPU"


class OperatorFinder(MetaPathFinder):
    """Find ``mmcv._ext``, compiled or not, and no other module."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a specification of ``mmcv._ext``; None for any other name.

        Nothing is loaded here: mmengine looks for the specification only to learn whether mmcv
        has operators.
        """
        # Python imports mmcv before it asks for a module in it. Without mmcv nothing comes here.
        if fullname != EXTENSION:
            return None
        compiled = _compiled_spec(fullname, path, target)
        origin = compiled.origin if compiled else "bam_mm.ops.torchvision_ops"
        return ModuleSpec(fullname, OperatorLoader(compiled), origin=origin)


class OperatorLoader(Loader):
    """Load mmcv's compiled operators where they work, and the stand-in elsewhere.

    Args:
        compiled: Specification of the compiled extension; None where it does not exist.

    Attributes:
        reason: Why the stand-in is used; empty for the compiled operators.
    """

    def __init__(self, compiled: ModuleSpec | None):
        self.compiled = compiled
        self.reason = ""

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Return the loaded extension; None, for a new and empty module, if it is not used."""
        module, self.reason = _load(self.compiled)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Fill the stand-in; return a compiled extension to the state of an ordinary import."""
        if self.reason:
            functions = import_module("bam_mm.ops.torchvision_ops")
            for name in [*functions.__all__, "__getattr__", "__doc__"]:
                setattr(module, name, getattr(functions, name))
        elif self.compiled is not None:
            module.__spec__ = self.compiled
            module.__loader__ = self.compiled.loader


def _compiled_spec(
    name: str, path: Sequence[str] | None, target: ModuleType | None
) -> ModuleSpec | None:
    """Ask every other finder for the extension."""
    for finder in list(sys.meta_path):
        if not isinstance(finder, OperatorFinder):
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                return spec
    return None


def _load(compiled: ModuleSpec | None) -> tuple[ModuleType | None, str]:
    """Load the extension; return it or None, and why it is not used."""
    if compiled is None or compiled.loader is None:
        return None, NOT_BUILT
    # The extension is linked against torch's libraries, which only the import of torch makes known.
    torch = import_module("torch")
    try:
        module = module_from_spec(compiled)
        compiled.loader.exec_module(module)
    except ImportError as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return None, OTHER_TORCH.format(lines[0])
    if _lacks_cuda(module) and torch.cuda.is_available():
        return None, WITHOUT_CUDA
    return module, ""


def _lacks_cuda(extension: ModuleType) -> bool:
    version = getattr(extension, "get_compiling_cuda_version", None)
    return version is not None and "not available" in version().lower()
