"""Checkpoints of the methods: a resumed training ends the same, and the backbone can be loaded."""

import pytest
import torch

from bam_mm import DINO, NNCLR, ReLIC
from bam_mm.checkpoint import load_backbone, read_checkpoint
from tests.methods.runs import runner_of
from tests.methods.tiny import TinyConvolution, layout_of, network_model

pytestmark = pytest.mark.slow

SGD = dict(type="SGD", lr=0.1, momentum=0.9)
TEACHER = dict(type="bam_mm.TeacherUpdateHook", momentum=0.8)
CHECKPOINT = dict(type="bam_mm.WholeCheckpointHook", interval=1, max_keep_ckpts=9)
CASES = {
    "DINO": (
        DINO,
        layout_of(2, 1),
        dict(warmup_target_temperature=0.02, warmup_epochs=3),
        [TEACHER, dict(type="bam_mm.DINOScheduleHook")],
    ),
    # Neither the first epoch nor the last one ends at the first row of the queue.
    "NNCLR": (NNCLR, layout_of(), dict(queue_size=10), []),
    "ReLIC": (ReLIC, layout_of(), dict(), [TEACHER]),
}


def train(case, folder, **more):
    kind, layout, settings, hooks = CASES[case]
    model = network_model(kind, layout, **settings).float()
    runner_of(
        model,
        folder,
        optimizer=SGD,
        epochs=3,
        custom_hooks=hooks,
        default_hooks=dict(checkpoint=CHECKPOINT),
        **more,
    ).train()
    return model


@pytest.mark.parametrize("case", CASES)
def test_a_resumed_training_ends_the_same(tmp_path, case):
    model = train(case, tmp_path / "whole")
    saved = str(tmp_path / "whole" / "epoch_2.pth")
    resumed = train(case, tmp_path / "resumed", load_from=saved, resume=True)
    before = read_checkpoint(saved)["state_dict"]
    torch.testing.assert_close(resumed.state_dict(), model.state_dict(), rtol=0, atol=0)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(before, dict(model.state_dict()), rtol=0, atol=0)


@pytest.mark.parametrize("case", CASES)
def test_the_backbone_of_a_checkpoint_can_be_loaded(tmp_path, case):
    model = train(case, tmp_path)
    backbone = TinyConvolution()
    load_backbone(backbone, tmp_path / "epoch_3.pth")
    # That of the teacher, where there is one.
    wanted = model.backbone if model.teacher is None else model.teacher.backbone
    torch.testing.assert_close(backbone.state_dict(), wanted.state_dict(), rtol=0, atol=0)
