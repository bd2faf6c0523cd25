"""The files of "Your own backbone" in docs/backbones.md, as a user would write them."""

import sys

import pytest
import torch
from mmengine.registry import init_default_scope

from bam_mm.launch.config import import_custom_modules, load_config
from bam_mm.models.adapters import adapter_of
from bam_mm.registry import MODELS
from tests.pages import python_files


@pytest.fixture
def files(tmp_path, monkeypatch):
    for name, text in python_files("docs/backbones.md").items():
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
