"""This package's hooks in a run of another library: they work, or stop with one message."""

import re
from types import SimpleNamespace

import pytest
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop

import bam_mm
from bam_mm import InputError
from bam_mm.hooks import CheckPreprocessingHook
from tests.hooks.tiny_runner import config_of, run

NEED_OURS = "needs model=dict(type='bam_mm.BAM') or another method of this package, not TwoNumbers"
LOADER = dict(batch_size=2, num_workers=0, pipeline=[dict(type="mmpretrain.PackInputs")])
STOP = {
    "BoxUpdateHook": (dict(start=1, loader=LOADER), NEED_OURS),
    "CollapseMonitorHook": ({}, "TwoNumbers has no projector (model.neck) whose output"),
    "TeacherUpdateHook": ({}, NEED_OURS),
    "DINOScheduleHook": ({}, "needs model=dict(type='bam_mm.DINO'), not TwoNumbers"),
    "VisualWordsHook": ({}, "needs model.target_generator=dict(type='bam_mm.VisualWords')"),
    "OnlineKNNHook": (dict(bank={}, queries={}), "TwoNumbers has no backbone to score"),
    "LoadBackboneHook": (dict(checkpoint="x.pth"), "TwoNumbers has no backbone"),
    "FrozenBackboneHook": ({}, "TwoNumbers has no backbone"),
    "CheckDenseDataHook": ({}, "4 of 4 images of the images in FewNumbers are missing"),
    "ShowAttentionHook": ({}, "/data/one/class/0.jpg cannot be read"),
}
WORK = [name for name in dir(bam_mm) if name.endswith("Hook") and name not in STOP]


@pytest.mark.parametrize("name", WORK)
def test_a_hook_that_works_in_any_run(name, tmp_path, monkeypatch):
    config = config_of(tmp_path, epochs=1, custom_hooks=[dict(type=f"bam_mm.{name}")])
    assert run(config, monkeypatch).iter == 2


@pytest.mark.parametrize("name", STOP)
def test_a_hook_that_needs_another_model_stops_with_one_message(name, tmp_path, monkeypatch):
    settings, message = STOP[name]
    hook = dict(type=f"bam_mm.{name}", **settings)
    with pytest.raises(InputError, match=re.escape(message)):
        run(config_of(tmp_path, epochs=1, custom_hooks=[hook]), monkeypatch)


def preprocessed(mean, kind="ImageClassifier", crop=48):
    return dict(
        model=dict(type=kind, data_preprocessor=dict(mean=mean, std=[64.0] * 3, to_rgb=True)),
        test_dataloader=dict(
            dataset=dict(
                pipeline=[
                    dict(type="ResizeEdge", scale=54, edge="short"),
                    dict(type="CenterCrop", crop_size=crop),
                ]
            )
        ),
    )


@pytest.mark.parametrize(
    ("config", "resume", "words"),
    [
        (preprocessed([1.0] * 3), False, "with mean (2, 2, 2), std (64, 64, 64), RGB"),
        (preprocessed([2.0] * 3, crop=32), False, "centre crop 48 px"),
        (preprocessed([2.0] * 3), False, ""),
        (preprocessed([1.0] * 3), True, ""),  # --resume compares all settings.
        (preprocessed([1.0] * 3, kind="bam_mm.FrozenFeatures"), False, ""),  # part of the model
    ],
)
def test_a_checkpoint_of_another_preprocessing(config, resume, words):
    trained = preprocessed([2.0] * 3)
    text = "\n".join(f"{name} = {value!r}" for name, value in trained.items())
    warnings = []
    runner = SimpleNamespace(
        cfg=SimpleNamespace(to_dict=lambda: config), _resume=resume, _load_from="x.pth",
        _train_loop=None,
        logger=SimpleNamespace(warning=warnings.append),
    )  # fmt: skip
    hook = HOOKS.build(dict(type="bam_mm.CheckPreprocessingHook"))
    assert isinstance(hook, CheckPreprocessingHook)
    hook.after_load_checkpoint(runner, {"meta": {"cfg": text}, "state_dict": {}})
    hook.after_load_checkpoint(runner, {"state_dict": {}})  # states nothing
    runner._train_loop = object.__new__(EpochBasedTrainLoop)  # a training with load_from
    hook.after_load_checkpoint(runner, {"meta": {"cfg": text}, "state_dict": {}})
    assert len(warnings) == bool(words) and words in "".join(warnings)
