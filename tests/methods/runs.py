"""Runners that train the methods' tiny networks on a few small images."""

import torch
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from torch.utils.data import Dataset

from tests.hooks.tiny_runner import NUMBERS


@DATASETS.register_module(force=True)
class FewViews(Dataset):
    """Six images with views of some sizes."""

    def __init__(self, sizes):
        self.sizes = sizes

    def __len__(self):
        return 6

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        shapes = [(3, size, size) for size in self.sizes]
        return {
            "inputs": [
                torch.randint(256, shape, generator=generator, dtype=torch.uint8)
                for shape in shapes
            ]
        }


def runner_of(model, folder, *, optimizer, epochs, custom_hooks=(), **more):
    """Return the runner of a training with two iterations an epoch, always of the same images."""
    hooks = dict(checkpoint=None, logger=None) | more.pop("default_hooks", {})
    return Runner(
        model=model,
        work_dir=str(folder),
        experiment_name=f"method {next(NUMBERS)}",
        train_dataloader=dict(
            batch_size=3,
            num_workers=0,
            sampler=dict(type="DefaultSampler", shuffle=False),
            dataset=dict(type="FewViews", sizes=model.layout.sizes),
            collate_fn=dict(type="default_collate"),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=optimizer),
        default_hooks=hooks,
        custom_hooks=list(custom_hooks),
        default_scope="mmpretrain",
        log_level="WARNING",
        randomness=dict(seed=0),
        **more,
    )
