"""Fenced blocks of the documentation, and the commands in them."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", flags=re.M | re.S)


def blocks(page, language):
    """Return the texts of a page's fenced blocks in a language, in their order."""
    text = (ROOT / page).read_text()
    return [body for found, body in BLOCK.findall(text) if found == language]


def commands(page, start="bam-mm "):
    """Return the commands in a page's shell blocks that start with a word, as argument lists."""
    text = "\n".join(blocks(page, "bash") + blocks(page, "console"))
    lines = text.replace("\\\n", " ").splitlines()
    lines = [line.strip().removeprefix("$ ") for line in lines]
    return [shlex.split(line, comments=True) for line in lines if line.startswith(start)]
