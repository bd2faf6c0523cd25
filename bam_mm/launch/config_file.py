"""Reading config files: one message for a mistake in one of them."""

from __future__ import annotations

import ast
import re
import traceback
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE, ConfigParsingError
from mmengine.fileio import load
from mmengine.utils import get_installed_path

from bam_mm.errors import InputError
from bam_mm.launch.options import nearest
from bam_mm.variables.behind import behind_in_files
from bam_mm.variables.entries import READ_AT_THE_START, RUNNER_KEYS, loading_hooks
from bam_mm.variables.uses import (
    assigned_names,
    config_files,
    is_read,
    parsed,
)

ENDINGS = (".py", ".json", ".yaml", ".yml")
"""Endings of config files that mmengine reads."""

_CHECKPOINTS = (".pth", ".pt", ".ckpt", ".safetensors", ".bin")
_SURE = 0.85
"""Similarity from which an unused name counts as a misspelt one."""


def read_config(path: str | Path) -> Config:
    """Read a config file with its bases.

    Args:
        path: Existing file.

    Returns:
        The config.

    Raises:
        InputError: If the file or one of its bases is no config, has an error, names a base or a
            module that does not exist, or sets a name that nothing reads and that resembles one
            that mmengine or a base knows.
    """
    path = Path(path)
    _check_text(path)
    files = config_files(path)
    for file in files[1:]:
        _check_text(file)
    try:
        _check_bases(files)
        config = Config.fromfile(str(path))
    except InputError:
        raise
    except Exception as error:
        if (message := _explain(error, path, files)) is None:
            raise
        raise InputError(message) from error
    if path.suffix == ".py":
        _check_names(path, files, config)
    return config


def _check_text(path: Path) -> None:
    """Check that a file has the ending and the syntax of a config."""
    if path.suffix not in ENDINGS:
        hint = ""
        if path.suffix in _CHECKPOINTS:
            hint = "; the config comes first, then the checkpoint"
        raise InputError(
            f"config {path}: the ending {path.suffix!r} is not that of a config; pass a file that "
            f"ends with {', '.join(ENDINGS)}{hint}"
        )
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".py":
            ast.parse(text)
            return
        content = load(str(path))
    except UnicodeDecodeError as error:
        raise InputError(
            f"config {path} is not text in UTF-8 ({error.reason} at byte {error.start}): save it "
            "as UTF-8"
        ) from error
    except SyntaxError as error:
        line = (error.text or "").strip()
        raise InputError(
            f"config {path}, line {error.lineno}: {error.msg}{f' in `{line}`' if line else ''}; "
            "correct the Python code"
        ) from error
    except OSError as error:
        raise InputError(f"config {path} cannot be read: {error.strerror}") from error
    except Exception as error:  # the exceptions of the YAML and the JSON reader
        reason = " ".join(str(error).split())
        raise InputError(f"config {path} is not valid {path.suffix[1:]}: {reason}") from error
    if not isinstance(content, Mapping):
        raise InputError(
            f"config {path} holds {type(content).__name__} instead of settings by name; write "
            "`NAME: VALUE` lines"
        )


def _check_bases(files: list[Path]) -> None:
    for file in files:
        if Config._is_lazy_import(str(file)):
            continue
        for base in Config._get_base_files(str(file)):
            found = _base_path(base, file)
            if found.is_file():
                continue
            folder = found.parent
            names = [each.name for each in folder.glob("*.py")] if folder.is_dir() else []
            close = [each for each in nearest(found.name, names) if each != file.name]
            remedy = f"did you mean {' or '.join(close)}?" if close else "correct the path"
            raise InputError(f"_base_ {base!r} of config {file} does not exist ({found}): {remedy}")


def _base_path(base: Any, file: Path) -> Path:
    """Return the file that a base names, by its path or as ``PACKAGE::PATH``."""
    place = f"_base_ {base!r} of config {file}"
    if not isinstance(base, str):
        raise InputError(f"{place} is no path: name a config, or a list of several")
    try:
        return Path(Config._get_cfg_path(base, str(file))[0])
    except InputError:
        raise
    except ImportError as error:
        raise InputError(f"{place}: {error.msg}") from error
    except FileNotFoundError as error:
        folder = Path(get_installed_path(MODULE2PACKAGE[base.partition("::")[0]])) / ".mim/configs"
        known = [found.relative_to(folder).as_posix() for found in folder.rglob("*.py")]
        close = nearest(base.partition("::")[2], known)
        remedy = f"did you mean {' or '.join(close)}?" if close else "correct the path"
        raise InputError(f"{place} does not exist in {folder}: {remedy}") from error
    except (AssertionError, ValueError) as error:
        raise InputError(
            f"{place} names no config of a library: write it as in "
            "'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', with one of "
            f"{', '.join(sorted(MODULE2PACKAGE))}"
        ) from error


