"""Runs of any runner stop at a variable that its entries do not follow, and at missing hooks."""

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from bam_mm import InputError
from bam_mm.hooks import CheckConfigHook
from bam_mm.launch.config import load_config
from bam_mm.launch.runner import build_runner
from bam_mm.models import pretrained_backbone
from bam_mm.registry import MODELS
from tests.hooks.tiny_runner import build, config_of

FOLDER = "data = 'one'\ntrain_dataloader = dict(dataset=dict(folder=data))\nwidth = 2\n"
FOLDER += "val_dataloader = dict(dataset=dict(folder=data))\nmodel = dict(width=width)\n"
FOLDER += "test_dataloader = dict(dataset=dict(folder=data))\n"


@pytest.fixture
def runner(tmp_path, monkeypatch):
    """A function that builds a runner of a child config of a base with variables."""

    def runner(text):
        tiny = config_of(tmp_path / "work", epochs=1, metric=1.0)
        tiny.default_hooks.check_config = dict(type="bam_mm.CheckConfigHook")
        tiny.dump(str(tmp_path / "tiny.py"))
        (tmp_path / "base.py").write_text(f"_base_ = 'tiny.py'\n{FOLDER}")
        (tmp_path / "child.py").write_text(f"_base_ = 'base.py'\n{text}")
        config = Config.fromfile(str(tmp_path / "child.py"))
        config.experiment_name = str(tmp_path)
        return build(config, monkeypatch)

    return runner


ALONE = "train_dataloader = dict(dataset=dict(folder=data))\n"


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_a_run_stops_before_it_starts(runner, part, monkeypatch):
    built = runner("data = 'mine'\n")
    # mmengine loads or resumes weights between this check and the first iteration.
    monkeypatch.setattr(built, "load_or_resume", lambda: pytest.fail("it started"))
    with pytest.raises(
        InputError, match=rf"child\.py: data = 'mine' .*set {part}_dataloader.dataset.folder"
    ):
        getattr(built, part)()


def test_only_what_the_run_reads_is_compared(runner, monkeypatch):
    logged = []
    for part in ("test", "train"):
        built = runner("data = 'mine'\ntest_dataloader = dict(dataset=dict(folder=data))\n")
        monkeypatch.setattr(built.logger, "warning", logged.append)
        result = getattr(built, part)()
        logged = [line for line in logged if "data = 'mine'" in line]
        assert (result == {"planned/score": 1.0} and not logged) or part == "train"
    [line] = logged
    assert "set train_dataloader.dataset.folder (still 'one'), val_dataloader." in line
    assert "like test_dataloader.dataset.folder, or" in line


def test_a_copy_under_another_name_is_logged(runner, monkeypatch):
    built = runner(f"data = 'mine'\n{ALONE}val_dataloader = dict(batch_size=4)\n")
    logged = []
    monkeypatch.setattr(built.logger, "warning", logged.append)
    built.train()
    [line] = [each for each in logged if "data = 'mine'" in each]
    assert "does not reach all its entries" in line
    assert "set val_dataloader.dataset.folder (still 'one') too" in line


def test_options_that_this_package_has_brought_to_the_entries_are_not_compared(tmp_path):
    hook = CheckConfigHook()
    assert hook.options is True
    name = "cls/vit-toy-p8_knn_toy"
    config = load_config(name, {"data_root": str(tmp_path), "work_dir": str(tmp_path)})
    (tmp_path / "val/a").mkdir(parents=True)
    config.default_hooks = dict(check_config=config.default_hooks.check_config)
    [hook] = [h for h in build_runner(config).hooks if isinstance(h, CheckConfigHook)]
    assert hook.options is False


@pytest.mark.parametrize(
    "name, hooks, words",
    [
        ("pretrain/bam_vit-toy-p8_1xb64-coslr-12e_toy", "SkippedImagesHook",
         "has no bam_mm.TeacherUpdateHook, which updates the teacher"),
        ("cls/vit-toy-p8_1xb64-coslr-4e_toy", "CheckLabelsHook",
         "has no bam_mm.LoadBackboneHook, which loads the backbone from `checkpoint`"),
        ("cls/vit-toy-p8_1xb64-coslr-4e_toy", "LoadBackboneHook", None),
        ("pretrain/bam_vit-toy-p8_1xb64-coslr-12e_toy-no-teacher", "SkippedImagesHook", None),
    ],
)  # fmt: skip
def test_a_list_of_hooks_that_replaces_the_one_of_the_base(name, hooks, words, tmp_path):
    own = tmp_path / "own.py"
    own.write_text(f"_base_ = 'bam_mm::{name}.py'\ncustom_hooks = [dict(type='bam_mm.{hooks}')]\n")
    config = Config.fromfile(str(own))
    init_default_scope("mmpretrain")
    runner = Runner(config)
    if words is None:
        CheckConfigHook().before_train(runner)
    else:
        with pytest.raises(
            InputError, match=rf"custom_hooks of .*own\.py {words}.*_base_.custom_h"
        ):
            CheckConfigHook().before_train(runner)


INIT = "dict(type='bam_mm.PretrainedBackbone', checkpoint='w.pth')"


@pytest.mark.parametrize("variable, words", [("", None), ("checkpoint = 'b.pth'", "LoadBackbone")])
def test_a_backbone_that_init_cfg_loads_needs_no_hook(variable, words, tmp_path, monkeypatch):
    base = "bam_mm::cls/vit-toy-p8_1xb64-coslr-4e_toy.py"
    own = tmp_path / "own.py"
    own.write_text(
        f"_base_ = {base!r}\n{variable}\nmodel = dict(backbone=dict(init_cfg={INIT}))\n"
        "custom_hooks = [dict(type='bam_mm.CheckLabelsHook')]\n"
    )
    init_default_scope("mmpretrain")
    runner = Runner(Config.fromfile(str(own)))
    monkeypatch.setattr(pretrained_backbone, "load_backbone", lambda *_, **__: None)
    monkeypatch.setattr(pretrained_backbone, "work_folder", lambda: None)
    runner.model.init_weights()
    if words is None:
        CheckConfigHook().before_train(runner)
    else:
        with pytest.raises(InputError, match=words):
            CheckConfigHook().before_train(runner)


def test_an_initialiser_that_is_not_called_stops_in_any_tool(runner, monkeypatch):
    built = runner("")
    swin = type("SwinTransformer", (nn.Module,), {"__module__": "mmdet.models.backbones.swin"})
    built.model.backbone = swin()
    built.model.backbone.init_cfg = dict(type="bam_mm.PretrainedBackbone", checkpoint="w.pth")
    monkeypatch.setattr(built, "load_or_resume", lambda: pytest.fail("it started"))
    with pytest.raises(InputError, match=r"model\.backbone\.init_cfg: SwinTransformer reads it"):
        built.train()


class Runner:
    """What the hook reads of a runner."""

    def __init__(self, config):
        from bam_mm.registry import HOOKS

        self.cfg = config
        self.model = MODELS.build(config.model)
        self.hooks = [HOOKS.build(hook) for hook in config.custom_hooks]
