"""A runner that trains two numbers in a few milliseconds."""

import itertools

import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS
from mmengine.runner import Runner
from torch.utils.data import Dataset

NUMBERS = itertools.count()
"""Numbers of runners, whose names must differ."""


@DATASETS.register_module(force=True)
class FewNumbers(Dataset):
    metainfo = {"classes": ("a", "b")}

    def __init__(self, count, folder="/data/one"):
        self.count, self.folder = count, folder

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return {"inputs": torch.ones(2), "data_samples": torch.tensor(index)}

    def get_data_info(self, index):
        return {"img_path": f"{self.folder}/class/{index}.jpg", "gt_label": 0}


@MODELS.register_module(force=True)
class TwoNumbers(BaseModel):
    """Model whose losses are planned: ``planned[n]`` replaces those of iteration n (from 1)."""

    def __init__(self, planned=None, width=2, fail_at=None, spoil_at=None, spoil="weight"):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(width))
        self.norm = torch.nn.BatchNorm1d(2)
        self.planned = {int(number): losses for number, losses in (planned or {}).items()}
        self.fail_at, self.spoil_at, self.spoil = fail_at, spoil_at, spoil
        self.iteration = 0

    def forward(self, inputs, data_samples=None, mode="loss"):
        if mode != "loss":
            return [{"score": 0.0}]
        self.iteration += 1
        if self.iteration == self.fail_at:
            raise RuntimeError("index out of range")
        if self.iteration == self.spoil_at:
            self.get_parameter_or_buffer(self.spoil).data.fill_(torch.inf)
        if planned := self.planned.get(self.iteration):
            return {
                name: self.weight.nan_to_num().sum() * 0 + value for name, value in planned.items()
            }
        return {"loss": self.weight.nan_to_num(posinf=1).square().mean()}

    def get_parameter_or_buffer(self, name):
        return dict(itertools.chain(self.named_parameters(), self.named_buffers()))[name]


@METRICS.register_module(force=True)
class PlannedMetric(BaseMetric):
    def __init__(self, value):
        super().__init__(prefix="planned")
        self.value = value

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return {"score": float(self.value)}


def config_of(
    work_dir, *, epochs=2, iters=None, images=4, batch=2, model=None, metric=None, **more
):
    """Return the config of a run with two iterations an epoch, which saves after each epoch."""
    loop = dict(by_epoch=True, max_epochs=epochs, val_interval=1)
    if iters:
        loop = dict(by_epoch=False, max_iters=iters, val_interval=1000)
    config = dict(
        default_scope="mmengine",
        experiment_name=f"tiny {next(NUMBERS)}",
        work_dir=str(work_dir),
        model=dict(type="TwoNumbers", **(model or {})),
        train_dataloader=dict(
            batch_size=batch,
            num_workers=0,
            sampler=dict(type="InfiniteSampler" if iters else "DefaultSampler", shuffle=False),
            dataset=dict(type="FewNumbers", count=images),
        ),
        train_cfg=loop,
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.25)),
        param_scheduler=[dict(type="ConstantLR", factor=1.0, end=9)],
        default_hooks=dict(
            logger=dict(type="LoggerHook", interval=50),
            checkpoint=dict(
                type="bam_mm.WholeCheckpointHook", by_epoch=not iters, interval=1, max_keep_ckpts=9
            ),
            check_finite=dict(type="bam_mm.CheckFiniteHook"),
        ),
        custom_hooks=[],
        visualizer=None,
        log_level="WARNING",
        randomness=dict(seed=0),
    )
    if metric is not None:
        loader = dict(config["train_dataloader"])
        evaluator = dict(type="PlannedMetric", value=metric)
        for part in ("val", "test"):
            config |= {
                f"{part}_dataloader": loader,
                f"{part}_cfg": dict(),
                f"{part}_evaluator": evaluator,
            }
    config = Config(config)
    config.merge_from_dict(more)
    return config


def build(config, monkeypatch):
    """Build the runner without what takes most of its time: compilers' versions, pretty text."""
    monkeypatch.setattr(Runner, "_log_env", lambda self, env: None)
    monkeypatch.setattr(Config, "pretty_text", property(_plain_text))
    return Runner.from_cfg(config)


def _plain_text(config):
    return "".join(f"{key} = {value!r}\n" for key, value in config.to_dict().items())


def run(config, monkeypatch):
    """Train and return the runner."""
    runner = build(config, monkeypatch)
    runner.train()
    return runner


def names(folder):
    """Return the names of the checkpoints in a folder."""
    return sorted(path.name for path in folder.glob("*.pth"))
