"""Fenced blocks of the documentation, and the commands in them."""

import re
import shlex
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", flags=re.M | re.S)


def blocks(page, language):
    """Return the texts of a page's fenced blocks in a language, in their order.

    Blocks of a list lose their indentation.
    """
    text = (ROOT / page).read_text()
    return [dedent(body) for _, found, body in BLOCK.findall(text) if found == language]


def python_files(page):
    """Return the texts of a page's Python blocks that start with a name, such as ``# a.py``."""
    found = [re.match(r"# (\w+\.py)\n", text) for text in blocks(page, "python")]
    return {match[1]: match.string for match in found if match}


def commands(page, start="bam-mm "):
    """Return the commands in a page's shell blocks that start with a word, as argument lists."""
    text = "\n".join(blocks(page, "bash") + blocks(page, "console"))
    lines = text.replace("\\\n", " ").splitlines()
    lines = [line.strip().removeprefix("$ ") for line in lines]
    return [shlex.split(line, comments=True) for line in lines if line.startswith(start)]
