"""What a tool printed and wrote."""

import json
from pathlib import Path


def one_message(result, *words):
    code, text, errors = result
    assert code == 1 and len(errors) == 1 and "Traceback" not in text, text[-3000:]
    for word in words:
        assert word in errors[0], errors[0]


def losses(work):
    [file] = Path(work).glob("*/vis_data/scalars.json")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]
