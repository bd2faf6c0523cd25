"""Variables of a config: where the config's files use them.

mmengine evaluates a config as Python. A variable such as ``lr = 0.1`` is still an entry of the
result, but nothing reads it there: its value is copied, or computed into others. This module finds
these places in the source text.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from mmengine.config import Config

from bam_mm.variables.entries import RUNNER_KEYS


@dataclass(frozen=True)
class Use:
    """A place that takes the value of a variable.

    Attributes:
        key: Dotted key of the place in the config.
        copied: Whether the place has the variable's value, not one computed from it.
    """

    key: str
    copied: bool


def config_files(path: str | Path) -> list[Path]:
    """List a config's files: the file itself, then its bases, each once.

    Args:
        path: Config file.

    Returns:
        The files that exist, as far as their bases can be read.
    """
    files: list[Path] = []

    def add(file: Path) -> None:
        if file in files or not file.is_file():
            return
        files.append(file)
        try:
            for base in bases_of(file):
                add(base)
        except Exception:  # whatever reading the bases raises, reading the config raises too
            return

    add(Path(path).resolve())
    return files


def bases_of(file: Path) -> list[Path]:
    """Return the existing files that a config names in ``_base_``; a ``read_base()`` has none."""
    if Config._is_lazy_import(str(file)):
        return []
    bases = Config._get_base_files(str(file))
    found = [
        _of_package(base) if "::" in base else Path(Config._get_cfg_path(base, str(file))[0])
        for base in bases
    ]
    return [base.resolve() for base in found if base.is_file()]


@lru_cache
def _of_package(base: str) -> Path:
    # mmengine reads every index of the package's models each time.
    return Path(Config._get_cfg_path(base, "")[0])


def parsed(files: Sequence[Path]) -> list[ast.Module]:
    """Return the syntax trees of the Python files among a config's files."""
    return [_tree(file.read_text(encoding="utf-8")) for file in files if file.suffix == ".py"]


@lru_cache(maxsize=256)
def _tree(text: str) -> ast.Module:
    return ast.parse(text)


def uses_of(name: str, trees: Sequence[ast.Module]) -> list[Use]:
    """Find the entries of a config that take the value of a variable.

    Variables that take it in turn are followed to the entries that take theirs.

    Args:
        name: Name of the variable.
        trees: Syntax trees of the config's files.

    Returns:
        The places, each once, in the order of the files.
    """
    assigned = [pair for tree in trees for pair in _assignments(tree)]
    found: dict[Use, None] = {}

    def follow(variable: str, rest: str, copied: bool, seen: tuple[str, ...]) -> None:
        for target, expression in assigned:
            for key, same in _references(expression, variable):
                use = Use(f"{target}{key}{rest if same else ''}", same and copied)
                if target in RUNNER_KEYS:
                    found[use] = None
                elif target not in seen:
                    follow(target, use.key[len(target) :], use.copied, (*seen, target))

    follow(name, "", True, (name,))
    return list(found)


def is_read(name: str, trees: Sequence[ast.Module]) -> bool:
    """Return whether any file reads a variable, directly or as ``_base_.NAME``."""
    return any(_is_reference(node, name) for tree in trees for node in ast.walk(tree))


def assigned_names(tree: ast.Module) -> dict[str, ast.expr]:
    """Return the names that a file sets, each with its last expression."""
    return dict(_assignments(tree))


def sets(tree: ast.Module, key: str) -> bool:
    """Return whether a file sets an entry itself, by ``dict(...)`` down to it or by a value above.

    Args:
        tree: Syntax tree of the file.
        key: Dotted key of the entry.
    """
    return _stated(tree, key) is not None


def is_literal(trees: Sequence[ast.Module], key: str) -> bool:
    """Return whether the first file that sets an entry does so by a value without any variable.

    Args:
        trees: Syntax trees of the config's files, the file itself before its bases.
        key: Dotted key of the entry.
    """
    found = (_stated(tree, key) for tree in trees)
    expression = next((each for each in found if each is not None), None)
    return expression is not None and not any(
        isinstance(node, ast.Attribute)
        or (isinstance(node, ast.Name) and node.id != "dict")
        or (isinstance(node, ast.Constant) and "{{" in str(node.value))  # mmengine's placeholders
        for node in ast.walk(expression)
    )


def _stated(tree: ast.Module, key: str) -> ast.expr | None:
    """Return the expression of an entry in a file, or of the value around it that is no dict."""
    name, *parts = key.split(".")
    found = [_reached(value, parts) for target, value in _assignments(tree) if target == name]
    return next((each for each in reversed(found) if each is not None), None)


def _reached(node: ast.expr, parts: Sequence[str]) -> ast.expr | None:
    if not parts:
        return node
    if isinstance(node, (ast.List, ast.Tuple)):
        number = int(parts[0]) if parts[0].isdigit() else len(node.elts)
        inner = _reached(node.elts[number], parts[1:]) if number < len(node.elts) else None
        return inner or node
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        entries = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
    elif isinstance(node, ast.Dict):
        entries = {
            str(entry.value): value
            for entry, value in zip(node.keys, node.values, strict=True)
            if isinstance(entry, ast.Constant)
        }
    else:
        return node if isinstance(node, ast.Constant) else None
    return _reached(entries[parts[0]], parts[1:]) if parts[0] in entries else None


def _assignments(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for statement in ast.walk(tree):
        if isinstance(statement, ast.Assign):
            for target in statement.targets:
                if isinstance(target, ast.Name):
                    yield target.id, statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            yield ast.unparse(statement.target), statement.value


def _is_reference(node: ast.AST, name: str) -> bool:
    if isinstance(node, ast.Name):
        return node.id == name and isinstance(node.ctx, ast.Load)
    return (
        isinstance(node, ast.Attribute)
        and node.attr == name
        and isinstance(node.value, ast.Name)
        and node.value.id == "_base_"
    )


def _references(node: ast.AST, name: str, key: str = "") -> Iterator[tuple[str, bool]]:
    """Yield where an expression takes a variable, as ``.a.0.b``, and whether it is a copy."""
    if _is_reference(node, name):
        yield key, True
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        for keyword in node.keywords:
            below = key if keyword.arg is None else f"{key}.{keyword.arg}"
            yield from _references(keyword.value, name, below)
    elif isinstance(node, ast.Dict):
        for entry, value in zip(node.keys, node.values, strict=True):
            below = f"{key}.{entry.value!s}" if isinstance(entry, ast.Constant) else key
            yield from _references(value, name, below)
    elif isinstance(node, (ast.List, ast.Tuple)):
        for number, value in enumerate(node.elts):
            yield from _references(value, name, f"{key}.{number}")
    elif any(_is_reference(inner, name) for inner in ast.walk(node)):
        yield key, False
