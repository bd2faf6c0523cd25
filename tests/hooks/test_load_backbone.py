"""The hook that loads a backbone reads `checkpoint` and `branch` from the run's config."""

import pytest
from mmengine.model import BaseModule, PretrainedInit
from mmengine.registry import MODELS
from torch import nn

from bam_mm import InputError
from bam_mm.hooks import load_backbone
from bam_mm.models import pretrained_backbone
from tests.hooks.tiny_runner import TwoNumbers, config_of, run

HOOK = {"type": "bam_mm.LoadBackboneHook"}


@MODELS.register_module(force=True)
class WithBackbone(TwoNumbers):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.backbone = nn.Identity()


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    """A function that trains with hooks and variables, and returns what they load, in order."""

    def loaded(hooks, model="WithBackbone", **variables):
        calls = []
        monkeypatch.setattr(
            load_backbone,
            "load_backbone",
            lambda backbone, path, branch, *, trust: calls.append((path, branch, trust)),
        )
        monkeypatch.setattr(load_backbone, "is_main_process", lambda: False)
        monkeypatch.setattr(load_backbone, "replace", lambda report, **_: report)
        config = config_of(tmp_path, epochs=1, **variables)
        config.model.type, config.custom_hooks = model, hooks
        run(config, monkeypatch)
        return calls

    return loaded


@pytest.mark.parametrize(
    "arguments, variables, expected",
    [
        ({}, {"checkpoint": "a.pth", "branch": "student"}, [("a.pth", "student", False)]),
        ({}, {"checkpoint": "a.pth"}, [("a.pth", "teacher", False)]),
        ({}, {"checkpoint": "random"}, []),
        ({"checkpoint": "a.pth"}, {}, [("a.pth", "teacher", False)]),
        ({"checkpoint": "a.pth"}, {"checkpoint": None}, [("a.pth", "teacher", False)]),
        ({"checkpoint": "a.pth", "trust": True}, {"checkpoint": "a.pth", "branch": "student"},
         [("a.pth", "student", True)]),
        ({"branch": "student"}, {"checkpoint": "a.pth"}, [("a.pth", "student", False)]),
    ],
)  # fmt: skip
def test_variables_are_read_where_the_hook_has_no_argument(arguments, variables, expected, loaded):
    assert loaded([{**HOOK, **arguments}], **variables) == expected


@pytest.mark.parametrize(
    "hooks, variables, words",
    [
        ([{"checkpoint": "a.pth"}], {"checkpoint": "b.pth"},
         "checkpoint='b.pth' in the config, but bam_mm.LoadBackboneHook has checkpoint='a.pth'"),
        ([{"branch": "student"}], {"checkpoint": "b.pth", "branch": "teacher"},
         "branch='teacher' in the config, but bam_mm.LoadBackboneHook has branch='student'"),
        ([{"checkpoint": "a.pth"}, {"checkpoint": "b.pth"}], {}, "two bam_mm.LoadBackboneHook"),
        ([{}], {"checkpoint": None}, "no checkpoint: this protocol scores"),
        ([{}], {}, "no checkpoint: this protocol scores"),
    ],
)  # fmt: skip
def test_what_contradicts_or_lacks_stops(hooks, variables, words, loaded):
    with pytest.raises(InputError, match=words):
        loaded([{**HOOK, **each} for each in hooks], **variables)


def test_a_resumed_run_has_the_backbone_of_its_own_checkpoint(loaded, tmp_path):
    assert loaded([HOOK], checkpoint="a.pth") == [("a.pth", "teacher", False)]
    own = {"checkpoint": "a.pth", "load_from": str(tmp_path / "epoch_1.pth")}
    longer = {**own, "train_cfg.max_epochs": 2}
    assert loaded([HOOK], **longer, resume=True) == [] and (tmp_path / "epoch_2.pth").is_file()
    with pytest.raises(InputError, match=r"load_from=.*epoch_1\.pth: mmengine would load the tens"):
        loaded([HOOK], **own)


@pytest.mark.parametrize("variables", [{}, {"checkpoint": None}, {"checkpoint": "a.pth"}])
def test_the_hook_of_a_base_leaves_it_to_one_that_a_config_adds(variables, loaded):
    own = {**HOOK, "checkpoint": "a.pth"}
    assert loaded([HOOK, own], **variables) == [("a.pth", "teacher", False)]
    assert loaded([HOOK, HOOK], checkpoint="c.pth") == [("c.pth", "teacher", False)]


class Loaded(WithBackbone):
    """A model whose backbone an initialiser loads, as in a config with `init_cfg`."""

    kind = "bam_mm.PretrainedBackbone"

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.backbone = BaseModule(init_cfg=dict(type=self.kind, checkpoint="init.pth"))


@MODELS.register_module(force=True)
class LoadedByOurs(Loaded):
    pass


@MODELS.register_module(force=True)
class LoadedByMmengine(Loaded):
    kind = "Pretrained"


@pytest.mark.parametrize(
    "model, checkpoint, words",
    [
        (
            "LoadedByOurs",
            "random",
            "checkpoint=random, but init_cfg of the backbone loads init.pth",
        ),
        ("LoadedByOurs", "b.pth", "checkpoint=b.pth, but init_cfg of the backbone loads init.pth"),
        ("LoadedByOurs", None, None),
        ("LoadedByMmengine", "random", "checkpoint=random, but init_cfg .* loads init.pth"),
        ("LoadedByMmengine", None, "no checkpoint: this protocol scores"),
    ],
)
def test_a_backbone_that_an_initialiser_loads(model, checkpoint, words, loaded, monkeypatch):
    read = []
    report = lambda backbone, path, *_, **__: read.append(path)  # noqa: E731
    monkeypatch.setattr(pretrained_backbone, "load_backbone", report)
    monkeypatch.setattr(pretrained_backbone, "work_folder", lambda: None)
    monkeypatch.setattr(PretrainedInit, "__call__", lambda self, module: None)
    if words is None:
        assert loaded([HOOK], model=model, checkpoint=checkpoint) == []
        assert read == ["init.pth"]
    else:
        with pytest.raises(InputError, match=words):
            loaded([HOOK], model=model, checkpoint=checkpoint)