def _explain(error: Exception, path: Path, files: list[Path]) -> str | None:
    """Return the message for an exception that the user's config caused; None for other ones."""
    text = " ".join(str(error.args[0] if error.args else error).split())
    if isinstance(error, ImportError) and text.startswith("Failed to import custom modules"):
        inner = error.__cause__ and error.__cause__.__context__
        name = inner.name if isinstance(inner, ModuleNotFoundError) else None
        wanted = re.findall(r"'([\w.]+)'", text.partition("sys.path")[0])
        if name is None or not any(f"{module}.".startswith(f"{name}.") for module in wanted):
            return None  # The module exists and fails itself.
        return (
            f"config {path}: custom_imports needs the module {name}, which Python does "
            f"not find; install it, or add its folder to PYTHONPATH"
        )
    if text.startswith("Duplicate key is not allowed among bases"):
        keys = text.rpartition(": ")[2]
        return (
            f"config {path}: two of its bases set {keys}; keep one of them, or make one the base "
            "of the other"
        )
    if "in child config cannot inherit from base" in text:
        name = text.partition("=")[0]
        kind = re.search(r"is of type <class '(\S+)'>", text)
        return (
            f"config {path}: {name} is a dict, but {kind.group(1) if kind else 'not a dict'} in "
            "its base; write _delete_=True into the dict to replace the base's value"
        )
    if isinstance(error, (ConfigParsingError, PackageNotFoundError)):
        return _lazily(text, path)
    return _in_the_code(error, files)


def _lazily(text: str, path: Path) -> str:
    """Return the message about the bases of a config with ``read_base()``."""
    missing = re.match(r"(\S+) not found! .* from (\S+) import", text)
    if missing is None:
        return f"config {path}: {text.rstrip('.')}; correct its imports under read_base()"
    found = Path(missing[1])
    close = nearest(found.stem, [each.stem for each in found.parent.glob("*.py")])
    remedy = f"did you mean {' or '.join(close)}?" if close else "correct the name"
    return f"config {path}: read_base() imports {missing[2]}, but {found} does not exist: {remedy}"


def _in_the_code(error: Exception, files: list[Path]) -> str | None:
    known = {str(file) for file in files}
    frames = traceback.extract_tb(error.__traceback__)
    own = [number for number, frame in enumerate(frames) if frame.filename in known]
    # Reading an entry that a base does not have fails inside mmengine's dict.
    deeper = [frame.filename for frame in frames[own[-1] + 1 :]] if own else []
    if not own or any("mmengine" not in name and "addict" not in name for name in deeper):
        return None
    frame = frames[own[-1]]
    line = Path(frame.filename).read_text(encoding="utf-8").splitlines()[(frame.lineno or 1) - 1]
    return (
        f"config {frame.filename}, line {frame.lineno}: {type(error).__name__}: {error} in "
        f"`{line.strip()}`; correct the Python code"
    )


def _check_names(path: Path, files: list[Path], config: Config) -> None:
    """Check the names that the file itself sets: some entry must depend on them."""
    for each in behind_in_files(config, path):
        # A run checks the rest, and only for the data that it needs.
        if each.decisive and not each.changed:
            raise InputError(each.message(config))
    trees = parsed(files)
    own = assigned_names(trees[0])
    inherited = {name for tree in trees[1:] for name in assigned_names(tree)}
    for name in own:
        if name in RUNNER_KEYS or name.startswith("_") or is_read(name, trees[:1]):
            continue
        if name in inherited or (name in READ_AT_THE_START and loading_hooks(config)):
            continue
        others = {*RUNNER_KEYS, *inherited} - {*own, "tta_model", "tta_pipeline"}
        if close := nearest(name, others, cutoff=_SURE):
            raise InputError(
                f"config {path}: nothing reads {name}; did you mean {' or '.join(close)}? "
                "Otherwise remove it"
            )
