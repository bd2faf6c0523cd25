"""Mistakes in config files: one message with file, line and remedy."""

import pytest

from bam_mm import InputError
from bam_mm.launch.config import load_config

BASE = """
max_epochs = 12
data_root = 'here'
train_cfg = dict(max_epochs=max_epochs)
train_dataloader = dict(batch_size=8, dataset=dict(data_root=data_root))
"""
LAZY = "from mmengine.config import read_base\nwith read_base():\n"


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("c.py", "model = dict(\n", r"c\.py, line 1: '\(' was never closed in `model = dict\(`"),
        ("c.py", "a = 1\n  b = 2\n", r"c\.py, line 2: unexpected indent"),
        ("c.py", "_base_ = './bse.py'\n", r"_base_ './bse.py' of .*did you mean base\.py"),
        ("c.py", "_base_ = ['base.py', 'x/y.py']\n", r"'x/y.py' .* does not exist .*correct the"),
        ("c.py", "_base_ = 'broken.py'\n", r"broken\.py, line 1: .*correct the Python code"),
        ("c.py", "a = 1\nmodel = dcit(a=a)\n", r"line 2: NameError: name 'dcit' is not defined"),
        ("c.py", "_base_ = 'base.py'\nx = _base_.nothing\n", r"line 2: .*nothing.*`x = _base_"),
        ("c.py", "x = 1 / 0\n", "line 1: ZeroDivisionError"),
        ("c.py", "_base_ = 'base.py'\nmax_epochs = dict(a=1)\n", "max_epochs is a dict, but int"),
        ("c.py", "_base_ = ['base.py', 'copy.py']\n", "two of its bases set .*train_cfg"),
        ("c.py", "custom_imports = dict(imports=['no_such_module'])\n", "module no_such_module"),
        ("c.py", "_base_ = 'base.py'\ntrain_dataloadr = {}\n", "did you mean train_dataloader"),
        ("c.py", "_base_ = 'base.py'\nmax_epoch = 3\n", "reads max_epoch; did you mean max_epochs"),
        ("c.py", "optim_wraper = dict()\n", "nothing reads optim_wraper; did you mean optim_wrap"),
        ("c.py", "_base_ = 'base.py'\nmax_epochs = 3\n", r"max_epochs = 3 changes nothing.*set tr"),
        ("c.py", "_base_ = 'base.py'\ndata_root = 'my'\n", r"set train_dataloader\.dataset\.data"),
        ("c.md", "# Title\n", r"the ending '\.md' is not that of a config; pass a file .*\.py"),
        ("c.pth", "x", r"'\.pth'.*the config comes first, then the checkpoint"),
        ("c", "a = 1", "the ending '' is not that of a config"),
        ("c.yaml", "a: [1, 2\n", r"c\.yaml is not valid yaml: .*line 2"),
        ("c.yaml", "- a\n- b\n", "holds list instead of settings by name"),
        ("c.json", '{"a": 1,}', r"c\.json is not valid json: .*line 1"),
        ("c.yaml", "_base_: bse.py\n", r"_base_ 'bse.py' .*did you mean base\.py"),
        ("c.py", "_base_ = 3\n", r"_base_ 3 of config .* is no path: name a config"),
        ("c.py", "_base_ = 'mmyolo::a/b.py'\n", r"'mmyolo::a/b.py' of .*install mmyolo"),
        ("c.py", "_base_ = 'foo::a/b.py'\n", r"'foo::a/b.py' of .*names no config of a .*mmdet,"),
        ("c.py", "_base_ = 'mmdet::b.py'\n", r"'mmdet::b.py' of .*write it as in 'mmdet::fas"),
        (
            "c.py",
            "_base_ = 'mmdet::_base_/default_runtme.py'\n",
            r"default_runtme\.py' of .*did you mean _base_/default_runtime\.py",
        ),
        ("c.py", LAZY + "    from .bse import *\n", r"imports \.bse, but .*did you mean base\?"),
        ("c.py", LAZY + "    from mmdet.configs.x import *\n", r"mmdet\.configs\.x, .*correct the"),
        ("c.py", LAZY + "    from mmyolo.a import *\n", "mmyolo; correct its imports under read_"),
        ("c.py", LAZY + "    from base import *\n", "an independent package base.*correct its"),
        ("c.py", "with open('x') as f:\n    a = 1\n", "Only `read_base` context manager can be"),
        ("c.py", b"a = '\xe9'\n", "is not text in UTF-8"),
    ],
)
def test_a_mistake_is_one_message(tmp_path, name, text, message):
    (tmp_path / "base.py").write_text(BASE)
    (tmp_path / "copy.py").write_text(BASE)
    (tmp_path / "broken.py").write_text("a = (\n")
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message) as caught:
        load_config(path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "name, text",
    [
        ("c.py", "_base_ = 'base.py'\nmax_epochs = 3\ntrain_cfg = dict(max_epochs=max_epochs)\n"),
        ("c.py", "_base_ = 'base.py'\nmine = 1\nhelper = [2]\n"),
        ("c.py", "_base_ = 'base.py'\nmax_epochs = 12\n"),
        ("c.py", "test_pipeline = []\nval_pipeline = []\ntrain_pipeline = []\n"),
        ("c.yaml", "_base_: base.py\ntrain_cfg:\n  max_epochs: 3\n"),
        ("c.json", '{"a": 1}'),
    ],
)
def test_sound_configs_are_read(tmp_path, name, text):
    (tmp_path / "base.py").write_text(BASE)
    (tmp_path / name).write_text(text)
    assert len(load_config(tmp_path / name).keys()) > 0


def test_a_defect_outside_the_config_keeps_its_traceback(tmp_path, monkeypatch):
    (tmp_path / "failing_module_of_a_user.py").write_text("raise ImportError('x')\n")
    (tmp_path / "helps.py").write_text("import json\njson.loads('{')\n")
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "c.py"
    path.write_text("custom_imports = dict(imports=['failing_module_of_a_user'])\n")
    with pytest.raises(ImportError, match="Failed to import custom modules"):
        load_config(path)
    path.write_text("import json\nx = json.loads('{')\n")
    with pytest.raises(ValueError, match="Expecting property name"):
        load_config(path)
