"""Which training runs seed each visit of an image, and that no two visits look the same."""

from collections import defaultdict

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner

from bam_mm.registry import MODELS
from tests.data.test_samplers import COUNT, PIPELINE, REPEATS, root

__all__ = ["root"]  # a fixture

pytestmark = pytest.mark.slow
PLAIN = dict(type="DefaultSampler", shuffle=True)


@MODELS.register_module(force=True)
class Recorder(BaseModel):
    """Model that records the index and the pixels of each image that it is trained on."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def forward(self, inputs, data_samples, mode):
        for pixels, sample in zip(inputs, data_samples, strict=True):
            self.seen.append((sample.sample_idx, pixels.cpu().numpy().tobytes()))
        return dict(loss=self.weight * 0.0)


def train(root, work_dir, sampler, *, iters=None, wrap=None, resume=False, stop=None):
    """Train for two epochs or ``iters`` iterations; return the visits and the log's warnings."""
    dataset = dict(type="bam_mm.ImageFolder", data_root=str(root), pipeline=PIPELINE)
    loop = dict(by_epoch=True, max_epochs=2) if iters is None else dict(by_epoch=False)
    config = dict(
        model=dict(type="bam_mm.Recorder"),
        work_dir=str(work_dir),
        train_dataloader=dict(
            batch_size=4,
            num_workers=0,
            sampler=sampler,
            dataset=wrap(dataset) if wrap else dataset,
            collate_fn=dict(type="default_collate"),
        ),
        train_cfg=loop if iters is None else dict(loop, max_iters=stop or iters, val_interval=999),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
        default_hooks=dict(
            random_state=dict(type="bam_mm.RandomStateHook"),
            checkpoint=dict(type="CheckpointHook", by_epoch=iters is None, interval=1),
            logger=None, runtime_info=None, timer=None,
        ),
        default_scope="mmpretrain",
        experiment_name=f"{work_dir.parent.name}-{work_dir.name}{resume}{stop}",
        resume=resume,
        randomness=dict(seed=3),
    )  # fmt: skip
    runner = Runner.from_cfg(config)
    messages = []
    runner.logger.warning = lambda text, *args, **kwargs: messages.append(str(text))
    runner.train()
    return runner.model.seen, [text for text in messages if "numbering the visits" in text]


def repeated(visits):
    """Return the number of pairs of visits with the same index and the same pixels."""
    return len(visits) - len(set(visits))


def per_image(visits):
    found = defaultdict(int)
    for index, _ in visits:
        found[index] += 1
    return sorted(found.values())


def test_repeated_augmentation(root, tmp_path):
    ours = dict(type="bam_mm.RepeatAugSampler", num_repeats=REPEATS)
    visits, warnings = train(root, tmp_path / "ours", ours)
    assert len(visits) == 2 * COUNT and repeated(visits) == 0 and not warnings
    assert visits == train(root, tmp_path / "again", ours)[0]
    theirs = dict(type="RepeatAugSampler", num_repeats=REPEATS)
    visits, warnings = train(root, tmp_path / "theirs", theirs)
    assert len(visits) == 2 * COUNT and repeated(visits) == 0
    assert len(warnings) == 1 and "RepeatAugSampler may visit an image more than" in warnings[0]
    assert "bam_mm.RepeatAugSampler" in warnings[0]


def test_one_visit_an_epoch_keeps_its_draws(root, tmp_path):
    visits, warnings = train(root, tmp_path / "plain", PLAIN)
    assert per_image(visits) == [2] * COUNT and repeated(visits) == 0 and not warnings
    ours = dict(type="bam_mm.RepeatAugSampler", num_repeats=1)
    assert train(root, tmp_path / "single", ours)[0] == visits


def test_passes_of_an_iteration_based_run_differ_and_resume(root, tmp_path):
    ours = dict(type="bam_mm.InfiniteSampler", shuffle=True)
    visits, warnings = train(root, tmp_path / "whole", ours, iters=9)
    assert per_image(visits) == [3] * COUNT and repeated(visits) == 0 and not warnings
    part, _ = train(root, tmp_path / "part", ours, iters=9, stop=4)
    rest, _ = train(root, tmp_path / "part", ours, iters=9, resume=True)
    assert part + rest == visits


@pytest.mark.parametrize("kind", ["InfiniteSampler", "DefaultSampler", "bam_mm.RepeatAugSampler"])
def test_other_samplers_of_an_iteration_based_run(root, tmp_path, kind, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # at each end of the data
    visits, warnings = train(root, tmp_path / "run", dict(type=kind, shuffle=True), iters=9)
    assert len(visits) == 3 * COUNT and repeated(visits) == 0
    assert len(warnings) == 1 and "bam_mm.InfiniteSampler" in warnings[0]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda d: dict(type="mmengine.RepeatDataset", times=2, dataset=d),
        lambda d: dict(type="mmengine.ConcatDataset", datasets=[d, d]),
        lambda d: dict(type="mmengine.ClassBalancedDataset", oversample_thr=0.999, dataset=d),
        lambda d: dict(type="mmpretrain.KFoldDataset", num_splits=4, dataset=d),
    ],
)
@pytest.mark.parametrize("kind", ["DefaultSampler", "bam_mm.RepeatAugSampler"])
def test_visits_through_wrappers_differ(root, tmp_path, wrap, kind):
    visits, _ = train(root, tmp_path / "run", dict(type=kind, shuffle=True), wrap=wrap)
    assert max(per_image(visits)) >= 2 and repeated(visits) == 0
