"""Commands and blocks of the pages and of the notebook: they name what there is."""

import argparse
import ast
import json
import re
import shlex
import sys
from importlib import import_module

import pytest
import timm
import torch
from mmengine.config import Config

from bam_mm.cli.main import COMMANDS
from bam_mm.launch.config import load_config
from bam_mm.launch.paths import find_config
from bam_mm.registry import MODELS
from tests.pages import ROOT, blocks, commands

PAGES = ["README.md", *sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/**/*.md"))]
WITH_COMMANDS = [page for page in PAGES if commands(page)]
NOTEBOOK = ROOT / "examples/from_images_to_table.ipynb"
IN_BRACKETS = re.compile(r"[\[\]]|\.\.\.")
"""Marks of optional arguments; of such a line only the command is checked."""
PLACEHOLDER = re.compile(r"[${]|NAME|CONFIG")


class Parsed(Exception):
    """The arguments of a command were accepted."""


@pytest.fixture
def parse(monkeypatch):
    """A function that parses the arguments of a command of bam-mm as the command does."""
    original = argparse.ArgumentParser.parse_args

    def stop_afterwards(parser, *args, **kwargs):
        raise Parsed(original(parser, *args, **kwargs))

    def run(words):
        assert words[1] in COMMANDS, words
        if any(IN_BRACKETS.search(word) for word in words if "=" not in word):
            return
        monkeypatch.setattr(sys, "argv", [f"bam-mm {words[1]}", *words[2:]])
        monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop_afterwards)
        with pytest.raises(Parsed):
            import_module(f"bam_mm.cli.{COMMANDS[words[1]][0]}").main()

    return run


@pytest.mark.parametrize("page", WITH_COMMANDS)
def test_the_commands_of_a_page_exist_with_their_options(page, parse):
    assert len(WITH_COMMANDS) > 12
    for words in commands(page):
        parse(words)


def test_the_configs_that_pages_name_exist():
    words = [word for page in PAGES for command in commands(page) for word in command[2:]]
    named = [w for w in words if re.match(r"(configs/)?(cls|det|seg|vos|pretrain)/", w)]
    paths = [word for word in named if not PLACEHOLDER.search(word)]
    assert len(paths) > 20 and all(find_config(path).is_file() for path in paths)


def test_a_wrong_option_would_be_noticed(parse, capsys):
    with pytest.raises(SystemExit):
        parse(["bam-mm", "features", "photos", "--modell", "x"])
    assert "--model" in capsys.readouterr().err


def test_the_two_entries_of_a_config_are_those_of_the_examples(tmp_path):
    [text] = blocks("docs/in_your_config.md", "python")
    (tmp_path / "own.py").write_text(text)
    entry = Config.fromfile(tmp_path / "own.py").model.backbone.init_cfg
    assert entry.pop("_delete_")
    found = Config.fromfile(ROOT / "examples/mmdet_mask-rcnn_bam-r50_parts.py")
    assert found.model.backbone.init_cfg == entry and found.custom_imports.imports == ["bam_mm"]


@pytest.mark.slow
def test_pretraining_from_other_weights_starts_teacher_and_student_from_them(tmp_path):
    [text] = blocks("docs/faq.md", "python")
    network = timm.models.VisionTransformer(
        img_size=32, patch_size=16, embed_dim=48, depth=2, num_heads=6, num_classes=0
    )
    torch.nn.init.normal_(network.cls_token)
    torch.save(network.state_dict(), tmp_path / "dino_deitsmall16.pth")
    (tmp_path / "own.py").write_text(text.replace('"dino_', f'"{tmp_path}/dino_'))
    config = load_config(tmp_path / "own.py", {"model.backbone.img_size": 32})
    assert config.optim_wrapper.optimizer.lr == 3e-4
    assert config.model.backbone.arch == "deit-small"
    # The same network, smaller.
    config.model.backbone.arch = dict(
        embed_dims=48, num_layers=2, num_heads=6, feedforward_channels=192
    )
    config.model.neck.update(in_channels=48, hid_channels=8, out_channels=8)
    model = MODELS.build(config.model)
    model.init_weights()
    for backbone in (model.backbone, model.teacher.backbone):
        assert backbone.cls_token.equal(network.cls_token)
        assert backbone.pos_embed.equal(network.pos_embed)
        assert backbone.layers[1].attn.qkv.weight.equal(network.blocks[1].attn.qkv.weight)


def cells(kind):
    found = json.loads(NOTEBOOK.read_text())["cells"]
    return ["".join(cell["source"]) for cell in found if cell["cell_type"] == kind]


def test_the_notebook_names_commands_and_functions_that_exist(parse):
    lines, imported = [], 0
    for text in cells("code"):
        joined = text.replace("\\\n", " ")
        lines += [line[1:] for line in joined.splitlines() if line.startswith("!")]
        code = "\n".join(line for line in joined.splitlines() if not line.startswith("!"))
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("bam_mm"):
                for alias in node.names:
                    assert hasattr(import_module(node.module), alias.name)
                    imported += 1
    found = [shlex.split(line.partition(" > ")[0]) for line in lines]
    assert {words[1] for words in found} >= {"train", "benchmark", "attention"} and imported
    for words in found:
        assert words[0] == "bam-mm"
        parse(words)


def test_the_notebook_keeps_its_output_and_stays_small():
    notebook = json.loads(NOTEBOOK.read_text())
    ran = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert NOTEBOOK.stat().st_size < 500_000
    assert [cell["execution_count"] for cell in ran] == list(range(1, len(ran) + 1))
    kinds = [output["output_type"] for cell in ran for output in cell["outputs"]]
    assert "error" not in kinds
    pictures = [o for cell in ran for o in cell["outputs"] if "image/png" in o.get("data", {})]
    assert len(pictures) >= 2
