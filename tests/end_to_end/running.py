"""Helpers to check what a tool printed and wrote."""

import json
from pathlib import Path


def one_message(result, *words):
    """Check for exit code 1, no traceback, and a single error line that contains the words."""
    code, text, errors = result
    assert code == 1 and len(errors) == 1 and "Traceback" not in text, text[-3000:]
    for word in words:
        assert word in errors[0], errors[0]


def losses(work):
    """Return the logged losses of the only run in a work folder."""
    [file] = Path(work).glob("*/vis_data/scalars.json")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]
