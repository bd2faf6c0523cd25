"""Texts of ``--cfg-options`` and the values that they mean.

mmengine's ``DictAction`` decides by the text alone: a folder ``2017`` becomes a number, ``a,b`` a
list, and every space disappears. Here a text stays a text until the setting that it replaces is
known. This module must not import torch, to keep ``--help`` fast.
"""

from __future__ import annotations

import re
from argparse import Action, ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from typing import Any

from bam_mm.errors import InputError

FLAG = "--cfg-options"

OPTIONS_HELP = (
    "override settings, as in data_root=~/photos train_dataloader.batch_size=64; a list is written "
    'key="[a,b]", and +key=value adds a setting that the config does not have'
)

_PATH_NAME = re.compile(
    r"(^|_)(root|dirs?|files?|path|folder|prefix|checkpoint|weights|subset|split|load_from|filename"
    r"|experiment_name)$"
)
_NUMBERS_TOO = re.compile(r"_(path|weights|subset|split)$|^weights$")
"""Names of paths, or of numbers, as in ``drop_path`` and ``class_weights``."""
_NUMBERS = re.compile(r"[-+.,\de\s()\[\]]*\d[-+.,\de\s()\[\]]*|true|false", re.IGNORECASE)
_NO_NONE = ("data_root",)
"""Names of paths that cannot be switched off, so that ``None`` is a folder's name."""
_OPENING, _CLOSING = "([", ")]"
_TEXT_LISTS = ("classes", "sequences", "imports")
"""Names of lists whose entries are names, even if all of them look like numbers."""


class OptionText(str):
    """Text of a value on the command line, not yet interpreted."""

    __slots__ = ()


class OptionsAction(Action):
    """Collect ``KEY=VALUE`` arguments in a dict from key to :class:`OptionText`.

    Repeated options add up, as with mmengine's ``DictAction``.

    Raises:
        InputError: If an argument has no ``=``, no key or no value.
    """

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Add the arguments to those of earlier occurrences."""
        options = dict(getattr(namespace, self.dest, None) or {})
        options.update(split_option(text) for text in values or ())
        setattr(namespace, self.dest, options)


def split_option(text: str) -> tuple[str, OptionText]:
    """Split ``KEY=VALUE``.

    Args:
        text: Argument of the command line.

    Returns:
        The key, and the text of the value.

    Raises:
        InputError: If there is no ``=``, no key or no value.
    """
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key.strip("+"):
        raise InputError(
            f"{FLAG} {text}: expected KEY=VALUE, as in data_root=FOLDER; write other arguments "
            f"before {FLAG}"
        )
    if not value.strip():
        other = "" if _name(key) in _NO_NONE else f", or {key}=None to switch the setting off"
        raise InputError(f"{FLAG} {text}: there is no value after '='; write one{other}")
    return key, OptionText(value)


def read_value(text: OptionText, key: str, present: Any) -> Any:
    """Interpret the text of a value by the setting that it replaces.

    Paths, and texts whose name says that they are paths, stay as they are, except for numbers of a
    new setting such as ``drop_path`` or ``class_weights``. Lists of names keep
    their entries as names. Everything else is read like mmengine's ``DictAction``, except that
    spaces within an entry of a list are kept.

    Args:
        text: Text of the command line.
        key: Dotted key of the setting.
        present: Present value of the setting, None if there is none.

    Returns:
        Text, number, bool, None, list or tuple.

    Raises:
        InputError: If brackets do not match, or if the text is a dict.
    """
    content, quoted = _unquoted(str(text))
    numbers = (
        present is None
        and not quoted
        and _NUMBERS_TOO.search(_name(key))
        and _NUMBERS.fullmatch(content.strip())
    )
    if is_path(key) and not numbers and (present is None or isinstance(present, str)):
        none = content == "None" and not quoted and _name(key) not in _NO_NONE
        return None if none else content
    if content.strip().startswith("{"):
        raise InputError(
            f"{FLAG} {key}={text}: a dict cannot be written on the command line; set its entries "
            f"one by one, as in {key}.NAME=VALUE"
        )
    names = _name(key) in _TEXT_LISTS or _holds_names(present)
    return _parse(content.strip(), f"{FLAG} {key}={text}", names)


def is_path(key: str) -> bool:
    """Return whether a dotted key holds the path or the name of a file or folder."""
    name = _name(key)
    return "data_prefix" in key.split(".")[:-1] or bool(_PATH_NAME.search(name))


def _name(key: str) -> str:
    names = [part for part in key.lstrip("+").split(".") if not part.isdigit()]
    return names[-1] if names else key


def _holds_names(value: Any) -> bool:
    if not isinstance(value, (list, tuple)) or not value:
        return False
    return all(isinstance(entry, str) for entry in value)


def _parse(text: str, where: str, names: bool) -> Any:
    content, quoted = _unquoted(text)
    if quoted and not _bracketed(content):
        return content
    text = content.strip()
    pieces = list(_pieces(text, where))
    if pieces == [text] and _bracketed(text):
        values = [_parse(piece, where, names) for piece in _pieces(text[1:-1], where)]
        return tuple(values) if text[0] == "(" else values
    if pieces and pieces != [text]:
        return [_parse(piece, where, names) for piece in pieces]
    return text if names else _scalar(text)


def _bracketed(text: str) -> bool:
    return text[:1] + text[-1:] in ("[]", "()")


def _pieces(text: str, where: str) -> Iterator[str]:
    """Split a text at the commas outside brackets; a comma at the end opens no further piece."""
    open_brackets: list[str] = []
    start = 0
    for place, letter in enumerate(text):
        if letter in _OPENING:
            open_brackets.append(letter)
        elif letter in _CLOSING:
            if not open_brackets or _OPENING[_CLOSING.index(letter)] != open_brackets.pop():
                raise _unmatched(where, letter)
        elif letter == "," and not open_brackets:
            yield text[start:place].strip()
            start = place + 1
    if open_brackets:
        raise _unmatched(where, open_brackets[-1])
    if rest := text[start:].strip():
        yield rest


def _unmatched(where: str, bracket: str) -> InputError:
    return InputError(
        f'{where}: the bracket {bracket!r} has no partner; write a list as KEY="[5,10]"'
    )


def _scalar(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    known = {"true": True, "false": False}
    return None if text == "None" else known.get(text.lower(), text)


def _unquoted(text: str) -> tuple[str, bool]:
    """Return a text without the quotation marks around it, and whether it had some."""
    bare = text.strip()
    if len(bare) >= 2 and bare[0] == bare[-1] and bare[0] in "'\"":
        return bare[1:-1], True
    return text, False
