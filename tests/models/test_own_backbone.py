"""The files of "Your own backbone" in docs/backbones.md, as a user would write them."""

import re
import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope

from bam_mm.launch.config import import_custom_modules, load_config
from bam_mm.models.adapters import adapter_of
from bam_mm.registry import MODELS

PAGE = Path(__file__).resolve().parents[2] / "docs/backbones.md"


@pytest.fixture
def files(tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE.read_text(), flags=re.S)
    for name, text in blocks:
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("my_backbone", None)


def test_the_files_of_the_page(files):
    config = load_config(files / "my_knn.py")
    import_custom_modules(config)
    init_default_scope("mmpretrain")
    model = MODELS.build(config.model)
    features = model(torch.randn(2, 3, 48, 48))
    assert features.shape == (2, 32)
    adapter = adapter_of(model.backbone)
    assert (adapter.strides, adapter.widths) == ((4, 8), (16, 32))
